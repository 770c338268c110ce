"""The pruning method `channels`: its record, and the saliency that it takes from the gradients of examples."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.models.narrow import rebuilt
from datadiet.sparsity import CHANNELS, PRUNING, read_sparsify
from datadiet.sparsity.channels import channels
from datadiet.sparsity.spec import Context
from datadiet.sparsity.structured import shrink

pytest.importorskip("torch_pruning", reason="the extra prune is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")


def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5),
            nn.Linear(8 * 16, 12), nn.ReLU(), nn.Linear(12, 4),
        )  # fmt: skip
        net(torch.randn(8, 3, 4, 4))
    net[0].weight.requires_grad_(False)
    net[7].weight.grad = torch.full_like(net[7].weight, 7.0)
    return net


def examples(n=30):
    draws = torch.Generator().manual_seed(1)
    x, y = torch.randn(n, 3, 4, 4, generator=draws), torch.arange(n) % 4
    return [Batch(x[i : i + 10], y[i : i + 10], torch.arange(i, i + 10)) for i in range(0, n, 10)]


def losses(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none")


def removed_from(net, seed=0, **given):
    batches = examples()
    context = Context(net, losses, lambda n: batches[: n // 10 or None], seed)
    return channels(context, 0.4, example=batches[0].part(slice(2)), **given)


def test_by_magnitude_and_at_random_it_is_what_shrink_does():
    example = examples()[0].inputs[:2]
    for importance in ("magnitude", "random"):
        small, removed = removed_from(network(), importance=importance, seed=3)
        assert removed == shrink(network(), 0.4, example, importance=importance, seed=3)[1]
        again = rebuilt(network(), removed)
        assert all(torch.equal(value, again.state_dict()[name]) for name, value in small.state_dict().items())


def test_gradients_are_those_of_the_mean_loss_with_the_statistics_of_each_batch():
    net = network()
    for batch in examples():
        net.train()[4].eval()  # dropout is off
        net[0].weight.requires_grad_(True)
        losses(net(batch.inputs), batch.targets).sum().backward()
    net[7].weight.grad -= 7
    expected = shrink(net, 0.4, examples()[0].inputs[:2], importance="taylor")[1]
    found = removed_from(network(), importance="taylor", examples=0)[1]
    assert found == expected and found != removed_from(network())[1]
    assert found != removed_from(network(), importance="taylor", examples=10)[1]


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "random"])
def test_the_network_is_left_as_it_was(importance):
    net, state = network(), torch.get_rng_state()
    before = copy.deepcopy(net)
    removed_from(net, importance=importance)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before.state_dict()[name]) for name, value in net.state_dict().items())
    assert [p.requires_grad for p in net.parameters()] == [p.requires_grad for p in before.parameters()]
    assert [p.grad is None for p in net.parameters()] == [True] * 6 + [False, True]
    assert [part.training for part in net.modules()] == [part.training for part in before.modules()]


def test_its_record():
    spec, given = read_sparsify("channels:0.5,importance=taylor,round_to=8")
    assert spec is CHANNELS["channels"] and "channels" not in PRUNING
    assert given == {"sparsity": 0.5, "importance": "taylor", "round_to": 8}
    assert spec.reads_examples(given) and not spec.reads_examples({"sparsity": 0.5})
    assert [*spec.parameters] == ["sparsity", "importance", "round_to", "examples"]
    assert not PRUNING["global_magnitude"].reads_examples({}) and PRUNING["snip"].reads_examples({})
    with pytest.raises(OptionError, match="examples"):
        removed_from(network(), importance="taylor", examples=-1)
