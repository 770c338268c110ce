"""Averaged weights and limited gradients: by hand, in the loop, and resumed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import Feed, open_data
from datadiet.errors import OptionError
from datadiet.models import load_checkpoint
from datadiet.runtime.tensors import save_tensors
from datadiet.sampling import SubsetSampler
from datadiet.tasks import Classification
from datadiet.training import Clock, Recipe, Trainer
from datadiet.training import loop as loop_module
from datadiet.training.average import WeightAverage
from datadiet.training.hooks import Hook

pytestmark = pytest.mark.usefixtures("one_thread")


def test_the_average_by_hand():
    """Decay .5: d is 2/11, 3/12, 4/13 and then at most .5. From 0 with weights 1, 2, 3:

    9/11 = .8182; .25 x .8182 + .75 x 2 = 1.7045; 4/13 x 1.7045 + 9/13 x 3 = 2.6014.
    """
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    average = WeightAverage(model, 0.5)
    for value, wanted in ((1.0, 0.8182), (2.0, 1.7045), (3.0, 2.6014)):
        nn.init.constant_(model.weight, value)
        average.update()
        assert average.weights()["weight"].item() == pytest.approx(wanted, abs=1e-4)
    assert model.weight.item() == 3.0


def test_running_statistics_are_averaged_and_counts_are_those_of_the_network():
    model = nn.BatchNorm1d(2)
    average = WeightAverage(model, 0.9)
    for _ in range(3):
        model(torch.randn(8, 2) + 5)
        average.update()
    weights = average.weights()
    assert weights["num_batches_tracked"] == 3
    assert (weights["running_mean"] < model.running_mean).all() and (weights["running_mean"] > 0).all()


class Rows:
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return np.random.default_rng(i).standard_normal(3).astype(np.float32), i % 3


class Watching(Hook):
    """Notes the weights after each step; stops the training after some."""

    def __init__(self, stop=None):
        self.stop, self.seen = stop, []

    def after_step(self, trainer):
        self.seen.append(trainer.model.weight.detach().clone())
        if len(self.seen) == self.stop:
            raise KeyboardInterrupt


def trained(hooks=(), keep=None, **recipe):
    net = nn.Linear(3, 3)
    with torch.no_grad():
        net.weight.copy_(torch.linspace(-1, 1, 9).view(3, 3))
        net.bias.zero_()
    feed = Feed(open_data(Rows()), None, torch.device("cpu"))
    recipe = Recipe(**{"lr": 0.1, "batch_size": 16, **recipe})
    run = Trainer(net, Classification(3), feed, SubsetSampler(40, seed=1), recipe, Clock(epochs=3), hooks=list(hooks))
    run.run(**(keep or {}))
    return run


def test_the_trained_network_has_the_average_of_the_weights_of_all_steps():
    watch = Watching()
    run = trained([watch], ema=0.8)
    expected = torch.linspace(-1, 1, 9).view(3, 3)
    for step, weight in enumerate(watch.seen, 1):
        d = min(0.8, (1 + step) / (10 + step))
        expected = d * expected + (1 - d) * weight
    torch.testing.assert_close(run.model.weight.detach(), expected)
    torch.testing.assert_close(run.checkpoint[0]["weight"], expected)
    plain = Watching()
    trained([plain])
    assert all(torch.equal(a, b) for a, b in zip(watch.seen, plain.seen, strict=True))  # training itself is the same


@pytest.mark.parametrize("killed_in", [2, 3, 5])
def test_a_killed_training_resumes_its_average(tmp_path, monkeypatch, killed_in):
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))
    path = tmp_path / "state.safetensors"
    keep = {"state": path, "save": lambda content: save_tensors(path, *content)}
    whole = trained([Watching()], ema=0.9)
    with pytest.raises(KeyboardInterrupt):
        trained([Watching(killed_in + 1)], keep, ema=0.9)
    again = trained([Watching()], keep, ema=0.9)
    assert torch.equal(again.model.weight, whole.model.weight)


def test_the_checkpoint_of_a_run_is_the_network_that_was_evaluated(tmp_path):
    result = dd.train("digits", "datadiet:mlp", epochs=3, recipe={"ema": 0.9}, out=tmp_path / "run")
    loaded = load_checkpoint(
        dd.train("digits", "datadiet:mlp", epochs=1).model, tmp_path / "run/checkpoints/seed-0/epoch-3.safetensors"
    )
    for a, b in zip(loaded.parameters(), result.model.parameters(), strict=True):
        assert torch.equal(a, b)
    again = dd.train("digits", "datadiet:mlp", epochs=3, recipe={"ema": 0.9}, out=tmp_path / "run")
    assert again.accuracy == result.accuracy


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_no_step_is_longer_than_the_limit(precision):
    """Plain SGD without momentum at a constant rate moves the weights by lr times the gradient."""
    how = {"momentum": 0.0, "weight_decay": 0.0, "schedule": "constant", "lr": 1.0, "precision": precision}
    lengths = []
    for limit in (0.0, 0.05):
        watch = Watching()
        trained([watch], clip_norm=limit, **how)
        weights = torch.stack([torch.linspace(-1, 1, 9).view(3, 3), *watch.seen])
        lengths.append((weights[1:] - weights[:-1]).flatten(1).norm(dim=1))
    assert (lengths[0] > 0.05).all() and (lengths[1] <= 0.05 + 1e-6).all() and (lengths[1] > 0.03).all()


@pytest.mark.parametrize("field", [{"ema": 1.0}, {"ema": -0.1}, {"clip_norm": -1.0}, {"clip_norm": float("inf")}])
def test_values_out_of_range(field):
    with pytest.raises(OptionError, match=next(iter(field))):
        Recipe(**field)
