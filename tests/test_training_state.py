"""What resuming needs comes back as it was."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn

from datadiet.models import load_checkpoint
from datadiet.runtime.tensors import save_tensors
from datadiet.training import Recipe
from datadiet.training.state import load_state, packed_state, state_about


class Tied(nn.Module):
    """Two layers that share a weight, a buffer, and a frozen part."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.b = nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 4)
        self.b.weight = self.a.weight
        self.a.bias.requires_grad_(False)

    def forward(self, x):
        return self.b(self.norm(self.a(x)))


def trained(optimizer, steps=3):
    torch.manual_seed(0)
    model = Tied()
    optimizer = Recipe(optimizer=optimizer, lr=0.1).make_optimizer(model)
    for _ in range(steps):
        step(model, optimizer)
    return model, optimizer


def step(model, optimizer):
    optimizer.zero_grad()
    model(torch.arange(12.0).view(3, 4)).square().sum().backward()
    optimizer.step()


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_round_trip(tmp_path, name):
    model, optimizer = trained(name)
    about = {"history": [{"epoch": 1, "loss": 0.1 + 0.2}], "scale": {}}
    extra = {"hooks": [{"previous": torch.full((2, 3), torch.nan)}, {}], "schedule": {"counts": np.arange(4)}}
    save_tensors(tmp_path / "s.safetensors", *packed_state(model, optimizer, {**about, **extra}))
    other = Tied()
    fresh = Recipe(optimizer=name, lr=0.1).make_optimizer(other)
    got = load_state(tmp_path / "s.safetensors", other, fresh)
    assert got.keys() == {*about, *extra} and {key: got[key] for key in about} == about
    assert got["hooks"][0]["previous"].isnan().all() and got["hooks"][1] == {}
    assert isinstance(got["schedule"]["counts"], np.ndarray) and got["schedule"]["counts"].tolist() == [0, 1, 2, 3]
    assert state_about(tmp_path / "s.safetensors")["history"] == about["history"]
    step(model, optimizer)  # the next step is the same one
    step(other, fresh)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))


def test_a_state_is_a_copy(tmp_path):
    model, optimizer = trained("sgd")
    save_tensors(tmp_path / "a.safetensors", *packed_state(model, optimizer, {}))
    first = (tmp_path / "a.safetensors").read_bytes()
    save_tensors(tmp_path / "b.safetensors", *packed_state(model, optimizer, {}))
    assert (tmp_path / "b.safetensors").read_bytes() == first


def test_weights_carry_buffers_and_facts(tmp_path):
    from safetensors import safe_open

    model, _ = trained("sgd")
    path = tmp_path / "epoch-3.safetensors"
    save_tensors(path, dict(model.state_dict()), {"epoch": 3, "step": 9})
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["about"])
        assert set(about) == {"epoch", "step", "$check"} and (about["epoch"], about["step"]) == (3, 9)
        assert set(file.keys()) == set(model.state_dict())
    other = load_checkpoint(Tied(), path)
    assert torch.equal(other.norm.running_mean, model.norm.running_mean) and other.norm.num_batches_tracked == 3
