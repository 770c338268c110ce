"""SynFlow: what flows through every weight is conserved, and no layer vanishes."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.sparsity import sparsify
from datadiet.sparsity.synflow import _ones, _positive, _scores, synflow

pytestmark = pytest.mark.usefixtures("one_thread")


def weights_of(net):
    return {name: weight for name, weight in net.named_parameters() if weight.ndim > 1}


def batch_of(*shape):
    x = torch.full((2, *shape), torch.nan)  # whose values are not looked at
    return Batch(x, torch.zeros(2, dtype=torch.int64), torch.arange(2))


def choose(net, sparsity, *shape, rounds=100):
    return synflow(weights_of(net), sparsity, model=net, batches=lambda n: iter([batch_of(*shape)]), rounds=rounds)


def scores_of(net, *shape):
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights_of(net).items()}
    return _scores(net, _ones(batch_of(*shape)), _positive(net), masks)


def test_by_hand():
    """Two inputs of 1, hidden units |1| + |-2| = 3 and |0.5| + |0.5| = 1, the output 2 * 3 + 4 * 1 = 10.
    First layer: 2 * (1, 2) and 4 * (0.5, 0.5); second layer: 2 * 3 and 4 * 1. Each layer sums to 10."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.5]]))
        net[2].weight.copy_(torch.tensor([[-2.0, 4.0]]))
    found = scores_of(net, 2)
    assert found["0.weight"].tolist() == [[2, 4], [2, 2]] and found["2.weight"].tolist() == [[6, 4]]
    kept = choose(net, 0.5, 2, rounds=1)
    assert kept["0.weight"].tolist() == [[False, True], [False, False]] and kept["2.weight"].tolist() == [[True, True]]


def test_in_rounds_the_flow_of_what_is_left_counts():
    """The same network with 4.5 for 4: at once, the 6 and 4.5 of the second layer are the largest, and nothing flows.
    In rounds, 1 goes first (score 2). Then units carry 2 and 1, and the two 0.5 (2.25 each) are least: the later one
    goes. What is left of this unit has 2.25 before and after it: the later one goes, and without flow the other."""
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, -2.0], [0.5, 0.5]]))
        net[2].weight.copy_(torch.tensor([[-2.0, 4.5]]))
    at_once, in_rounds = choose(net, 2 / 3, 2, rounds=1), choose(net, 2 / 3, 2)
    assert not at_once["0.weight"].any() and at_once["2.weight"].all()
    assert in_rounds["0.weight"].tolist() == [[False, True], [False, False]]
    assert in_rounds["2.weight"].tolist() == [[True, False]]
    three = choose(net, 0.5, 2)  # what goes last has no flow any more, as what went first; that does not come back
    assert three["0.weight"].tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_flow_is_conserved_from_layer_to_layer_and_unit_to_unit(dtype):
    """Without biases: in a perceptron and in a network of convolutions with pooling. In float64, whatever the dtype."""
    torch.manual_seed(0)
    mlp = nn.Sequential(
        nn.Linear(7, 9, bias=False), nn.ReLU(), nn.Linear(9, 5, bias=False), nn.ReLU(), nn.Linear(5, 3, bias=False)
    ).to(dtype)
    found = [*scores_of(mlp, 7).values()]
    for into, out in pairwise(found):
        torch.testing.assert_close(into.sum(1), out.sum(0), rtol=1e-12, atol=0)
    cnn = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1, bias=False),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, bias=False),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3, bias=False),
    ).to(dtype)
    found = [*scores_of(cnn, 2, 8, 8).values()]
    assert {one.dtype for one in found} == {torch.float64}
    for into, out in pairwise(found):
        assert into.sum().item() == pytest.approx(out.sum().item(), rel=1e-12)
        torch.testing.assert_close(into.flatten(1).sum(1), out.transpose(0, 1).flatten(1).sum(1), rtol=1e-12, atol=0)


def test_the_scores_are_those_of_a_slow_restatement():
    """(dR/dw) w by products of matrices of absolute values, with a bias and BatchNorm."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2))
    for _ in range(5):
        net(torch.randn(16, 3) * 3 + 5)  # running statistics far from 0 and 1
    first, norm, last = (net[i].state_dict() for i in (0, 1, 3))
    a, b = first["weight"].double().abs(), last["weight"].double().abs()
    factor = norm["weight"].double().abs() / (norm["running_var"].double() + net[1].eps).sqrt()
    hidden = (a.sum(1) + first["bias"].double().abs()) * factor + norm["bias"].double().abs()
    found = scores_of(net, 3)
    torch.testing.assert_close(found["0.weight"], (b.sum(0) * factor)[:, None] * a)
    torch.testing.assert_close(found["3.weight"], b * hidden)


def test_no_layer_vanishes_where_it_would_in_one_round():
    """A narrow layer between wide ones: at once, its few weights have the largest scores and a wide one loses all."""
    torch.manual_seed(0)
    sizes = [(100, 100), (100, 100), (100, 100), (100, 2)]
    layers = [part for i, o in sizes for part in (nn.Linear(i, o, bias=False), nn.ReLU())]
    net = nn.Sequential(*layers[:-1])
    at_once, in_rounds = choose(net, 0.995, 100, rounds=1), choose(net, 0.995, 100)
    assert min(int(mask.sum()) for mask in at_once.values()) == 0
    n = sum(mask.numel() for mask in in_rounds.values())
    assert sum(int(mask.sum()) for mask in in_rounds.values()) == int(n * 0.005 + 0.5)
    paths = torch.eye(100)
    for mask in in_rounds.values():
        assert mask.any()
        paths = mask.float() @ paths
    assert paths.any()  # from some input to some output


def test_as_few_weights_as_there_are_layers_still_make_a_path():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        for part in (0, 2, 4):
            net[part].bias.zero_()
    kept = choose(net, 1 - 3 / 136, 6, rounds=200)
    assert [int(mask.sum()) for mask in kept.values()] == [1, 1, 1]
    assert (kept["4.weight"].float() @ kept["2.weight"].float() @ kept["0.weight"].float()).sum() == 1


def test_one_example_is_asked_for_and_its_values_do_not_count():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    asked = []

    def batches(n):
        asked.append(n)
        return [batch_of(6)]

    kept = synflow(weights_of(net), 0.5, model=net, batches=batches, rounds=3)
    other = sparsify(net, "synflow", 0.5, batches=[(torch.randn(5, 6), torch.zeros(5))], rounds=3)
    assert asked == [1] and all(torch.equal(kept[name], other[name]) for name in kept)


class Shifted(nn.Sequential):
    """Changes its input before anything else."""

    in_place = True

    def forward(self, x):
        return super().forward(x.sub_(0.75) if self.in_place else x - 0.75)


def test_a_network_may_change_its_input_in_place():
    torch.manual_seed(0)
    net = Shifted(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    in_place = choose(net, 0.5, 6)
    net.in_place = False
    assert all(torch.equal(in_place[name], mask) for name, mask in choose(net, 0.5, 6).items())


def test_inputs_by_name_and_shared_weights():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one = self.two = nn.Linear(4, 4, bias=False)

        def forward(self, x, y):
            return {"logits": self.two(functional.relu(self.one(x + y)))}

    torch.manual_seed(0)
    net = Net()
    inputs = {"x": torch.randn(3, 4), "y": torch.randn(3, 4)}
    masks = sparsify(net, "synflow", 0.75, batches=[(inputs, torch.zeros(3, dtype=torch.int64))])
    assert {**masks}.keys() == {"one.weight"} and masks.counts() == (4, 16)


def test_what_is_refused():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))
    pairs = [(torch.randn(3, 4), torch.zeros(3))]
    with pytest.raises(OptionError, match="rounds=0: give a whole number of at least 1"):
        sparsify(net, "synflow", 0.5, batches=pairs, rounds=0)
    tokens = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 2))
    with pytest.raises(OptionError, match=r"this one takes torch\.int64, such as tokens"):
        sparsify(tokens, "synflow", 0.5, batches=[(torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3))])
    flat = nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 2))
    with pytest.raises(OptionError, match="no weight of this Sequential carries anything"):
        sparsify(flat, "synflow", 0.5, batches=pairs)
