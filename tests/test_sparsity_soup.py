"""The average of retrained copies of one pruned network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.models.running import call
from datadiet.sparsity.soup import average_sparse


def copies(number: int = 3, norm: bool = False) -> tuple[list[nn.Module], dd.Masks]:
    """Copies of one pruned network whose kept weights differ."""
    torch.manual_seed(0)
    middle = nn.BatchNorm1d(8) if norm else nn.LayerNorm(8)
    net = nn.Sequential(nn.Linear(5, 8), middle, nn.ReLU(), nn.Linear(8, 3))
    masks = dd.sparsify(net, sparsity=0.7)
    nets = [copy.deepcopy(net) for _ in range(number)]
    for one in nets:
        with torch.no_grad():
            for parameter in one.parameters():
                parameter.add_(torch.randn_like(parameter))
        masks.apply_(one)
    return nets, masks


def test_it_is_the_mean_of_all_parameters_with_the_same_mask() -> None:
    nets, masks = copies()
    before = [copy.deepcopy(net.state_dict()) for net in nets]
    soup = average_sparse(nets)
    for name, value in soup.named_parameters():
        mean = sum(state[name].double() for state in before) / 3
        assert torch.allclose(value.double(), mean, atol=1e-6), name
    found = dd.Masks.from_zeros(soup)
    assert all(torch.equal(found[name], mask) for name, mask in masks.items())
    for net, state in zip(nets, before, strict=True):
        assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())


def test_batch_norm_is_measured_anew() -> None:
    nets, _ = copies(2, norm=True)
    x = torch.randn(40, 5) + 3
    batches = [Batch(x, torch.zeros(40), torch.arange(40))]
    with pytest.raises(OptionError, match="give batches="):
        average_sparse(nets)
    soup = average_sparse(nets, batches=batches)
    inputs = soup[0](x)  # type: ignore[index]
    norm = soup[1]  # type: ignore[index]
    assert torch.allclose(norm.running_mean, inputs.mean(0), atol=1e-5)
    assert torch.allclose(norm.running_var, inputs.var(0), atol=1e-5)
    assert not torch.allclose(norm.running_mean, nets[0][1].running_mean, atol=0.1)  # type: ignore[index]
    assert call(soup, x).isfinite().all()


def test_other_masks_and_other_networks_are_refused() -> None:
    nets, masks = copies(2)
    kept = masks["0.weight"].nonzero()[0]
    with torch.no_grad():
        nets[1][0].weight[tuple(kept)] = 0.0  # type: ignore[index]
    with pytest.raises(OptionError, match=r"network 1 has another mask than network 0 in 0.weight \(1 of 40"):
        average_sparse(nets)
    average_sparse(nets, masks=masks)  # a kept weight is 0 by chance
    pruned = (~masks["0.weight"]).nonzero()[0]
    with torch.no_grad():
        nets[1][0].weight[tuple(pruned)] = 1.0  # type: ignore[index]
    with pytest.raises(OptionError, match=r"another mask than masks= in 0.weight"):
        average_sparse(nets, masks=masks)
    with pytest.raises(OptionError, match="network 1 has other parameters"):
        average_sparse([nets[0], nn.Linear(5, 3)])
    with pytest.raises(OptionError, match="holds 1: give at least two"):
        average_sparse(nets[:1])
