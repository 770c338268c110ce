"""The best of several calibration sets, by the divergence of what comes of each."""

from __future__ import annotations

import copy
import weakref

import pytest
import torch
from torch import nn

from datadiet.data.batch import Batch
from datadiet.errors import DataError, OptionError
from datadiet.sparsity import sparsify
from datadiet.sparsity.best_of import best_of

pytestmark = pytest.mark.usefixtures("one_thread")


def in_batches(x, *sizes):
    return [Batch(part, torch.zeros(len(part), dtype=torch.int64), torch.arange(len(part))) for part in x.split(sizes)]


def scaled(net, factor):
    with torch.no_grad():
        net.weight.mul_(factor)


def test_by_hand():
    """Logits (log 3, 0): P = (3/4, 1/4). With the weights gone, Q = (1/2, 1/2): KL = 3/4 log 3/2 + 1/4 log 1/2."""
    net = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[3.0], [1.0]]).log())
    index, divergences = best_of(net, [0.0, 1.0, -1.0, 1.0], scaled, in_batches(torch.ones(1, 1), 1))
    three, one, half = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64) / 4
    assert index == 1 and divergences[1] == divergences[3] == 0  # of equal ones the first
    assert divergences[0] == pytest.approx((three * (three / half).log() + one * (one / half).log()).item(), rel=1e-6)
    assert divergences[2] == pytest.approx((three * (three / one).log() + one * (one / three).log()).item(), rel=1e-6)


def test_the_mean_is_over_predictions_however_they_are_batched():
    """Also where an example has several, as each position of a text."""
    torch.manual_seed(0)
    net = nn.Linear(4, 3)
    x = torch.randn(7, 5, 4)
    whole = best_of(net, [0.5], scaled, in_batches(x, 7))[1][0]
    parts = best_of(net, [0.5], scaled, in_batches(x, 5, 2))[1][0]
    p, q = net(x).softmax(-1), (x @ net.weight.T / 2 + net.bias).softmax(-1)
    slow = sum((a * (a / b).log()).sum() for a, b in zip(p.view(-1, 3), q.view(-1, 3), strict=True)) / 35
    assert whole == pytest.approx(slow.item(), rel=1e-5) and parts == pytest.approx(whole, rel=1e-6)


def test_a_calibration_set_of_the_same_kind_as_the_probe_wins():
    """Of inputs that lie in one half of the space, or in the other: the first half's weights matter for the probe."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 8, bias=False))
    left, right = torch.randn(40, 20), torch.randn(40, 20)
    left[:, 10:] *= 0.01
    right[:, :10] *= 0.01
    sets = [[(part, torch.zeros(len(part)))] for part in (right, left[:20])]
    found = best_of(
        net, sets, lambda copied, one: sparsify(copied, "wanda", 0.5, batches=one), in_batches(left[20:], 20)
    )
    assert found[0] == 1 and found[1][1] < found[1][0] / 10
    again = best_of(
        net, sets, lambda copied, one: sparsify(copied, "wanda", 0.5, batches=one), in_batches(left[20:], 20)
    )
    assert again == found


def test_the_network_is_left_alone():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Dropout(), nn.BatchNorm1d(4))
    net[2].eval()
    before, state = copy.deepcopy(net), torch.get_rng_state()

    def prune(copied, _):
        assert copied[1].training and not copied[2].training
        sparsify(copied, sparsity=0.5)

    index, divergences = best_of(net, ["a", "b", "c"], prune, in_batches(torch.ones(5, 3), 5))
    assert index == 0 and len(set(divergences)) == 1
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.state_dict().items())
    assert [part.training for part in net.modules()] == [part.training for part in before.modules()]


def test_one_copy_is_held_at_a_time():
    alive = []

    class Counted(nn.Linear):
        def __deepcopy__(self, memo):
            assert not any(one() is not None for one in alive)
            made = nn.Linear(3, 2)
            made.load_state_dict(self.state_dict())
            alive.append(weakref.ref(made))
            return made

    best_of(Counted(3, 2), [1.0, 0.5, 0.2], scaled, in_batches(torch.ones(5, 3), 5))
    assert len(alive) == 3


def test_what_is_refused():
    net, probe = nn.Linear(1, 2, bias=False), in_batches(torch.ones(1, 1), 1)
    with pytest.raises(OptionError, match="candidates= is empty"):
        best_of(net, [], scaled, probe)
    with pytest.raises(OptionError, match="the probe holds no examples"):
        best_of(net, [1.0, 0.5], scaled, iter(probe))
    for broken in (float("nan"), float("inf")):
        with pytest.raises(DataError, match="pruned with candidate 1, the network gives NaN or infinity"):
            best_of(net, [1.0, broken], scaled, probe)
