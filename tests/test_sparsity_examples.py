"""What holds for every pruning method that reads examples: it leaves the network alone, and says what it lacks."""

from __future__ import annotations

import copy
import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import datadiet as dd
from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.sparsity import PRUNING, sparsify
from datadiet.sparsity.batch_norm import reestimate_batch_norm
from datadiet.sparsity.best_of import best_of
from datadiet.sparsity.examples import as_batches, class_losses
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.soup import average_sparse
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
    context = Context(net, class_losses, lambda n: as_batches(batches, net, n), 0)
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


X, Y = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(2)), torch.arange(6) % 4
WITH_TARGETS = [name for name in READING if "losses" in PRUNING[name].filled]
UNREADABLE = {
    "tensor": (X, "a batch is of type Tensor, not a pair: give a list of pairs"),
    "pair without a list": ((X, Y), "a batch is of type Tensor, not a pair"),
    "number": (3, "batches=3: give a list of pairs"),
    "inputs only": ([(X,)], "a batch is of type tuple, not a pair"),
    "dict": ([{"x": X, "y": Y}], "a batch is of type dict, not a pair"),
    "no targets": ([(X, None)], "the targets of a batch are of type NoneType .neither a tensor nor an array.: give"),
    "texts": ([(X, np.array(["a"] * 6))], "the targets of a batch are of type ndarray .can't convert"),
    "one target": ([(X, Y[0])], "the targets of a batch are of type Tensor .a single number.: give"),
    "several inputs": ([((X, X), Y)], "the inputs of a batch are of type tuple .neither a tensor nor an array"),
    "fewer targets": ([(X, Y[:5])], "a batch has 6 inputs and 5 targets: give one target for each example"),
    "nothing": ([], "batches= holds no example"),
}
WRONG_TARGETS = {
    "too large": (Y + 1, "a target is 4, and the network has 4 outputs: number the classes from 0 to 3"),
    "negative": (Y - 1, "a target is -1, and the network has 4 outputs"),
    "float": (Y.float(), r"targets of shape .6,. and type float32 do not fit outputs of shape .6, 4.: give the class"),
    "probabilities": (torch.eye(4)[Y], r"targets of shape .6, 4. and type float32 do not fit"),
    "a column": (Y[:, None], r"targets of shape .6, 1. and type int64 do not fit outputs of shape .6, 4."),
    "bool": (Y > 1, "type bool do not fit"),
}


@pytest.mark.parametrize("method", READING)
@pytest.mark.parametrize("batches", UNREADABLE)
def test_batches_that_cannot_be_read_are_refused_in_a_sentence(method, batches):
    given, said = UNREADABLE[batches]
    with pytest.raises(OptionError, match=said):
        sparsify(network(), method, 0.5, batches=given)


@pytest.mark.parametrize("method", WITH_TARGETS)
@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("targets", WRONG_TARGETS)
def test_targets_that_are_not_classes_are_refused_before_the_loss(method, as_array, targets):
    given, said = WRONG_TARGETS[targets]
    with pytest.raises(OptionError, match=said):
        sparsify(network(), method, 0.5, batches=[(X.numpy(), given.numpy()) if as_array else (X, given)])


@pytest.mark.parametrize("method", READING)
def test_arrays_do_as_tensors_do(method):
    """Of any type of numbers: numpy makes float64 and, on some systems, int32."""
    wanted = sparsify(network(), method, 0.5, batches=[(X, Y)])
    for x, y in ((X.double().numpy(), Y.int().numpy()), (X.numpy()[:, ::-1][:, ::-1], Y.to(torch.uint8).numpy())):
        found = sparsify(network(), method, 0.5, batches=[(x, y)])
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_only_the_first_examples_are_taken_and_a_loader_may_yield_more_than_pairs():
    net = network()
    batches = [*as_batches(DataLoader(dd.Indexed(TensorDataset(X, Y)), batch_size=4), net, 5)]
    assert [len(batch) for batch in batches] == [4, 1] and torch.equal(batches[1].inputs, X[4:5])
    assert [batch.rows.tolist() for batch in batches] == [[0, 1, 2, 3], [4]]
    (named,) = as_batches([({"x": X.numpy(), "mask": X[:, 0]}, Y.numpy())], net)
    assert torch.equal(named.inputs["x"], X) and torch.equal(named.targets, Y)
    assert next(as_batches([(X.numpy(), Y.numpy())], net.double())).inputs.dtype == torch.float64
    batch = Batch(X, Y, torch.arange(6))
    assert next(as_batches([batch], net)).inputs is X


def test_a_target_that_torch_ignores_has_no_loss():
    losses = class_losses(torch.zeros(2, 4), torch.tensor([1, -100]))
    assert losses.tolist() == [pytest.approx(np.log(4)), 0.0]


def test_everything_that_reads_examples_takes_arrays():
    arrays, tensors = [(X.double().numpy(), Y.numpy())], [Batch(X, Y, torch.arange(6))]
    one, other = network(), network()
    assert reestimate_batch_norm(one, arrays) == reestimate_batch_norm(other, tensors) == 1
    assert torch.equal(one[1].running_mean, other[1].running_mean)

    def prune(net, batches):
        sparsify(net, "wanda", 0.5, batches=batches)

    assert best_of(network(), [arrays], prune, arrays) == best_of(network(), [[(X, Y)]], prune, tensors)
    soups = [average_sparse([network(), network()], batches=batches) for batches in (arrays, tensors)]
    assert all(map(torch.equal, soups[0].state_dict().values(), soups[1].state_dict().values()))
    for read in (
        lambda: reestimate_batch_norm(network(), [X]),
        lambda: best_of(network(), [arrays], prune, [X]),
        lambda: average_sparse([network(), network()], batches=[X]),
    ):
        with pytest.raises(OptionError, match="a batch is of type Tensor, not a pair"):
            read()
