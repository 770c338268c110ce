"""Retraining a few parameters of a pruned network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.sparsity.perp import perp

pytestmark = pytest.mark.usefixtures("one_thread")


class MyNorm(nn.Module):
    """A normalisation of the user's own."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(8))


def network() -> nn.Sequential:
    layers = [nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), MyNorm(), nn.MultiheadAttention(8, 2), nn.PReLU(), nn.Linear(8, 3)]
    return nn.Sequential(*layers)


def test_words_and_names_say_what_trains() -> None:
    net = network()
    biases = {"0.bias", "1.bias", "3.in_proj_bias", "3.out_proj.bias", "5.bias"}
    for trainable, expected in (
        (["biases"], biases),
        (["norms"], {"1.weight", "1.bias", "2.gain"}),
        (["biases", "norms", "5"], biases | {"1.weight", "2.gain", "5.weight"}),
        ("3", {name for name, _ in net.named_parameters() if name.startswith("3.")}),
        (["4.weight"], {"4.weight"}),
    ):
        with perp(net, trainable) as names:
            assert set(names) == expected
            assert {name for name, p in net.named_parameters() if p.requires_grad} == expected
        assert all(p.requires_grad for p in net.parameters())


def test_what_was_frozen_stays_so_also_after_a_failure() -> None:
    net = network()
    net[5].bias.requires_grad_(False)
    with pytest.raises(KeyError), perp(net, ["biases"]) as names:
        assert "5.bias" not in names
        raise KeyError
    assert [name for name, p in net.named_parameters() if not p.requires_grad] == ["5.bias"]
    with pytest.raises(OptionError, match="no parameters of this kind"), perp(net, ["5.bias"]):
        pass
    with pytest.raises(OptionError, match="'norm' is not a layer to train: did you mean 'norms'"), perp(net, ["norm"]):
        pass


def test_train_moves_only_these_and_the_mask_stays(tmp_path: Path) -> None:
    dense = dd.train("digits", "datadiet:resnet8", steps=2).model
    options = {"start": dense, "sparsify": "global_magnitude:0.9", "steps": 3, "out": tmp_path / "run"}
    result = dd.train("digits", "datadiet:resnet8", trainable=("norms", "biases"), **options)  # type: ignore[arg-type]
    assert result.masks is not None and result.masks.density() == pytest.approx(0.1, abs=1e-3)
    before, moved = dict(dense.named_parameters()), set()
    for name, parameter in result.model.named_parameters():
        assert parameter.requires_grad
        kept = result.masks.get(name, torch.ones_like(parameter, dtype=torch.bool))
        if not torch.equal(parameter, before[name] * kept):
            moved.add(name)
    assert moved == {name for name, parameter in before.items() if parameter.ndim < 2}
    with pytest.raises(OptionError, match="other"):
        dd.train("digits", "datadiet:resnet8", **options)  # type: ignore[arg-type]
