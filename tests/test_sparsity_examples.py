"""What holds for every pruning method that reads examples: it leaves the network alone, and says what it lacks."""

from __future__ import annotations

import copy
import random

import pytest
import torch
from torch import nn

from datadiet.errors import OptionError
from datadiet.sparsity import PRUNING, sparsify
from datadiet.sparsity.one_shot import _batches, _cross_entropy
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.spec import Context

pytestmark = pytest.mark.usefixtures("one_thread")

READING = [name for name, spec in PRUNING.items() if "batches" in spec.filled]


def network():
    """Convolution, BatchNorm with statistics of its own, dropout, a frozen part, a part in another mode."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.5),
        nn.Linear(96, 4),
    )
    for _ in range(3):
        net(torch.randn(8, 3, 8, 8))
    net[0].weight.requires_grad_(False)
    net[5].eval()
    net[6].weight.grad = torch.full_like(net[6].weight, 7.0)
    return net


def loader(n=20, size=8):
    torch.manual_seed(1)
    x, y = torch.randn(n, 3, 8, 8), torch.randint(0, 4, (n,))
    return list(zip(x.split(size), y.split(size), strict=True))


def choose(net, method, sparsity, batches, **given):
    context = Context(net, _cross_entropy, lambda n: _batches(batches, torch.device("cpu"), n), 0)
    return PRUNING[method].keep(prunable(net), {"sparsity": sparsity, **given}, context)


def random_states():
    return random.getstate(), torch.get_rng_state().tolist()


@pytest.mark.parametrize("method", READING)
def test_nothing_but_the_mask_comes_of_it(method):
    net, data = network(), loader()
    before, states = copy.deepcopy(net), random_states()
    masks = choose(net, method, 0.6, data)
    assert random_states() == states
    for name, value in before.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    for old, new in zip(before.parameters(), net.parameters(), strict=True):
        assert old.requires_grad == new.requires_grad
        assert new.grad is None if new is not net[6].weight else bool((new.grad == 7).all())
    assert [part.training for part in before.modules()] == [part.training for part in net.modules()]
    hooks = [len(part._forward_hooks) + len(part._forward_pre_hooks) for part in net.modules()]
    assert not any(hooks)
    assert {name: mask.shape for name, mask in masks.items()} == {n: w.shape for n, w in prunable(net).items()}
    assert all(not mask.requires_grad and mask.dtype == torch.bool for mask in masks.values())


@pytest.mark.parametrize("method", READING)
def test_a_failure_leaves_the_network_alone_too(method):
    net = network()
    before = copy.deepcopy(net)
    modes = [part.training for part in net.modules()]
    with pytest.raises(OptionError, match="the network Sequential fails on"):
        choose(net, method, 0.6, [(torch.randn(2, 5, 8, 8), torch.zeros(2, dtype=torch.int64))])
    for name, value in before.state_dict().items():
        assert torch.equal(net.state_dict()[name], value), name
    assert [part.training for part in net.modules()] == modes and not net[0].weight.requires_grad
    assert not any(len(part._forward_pre_hooks) for part in net.modules())


@pytest.mark.parametrize("sparsity", [0.1, 0.5, 0.93])
@pytest.mark.parametrize("method", [name for name in READING if PRUNING[name].exact])
def test_exactly_as_many_as_asked(method, sparsity):
    masks = choose(network(), method, sparsity, loader())
    n = sum(mask.numel() for mask in masks.values())
    assert sum(int(mask.sum()) for mask in masks.values()) == int(n * (1 - sparsity) + 0.5)


@pytest.mark.parametrize("method", READING)
def test_the_same_twice_and_what_is_pruned_stays_pruned(method):
    """A pace prunes again what is pruned already: weights that are 0 go first."""
    net, data = network(), loader()
    masks = choose(net, method, 0.5, data)
    again = choose(net, method, 0.5, data)
    assert all(torch.equal(masks[name], again[name]) for name in masks)
    with torch.no_grad():
        for name, mask in masks.items():
            net.get_parameter(name).mul_(mask)
    later = choose(net, method, 0.8, data)
    assert not any((later[name] & ~masks[name]).any() for name in masks)


@pytest.mark.parametrize("method", READING)
def test_examples_are_needed(method):
    with pytest.raises(OptionError, match=f"{method} reads examples, and there are none: give data= or batches="):
        sparsify(network(), method, 0.5)


@pytest.mark.parametrize("method", READING)
def test_shuffled_it_keeps_as_many_in_each_layer(method):
    net, data = network(), loader()
    masks, drawn = choose(net, method, 0.7, data), choose(net, method, 0.7, data, shuffle=True)
    assert [int(mask.sum()) for mask in masks.values()] == [int(mask.sum()) for mask in drawn.values()]
    assert any(not torch.equal(masks[name], drawn[name]) for name in masks)
