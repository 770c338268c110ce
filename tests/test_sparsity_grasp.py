"""GraSP: the Hessian times the gradient, by two backward passes, against torch.func and finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.sparsity import sparsify
from datadiet.sparsity.gradients import as_training_begins
from datadiet.sparsity.grasp import _hessian_times_gradient, grasp

pytestmark = pytest.mark.usefixtures("one_thread")


def losses(outputs, targets):
    return functional.cross_entropy(outputs, targets, reduction="none")


def in_batches(x, y, *sizes):
    parts = list(zip(x.split(sizes), y.split(sizes), strict=True))
    return lambda n=0: [Batch(inputs, targets, torch.arange(len(targets))) for inputs, targets in parts]


def small(seed=0, dtype=torch.float64):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)).to(dtype)
    return net, torch.randn(12, 4, dtype=dtype), torch.randint(0, 3, (12,))


def weights_of(net):
    return {name: weight for name, weight in net.named_parameters() if weight.ndim > 1}


def product(net, batches, temperature=1.0):
    weights = weights_of(net)
    with as_training_begins(net, weights):
        return _hessian_times_gradient(
            weights, batches, lambda batch: losses(net(batch.inputs) / temperature, batch.targets).sum()
        )


def wanted(net, x, y, temperature=1.0):
    """H g by forward over reverse mode, in the weights alone."""
    weights = {name: weight.detach() for name, weight in weights_of(net).items()}

    def loss(values):
        return functional.cross_entropy(torch.func.functional_call(net, values, (x,)) / temperature, y)

    gradient = torch.func.grad(loss)(weights)
    return torch.func.jvp(torch.func.grad(loss), (weights,), (gradient,))[1]


@pytest.mark.parametrize("temperature", [1.0, 200.0])
def test_the_product_is_that_of_the_mean_loss(temperature):
    net, x, y = small()
    found = product(net, in_batches(x, y, 5, 7), temperature)
    for name, value in wanted(net, x, y, temperature).items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("sizes", [(1,) * 12, (5, 7)])
def test_every_example_counts_the_same_however_they_are_batched(sizes):
    net, x, y = small(dtype=torch.float32)
    whole, parts = product(net, in_batches(x, y, 12)), product(net, in_batches(x, y, *sizes))
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-5, atol=1e-7)


def test_removing_the_weights_with_the_largest_scores_gives_the_largest_gradient():
    """S_i = -w_i (H g)_i is the slope of |g|^2 / 2 as weight i shrinks, by finite differences here. Those with the
    largest slope go."""
    net, x, y = small(seed=3)
    weights = weights_of(net)

    def flow():
        found = torch.autograd.grad(functional.cross_entropy(net(x), y), [*weights.values()])
        return sum(one.square().sum().item() for one in found) / 2

    slopes = []
    for weight in weights.values():
        for at in range(weight.numel()):
            values = []
            for step in (1e-5, -1e-5):
                with torch.no_grad():
                    before = weight.view(-1)[at].clone()
                    weight.view(-1)[at] *= 1 - step
                values.append(flow())
                with torch.no_grad():
                    weight.view(-1)[at] = before
            slopes.append((values[0] - values[1]) / 2e-5)
    stay = torch.tensor(slopes).argsort()[:14]
    kept = grasp(
        weights, 1 - 14 / 35, model=net, losses=losses, batches=in_batches(x, y, 12), temperature=1, min_per_layer=0
    )
    found = torch.cat([mask.flatten() for mask in kept.values()]).nonzero().flatten()
    assert sorted(found.tolist()) == sorted(stay.tolist())


class Itself(nn.Module):
    """Gives its weights, whatever the input."""

    def __init__(self, *values):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([values]))

    def forward(self, x):
        return self.weight * torch.ones_like(x)


def test_by_hand():
    """Loss (w1 - 1)^2 + 2 (w2 - 1)^2 at w = (3, 0.5): g = (4, -2), H = diag(2, 4), H g = (8, -8), w H g = (24, -4).
    Without w1 there is less gradient, without w2 more: w1 stays. With (0.5, 3) it is
    the other way round."""
    for values, stays in (((3.0, 0.5), [True, False]), ((0.5, 3.0), [False, True])):
        net = Itself(*values)
        kept = grasp(
            {"weight": net.weight},
            0.5,
            model=net,
            losses=lambda outputs, _: ((outputs - 1).square() * torch.tensor([1.0, 2.0])).sum(1),
            batches=in_batches(torch.ones(1, 2), torch.zeros(1), 1),
            temperature=1.0,
        )
        assert kept["weight"].tolist() == [stays]


def test_a_large_weight_goes_if_the_gradient_grows_without_it():
    """Loss 4 w1 - w1^2 / 2 + w2^2 at w = (3, 1): g = (1, 2), H = diag(-1, 2), w H g = (-3, 4), and w2 stays."""
    net = Itself(3.0, 1.0)
    kept = grasp(
        {"weight": net.weight},
        0.5,
        model=net,
        losses=lambda outputs, _: 4 * outputs[:, 0] - outputs[:, 0] ** 2 / 2 + outputs[:, 1] ** 2,
        batches=in_batches(torch.ones(1, 2), torch.zeros(1), 1),
        temperature=1.0,
    )
    assert kept["weight"].tolist() == [[False, True]]


def test_weights_that_are_zero_go_before_those_with_a_negative_product():
    net, x, y = small()
    weights = weights_of(net)
    with torch.no_grad():
        net[0].weight.view(-1)[:5] = 0.0
    kept = grasp(
        weights, 6 / 35, model=net, losses=losses, batches=in_batches(x, y, 12), temperature=1, min_per_layer=0
    )
    assert not kept["0.weight"].view(-1)[:5].any() and sum(int(mask.sum()) for mask in kept.values()) == 29


def test_the_logits_are_divided_by_the_temperature():
    """On a network that is sure of itself, which changes the order of the scores; 200 unless told otherwise."""
    net, x, y = small()
    with torch.no_grad():
        net[2].weight.mul_(9)
    weights, data = weights_of(net), in_batches(x, y, 12)
    for given, temperature in (({"temperature": 1.0}, 1.0), ({}, 200.0)):
        kept = grasp(weights, 15 / 35, model=net, losses=losses, batches=data, min_per_layer=0, **given)
        scores = torch.cat([(weights[name] * one).flatten() for name, one in wanted(net, x, y, temperature).items()])
        found = torch.cat([mask.flatten() for mask in kept.values()])
        assert scores[found].min() > scores[~found].max()


def test_layers_without_use_have_no_score():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.used = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.used(x)

    torch.manual_seed(0)
    net, data = Net(), [(torch.randn(6, 4), torch.randint(0, 3, (6,)))]
    assert sparsify(net, "grasp", 0.75, batches=data, min_per_layer=1).layers()["unused.weight"][0] < 6


def test_attention_is_differentiated_twice():
    """The fused kernels that torch takes by itself have no second derivative."""
    torch.manual_seed(0)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.put, self.head = nn.Linear(6, 24), nn.Linear(8, 3)

        def forward(self, x):
            q, k, v = self.put(x).view(-1, x.shape[1], 1, 24).transpose(1, 2).chunk(3, -1)
            return self.head(functional.scaled_dot_product_attention(q, k, v).mean(2).squeeze(1))

    net, x, y = Net(), torch.randn(4, 5, 6), torch.randint(0, 3, (4,))
    assert sparsify(net, "grasp", 0.5, batches=[(x, y)], min_per_layer=1).counts() == (84, 168)


def test_what_is_refused():
    net, x, y = small(dtype=torch.float32)
    for temperature in (0, -1.0, float("inf")):
        with pytest.raises(OptionError, match="give a number above 0"):
            sparsify(net, "grasp", 0.5, batches=[(x, y)], temperature=temperature)
    with pytest.raises(OptionError, match="cannot be shared out"):
        sparsify(net, "grasp", 0.9, batches=[(x, y)], min_per_layer=3)
