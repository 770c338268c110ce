"""SNIP: the sensitivity of the loss to every weight, on chosen examples."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.sparsity import sparsify
from datadiet.sparsity.gradients import as_training_begins, mean_gradient
from datadiet.sparsity.snip import snip

pytestmark = pytest.mark.usefixtures("one_thread")


def losses(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none")


def in_batches(x, y, *sizes):
    """What a context gives: the first n examples, in batches of these sizes."""
    parts = list(zip(x.split(sizes), y.split(sizes), strict=True))

    def batches(n):
        left = n or len(x)
        for inputs, targets in parts:
            take = min(left, len(targets))
            left -= take
            if take:
                yield Batch(inputs[:take], targets[:take], torch.arange(take))

    return batches


def small(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    return net, torch.randn(12, 4, dtype=dtype), torch.randint(0, 3, (12,))


def weights_of(net):
    return {name: weight for name, weight in net.named_parameters() if weight.ndim > 1}


def gradients(net, batches):
    weights = weights_of(net)
    with as_training_begins(net, weights):
        return mean_gradient(weights, batches, lambda batch: losses(net(batch.inputs), batch.targets).sum())


def test_by_hand():
    """Outputs w x with w = (2, -1; 3, 1), squared error to 0, one x = (1, 2): w x = (0, 5), the gradient of
    sum (w x)^2 is 2 (w x) x' = (0, 0; 10, 20), and |g w| = (0, 0; 30, 20)."""
    net = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[2.0, -1.0], [3.0, 1.0]]))
    batches = in_batches(torch.tensor([[1.0, 2.0]]), torch.zeros(1), 1)
    kept = snip({"weight": net.weight}, 0.75, model=net, losses=lambda out, _: out.square().sum(1), batches=batches)
    assert kept["weight"].tolist() == [[False, False], [True, False]]


def test_the_gradient_is_that_of_the_mean_loss_by_finite_differences():
    """The sensitivity is the slope of the loss in a factor on each weight."""
    net, x, y = small()
    found = gradients(net, in_batches(x, y, 5, 7)(0))
    for name, weight in weights_of(net).items():
        for at in range(weight.numel()):
            values = []
            for step in (1e-6, -1e-6):
                with torch.no_grad():
                    before = weight.view(-1)[at].clone()
                    weight.view(-1)[at] *= 1 + step
                    values.append(functional.cross_entropy(net(x), y).item())
                    weight.view(-1)[at] = before
            slope = (values[0] - values[1]) / 2e-6
            assert slope == pytest.approx((found[name] * weight).view(-1)[at].item(), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("sizes", [(1,) * 12, (5, 7), (11, 1)])
def test_every_example_counts_the_same_however_they_are_batched(sizes):
    net, x, y = small(dtype=torch.float32)
    whole, parts = gradients(net, in_batches(x, y, 12)(0)), gradients(net, in_batches(x, y, *sizes)(0))
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-5, atol=1e-7)


def test_only_the_chosen_examples_are_read():
    """Those beyond are of the other class, and would change which weights are kept."""
    net, x, y = small()
    weights = weights_of(net)
    first, other = in_batches(x[:4], y[:4], 4), in_batches(x, y, 3, 9)
    alone = snip(weights, 0.5, model=net, losses=losses, batches=first, examples=0)
    among = snip(weights, 0.5, model=net, losses=losses, batches=other, examples=4)
    every = snip(weights, 0.5, model=net, losses=losses, batches=other, examples=0)
    assert all(torch.equal(alone[name], among[name]) for name in weights)
    assert any(not torch.equal(alone[name], every[name]) for name in weights)


def test_the_largest_of_the_whole_network_above_the_floors():
    net, x, y = small()
    with torch.no_grad():
        net[0].weight.mul_(1e-3)  # no weight of the first layer is among the six largest
    found = gradients(net, in_batches(x, y, 12)(0))
    weights = weights_of(net)
    for least in (0, 2):
        kept = snip(weights, 1 - 6 / 35, model=net, losses=losses, batches=in_batches(x, y, 12), min_per_layer=least)
        scores = {name: (found[name] * weights[name]).abs() for name in weights}
        assert [int(kept[name].sum()) for name in weights] == [least, 6 - least]
        for name, mask in kept.items():
            assert not mask.any() or scores[name][mask].min() > scores[name][~mask].max()


def test_batch_norm_uses_the_statistics_of_the_batch_and_dropout_nothing():
    """The running statistics of a new network would leave activations as they are, far from how it trains."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 5, bias=False), nn.BatchNorm1d(5), nn.Dropout(0.9), nn.Linear(5, 3)).double()
    x, y = torch.randn(12, 4).double() * 9, torch.randint(0, 3, (12,))
    found = gradients(net, in_batches(x, y, 12)(0))
    hidden = net[0](x)
    hidden = (hidden - hidden.mean(0)) / (hidden.var(0, unbiased=False) + net[1].eps).sqrt()
    functional.cross_entropy(net[3](hidden), y).backward()
    for name in found:
        torch.testing.assert_close(found[name], net.get_parameter(name).grad)


def test_frozen_weights_and_those_without_use_have_scores_too():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.used(x)

    torch.manual_seed(0)
    net = Net().requires_grad_(False)
    batches = in_batches(torch.randn(6, 4), torch.randint(0, 3, (6,)), 6)
    with torch.no_grad():  # as a caller may have it
        kept = snip(weights_of(net), 0.5, model=net, losses=losses, batches=batches, min_per_layer=0)
    assert kept["used.weight"].all() and not kept["unused.weight"].any()
    assert not any(weight.requires_grad for weight in net.parameters())


def test_bfloat16_is_summed_in_float32():
    net, x, y = small(dtype=torch.bfloat16)
    found = gradients(net, in_batches(x, y, 4, 4, 4)(0))
    assert {one.dtype for one in found.values()} == {torch.float32}
    masks = sparsify(net, "snip", 0.5, batches=[(x, y)], min_per_layer=1)
    assert masks.counts() == (18, 35)


def test_what_is_refused():
    net, x, y = small(dtype=torch.float32)
    with pytest.raises(OptionError, match="examples=-1: give a whole number of at least 0"):
        sparsify(net, "snip", 0.5, batches=[(x, y)], examples=-1)
    with pytest.raises(OptionError, match="no examples to take the gradient of"):
        snip(weights_of(net), 0.5, model=net, losses=losses, batches=lambda n: [])
    with pytest.raises(OptionError, match="cannot be shared out"):
        sparsify(net, "snip", 0.9, batches=[(x, y)], min_per_layer=3)
