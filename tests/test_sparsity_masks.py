"""Masks beside an ordinary network: its optimizer, copies, state dict, and torch.nn.utils.prune."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.sparsity import Pace


def net(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


OPTIMIZERS: dict[str, Any] = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.1, weight_decay=0.1),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_pruned_weights_stay_zero_under_momentum_and_weight_decay(name: str) -> None:
    model = net()
    optimizer = OPTIMIZERS[name](model.parameters())

    def step() -> None:
        optimizer.zero_grad()
        model(torch.randn(4, 6)).square().mean().backward()
        optimizer.step()

    step()
    masks = dd.sparsify(model, sparsity=0.8)
    masks.zero_(optimizer, model)
    held = [v for v in optimizer.state[model[0].weight].values() if v.shape == model[0].weight.shape]
    assert held and all((v[~masks["0.weight"]] == 0).all() and v.count_nonzero() for v in held)
    apply = masks.bound(model)
    for _ in range(3):
        step()
        apply()
        assert dd.Masks.from_zeros(model).counts() == masks.counts() == (14, 72)


def test_the_network_stays_an_ordinary_one() -> None:
    model = net()
    masks = dd.sparsify(model, sparsity=0.5)
    assert [*model.state_dict()] == [*net().state_dict()]
    twin = copy.deepcopy(model)
    assert torch.equal(twin[0].weight, model[0].weight)
    other = net(1)
    other.load_state_dict(model.state_dict())
    found = dd.Masks.from_zeros(other)
    assert all(torch.equal(found[name], masks[name]) for name in masks) and [*found] == [*masks]
    again = dd.Masks(masks.state_dict())
    assert all(torch.equal(again[name], masks[name]) for name in masks)
    assert "density 0.5" in repr(again)


def test_to_and_from_torch() -> None:
    model, masks = net(), dd.sparsify(net(), sparsity=0.5)
    masks.to_torch(model)
    assert prune.is_pruned(model) and [*model[0].state_dict()] == ["bias", "weight_orig", "weight_mask"]
    taken = dd.Masks.from_torch(model)
    assert not prune.is_pruned(model) and isinstance(model[0].weight, nn.Parameter)
    assert all(torch.equal(taken[name], masks[name]) for name in masks)
    assert (model[0].weight[~masks["0.weight"]] == 0).all()
    whole = nn.Linear(3, 2)
    prune.l1_unstructured(whole, "weight", amount=0.5)
    assert dd.Masks.from_torch(whole)["weight"].sum() == 3
    with pytest.raises(OptionError, match=r"not pruned with torch.nn.utils.prune"):
        dd.Masks.from_torch(net())


def test_masks_of_another_network_are_refused() -> None:
    masks = dd.sparsify(net(), sparsity=0.5)
    with pytest.raises(OptionError, match=r"the mask of 0.weight has shape \(8, 6\), and the parameter \(2, 6\)"):
        masks.apply_(nn.Sequential(nn.Linear(6, 2), nn.ReLU(), nn.Linear(8, 3)))
    with pytest.raises(OptionError, match=r"no parameter '0.weight'"):
        masks.apply_(nn.Linear(6, 8))
    with pytest.raises(OptionError, match="give a bool tensor"):
        dd.Masks({"weight": torch.ones(2, 2)})


def test_the_cubic_pace_is_that_of_the_paper() -> None:
    """s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3 with s_i = 0."""
    pace = Pace.read("cubic:0.2-0.6")
    for progress in (0.0, 0.2, 0.3, 0.45, 0.6, 0.9, 1.0):
        u = min(max((progress - 0.2) / 0.4, 0), 1)
        assert pace.sparsity(0.9, progress) == pytest.approx(0.9 + (0 - 0.9) * (1 - u) ** 3)
    assert pace.sparsity(0.9, 0.6) == 0.9 and pace.sparsity(0.9, 1.0) == 0.9  # exactly
    assert [pace.update(p) for p in (0, 0.2, 0.202, 0.204, 0.4, 0.6, 1)] == [0, 0, 0, 1, 50, 100, 100]


def test_rounds_take_a_fifth_each() -> None:
    rounds = Pace.read("rewind").rounds(1 - 0.8**5)
    assert rounds == pytest.approx([1 - 0.8**r for r in range(1, 6)]) and rounds[-1] == 1 - 0.8**5
    assert Pace.read("rewind_lr:0.3") == Pace("rewind_lr", 0.3) and Pace.read("start") == Pace()


@pytest.mark.parametrize("wrong", ["now", "cubic:0.5", "cubic:0.7-0.2", "cubic:0.5-1.5", "rewind:1", "rewind:1.2.3"])
def test_paces_that_are_none(wrong: str) -> None:
    with pytest.raises(OptionError, match=f"sparsify_when='{wrong}'"):
        Pace.read(wrong)
