"""BatchNorm measured anew: exact means over unequal batches, and nothing else touched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.sparsity.batch_norm import reestimate_batch_norm

pytestmark = pytest.mark.usefixtures("one_thread")


def in_batches(x, *sizes):
    return [Batch(part, torch.zeros(len(part), dtype=torch.int64), torch.arange(len(part))) for part in x.split(sizes)]


def test_by_hand():
    """Batches (1, 3) and (5, 6, 10): the mean of all is 5, variances are 2 and 7, weighted (2 * 2 + 3 * 7) / 5 = 5."""
    net = nn.BatchNorm1d(1, momentum=0.3)
    net.running_mean.fill_(99.0)
    x = torch.tensor([1.0, 3.0, 5.0, 6.0, 10.0])[:, None]
    assert reestimate_batch_norm(net, in_batches(x, 2, 3)) == 1
    assert net.running_mean.item() == pytest.approx(5, rel=1e-6)
    assert net.running_var.item() == pytest.approx(5, rel=1e-6)
    assert net.num_batches_tracked.item() == 2 and net.momentum == 0.3


@pytest.mark.parametrize("momentum", [0.1, None])
def test_every_layer_sees_what_those_before_it_make_of_the_batch(momentum):
    """Against a slow restatement, in a network of convolutions with dropout, which is off."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(2, 3, 3),
        nn.BatchNorm2d(3, momentum=momentum),
        nn.Dropout(0.9),
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4, momentum=momentum, affine=False),
    )
    x = torch.randn(11, 2, 8, 8) * 3 + 1
    assert reestimate_batch_norm(net, in_batches(x, 8, 3)) == 2
    means, variances = [[], []], [[], []]
    with torch.no_grad():
        for part in x.split((8, 3)):
            for at, norm, conv in ((0, net[1], net[0]), (1, net[4], net[3])):
                part = conv(part)
                means[at].append(part.mean((0, 2, 3)))
                variances[at].append(part.var((0, 2, 3)))
                part = (part - means[at][-1][:, None, None]) / (
                    part.var((0, 2, 3), unbiased=False)[:, None, None] + norm.eps
                ).sqrt()
    for at, norm in enumerate((net[1], net[4])):
        torch.testing.assert_close(norm.running_mean, (8 * means[at][0] + 3 * means[at][1]) / 11)
        torch.testing.assert_close(norm.running_var, (8 * variances[at][0] + 3 * variances[at][1]) / 11)
        assert norm.momentum == momentum


def test_nothing_else_changes():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(), nn.Linear(4, 2))
    net[1].eval()
    before = copy.deepcopy(net)
    reestimate_batch_norm(net, in_batches(torch.randn(9, 3), 4, 5))
    for name, value in before.state_dict().items():
        same = torch.equal(net.state_dict()[name], value)
        assert same != name.startswith(("1.running", "1.num")), name
    assert [part.training for part in net.modules()] == [part.training for part in before.modules()]
    assert not net[1]._forward_pre_hooks and net[0].weight.grad is None


def test_it_draws_nothing():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout()), torch.randn(9, 3)
    state = torch.get_rng_state()
    reestimate_batch_norm(net, in_batches(x, 9))
    assert torch.equal(torch.get_rng_state(), state)


def test_without_such_layers_nothing_runs():
    assert reestimate_batch_norm(nn.Linear(3, 2), [None]) == 0
    assert reestimate_batch_norm(nn.BatchNorm1d(3, track_running_stats=False), [None]) == 0


def test_layers_out_of_reach_keep_theirs_and_shared_ones_see_all_they_read():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused = nn.BatchNorm1d(1), nn.BatchNorm1d(1)

        def forward(self, x):
            return self.used(x[:, :1]) + self.used(x[:, 1:])

    net = Net()
    net.unused.running_mean.fill_(7.0)
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    assert reestimate_batch_norm(net, in_batches(x, 2)) == 1
    assert net.used.running_mean.item() == pytest.approx(11) and net.unused.running_mean.item() == 7


def test_statistics_that_are_nan_are_replaced():
    net = nn.BatchNorm1d(2)
    net.running_mean.fill_(torch.nan)
    net.running_var.fill_(torch.inf)
    reestimate_batch_norm(net, in_batches(torch.eye(2), 2))
    torch.testing.assert_close(net.running_mean, torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(net.running_var, torch.tensor([0.5, 0.5]))


def test_instance_norm_that_tracks_statistics():
    torch.manual_seed(0)
    net, x = nn.InstanceNorm1d(2, track_running_stats=True), torch.randn(5, 2, 7)
    assert reestimate_batch_norm(net, in_batches(x, 2, 3)) == 1
    torch.testing.assert_close(net.running_mean, x.mean((0, 2)))
    torch.testing.assert_close(net.running_var, x.var(2).mean(0))


def test_a_failure_leaves_the_statistics():
    """The second batch has one value per channel, of which there is no variance."""
    net = nn.Sequential(nn.BatchNorm1d(3))
    net[0].running_mean.fill_(5.0)
    with pytest.raises(OptionError, match=r"fails on a batch.*more than 1 value per channel"):
        reestimate_batch_norm(net, in_batches(torch.randn(5, 3), 4, 1))
    assert net[0].running_mean.tolist() == [5, 5, 5] and net[0].num_batches_tracked == 0 and net[0].momentum == 0.1
    with pytest.raises(OptionError, match="without examples that reach it"):
        reestimate_batch_norm(net, [])
