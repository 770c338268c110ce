"""Selective backprop: which examples are drawn, whose gradient it is, and when."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import datadiet as dd
from datadiet.data import Feed, open_data
from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.runtime.tensors import save_tensors
from datadiet.sampling import InfoBatchSampler, SubsetSampler
from datadiet.tasks import Classification
from datadiet.training import Clock, Recipe, SelectiveBackprop, Trainer
from datadiet.training import loop as loop_module
from datadiet.training.hooks import Hook

pytestmark = pytest.mark.usefixtures("one_thread")


def supervised(forward, batch):
    outputs = forward(batch)
    return outputs, functional.cross_entropy(outputs, batch.targets, reduction="none")


def at(step=0, batch=0, progress=0.5):
    """A clock at a place of a training."""
    clock = Clock(steps=100, step=round(100 * progress), batch=batch)
    clock.step += step
    return clock


def batch_of(size=8, seed=0):
    rng = np.random.default_rng(seed)
    inputs = torch.from_numpy(rng.standard_normal((size, 4)).astype(np.float32))
    return Batch(inputs, torch.from_numpy(np.arange(size) % 3), torch.from_numpy(rng.permutation(1000)[:size]))


def kept_by(objective, batch, net):
    """Which examples of a batch have a gradient, and the scale of it: from the gradient of each loss by the inputs."""
    inputs = batch.inputs.clone().requires_grad_()
    _, losses = objective(lambda part: net(part.inputs), Batch(inputs, batch.targets, batch.rows))
    (gradient,) = torch.autograd.grad(losses.sum(), inputs)
    plain = batch.inputs.clone().requires_grad_()
    _, each = supervised(lambda part: net(part.inputs), Batch(plain, batch.targets, batch.rows))
    (whole,) = torch.autograd.grad(each.sum(), plain)
    scale = (gradient * whole).sum(dim=1) / whole.square().sum(dim=1)
    torch.testing.assert_close(gradient, scale[:, None] * whole, rtol=1e-4, atol=1e-6)
    return scale


@pytest.mark.parametrize(("keep", "k"), [(0.5, 4), (0.3, 2), (0.1, 1), (0.99, 7)])
def test_exactly_the_share_of_a_batch_has_a_gradient_and_the_losses_are_those_of_all(keep, k):
    """mean over B of B/k times the gradients of k examples is the gradient of their mean."""
    net, batch = nn.Linear(4, 3), batch_of()
    objective = SelectiveBackprop(supervised, at(), keep=keep)
    scale = kept_by(objective, batch, net)
    np.testing.assert_allclose(np.sort(scale.numpy()), [0] * (8 - k) + [8 / k] * k, atol=1e-5)
    outputs, losses = objective(lambda part: net(part.inputs), batch)
    wanted = supervised(lambda part: net(part.inputs), batch)
    assert torch.equal(outputs, wanted[0]) and torch.allclose(losses, wanted[1])


def test_the_step_is_that_of_the_mean_of_the_kept_golden():
    net, batch = nn.Linear(4, 3), batch_of()
    objective = SelectiveBackprop(supervised, at())
    kept = torch.nonzero(kept_by(objective, batch, net)).flatten()
    _, losses = objective(lambda part: net(part.inputs), batch)
    losses.mean().backward()
    found = net.weight.grad.clone()
    net.zero_grad()
    functional.cross_entropy(net(batch.inputs[kept]), batch.targets[kept]).backward()
    torch.testing.assert_close(found, net.weight.grad)


def test_draws_are_proportional_to_a_power_of_the_percentile():
    """keep = 1/4 of 8, so 2 are drawn without replacement with p ~ q^3; compared with numpy's choice."""
    size, draws = 8, 3000
    losses = torch.linspace(0.1, 2.0, size)
    rows = torch.arange(size)
    counts = np.zeros(size)
    for step in range(draws):
        counts[SelectiveBackprop(None, at(step), keep=0.25)._drawn(losses, rows, 2).numpy()] += 1
    p = ((np.arange(size) + 0.5) / size) ** 3
    rng, wanted = np.random.default_rng(0), np.zeros(size)
    for _ in range(20_000):
        wanted[rng.choice(size, 2, replace=False, p=p / p.sum())] += draws / 20_000
    assert counts.sum() == 2 * draws
    assert np.abs(counts - wanted).max() < 5 * np.sqrt(draws * 0.25)
    assert counts[0] < 5 and (np.diff(counts) > -60).all()


def test_a_draw_belongs_to_the_example_and_the_step():
    """The same examples in another order, with other examples of the same losses, or at another step."""
    losses, rows = torch.linspace(0.1, 2.0, 30), torch.arange(100, 130)

    def kept(step=0, order=None, seed=0):
        order = torch.arange(30) if order is None else order
        found = SelectiveBackprop(None, at(step), seed=seed)._drawn(losses[order], rows[order], 15)
        return set(rows[order][found].tolist())

    assert kept() == kept(order=torch.randperm(30, generator=torch.Generator().manual_seed(0)))
    assert len({frozenset(found) for found in (kept(), kept(1), kept(2), kept(seed=1))}) == 4


def test_losses_that_are_tiny_or_equal_or_of_a_small_share_are_drawn_too():
    for losses in (torch.zeros(64), torch.full((64,), 1e-30), torch.linspace(0, 1e-30, 64).half()):
        found = SelectiveBackprop(None, at(), keep=0.01)._drawn(losses, torch.arange(64), 1)
        assert 0 <= found.item() < 64


@pytest.mark.parametrize(
    ("progress", "batch", "chooses"),
    [(0.0, 0, False), (0.49, 0, False), (0.5, 0, True), (0.5, 1, False), (0.89, 4, True), (0.9, 0, False)],
)
def test_it_chooses_between_start_and_end_and_not_in_every_second_batch(progress, batch, chooses):
    net = nn.Linear(4, 3)
    scale = kept_by(SelectiveBackprop(supervised, at(batch=batch, progress=progress)), batch_of(), net)
    assert (scale > 0.5).sum() == (4 if chooses else 8)
    never = SelectiveBackprop(supervised, at(batch=1), interrupt=0)
    assert (kept_by(never, batch_of(), net) > 0.5).sum() == 4


class Killed(Hook):
    def __init__(self, after):
        self.left = after

    def after_step(self, trainer):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def trained(after=10**9, keep=None, schedule=None, **options):
    rng, targets = np.random.default_rng(0), np.arange(60) % 3
    x = (rng.standard_normal((60, 3)) + np.eye(3)[targets]).astype(np.float32)
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    clock, task = Clock(epochs=4), Classification(3)
    objective = SelectiveBackprop(supervised, clock, **{"start": 0.25, "end": 1.0, **options})
    one = Trainer(
        net,
        task,
        Feed(open_data((x, targets)), None, torch.device("cpu")),
        schedule or SubsetSampler(60),
        Recipe(lr=0.1, batch_size=16),
        clock,
        0,
        objective,
        hooks=[Killed(after)],
    )
    one.run(**(keep or {}))
    return one, torch.cat([p.detach().flatten() for p in net.parameters()])


@pytest.mark.parametrize("killed_after", [3, 5, 6, 7, 13])
@pytest.mark.parametrize("with_infobatch", [False, True])
def test_a_training_killed_at_any_step_resumes_to_the_same_bits(tmp_path, monkeypatch, killed_after, with_infobatch):
    monkeypatch.setattr(loop_module, "_SAVE_EVERY", 0.0)
    monkeypatch.setattr(loop_module, "_SAVE_SHARE", float("inf"))

    def schedule():
        return InfoBatchSampler(60, epochs=4) if with_infobatch else None

    whole, weights = trained(schedule=schedule())
    state = tmp_path / "state.safetensors"
    keep = {"state": state, "save": lambda content: save_tensors(state, *content)}
    with pytest.raises(KeyboardInterrupt):
        trained(killed_after, keep, schedule())
    again, found = trained(keep=keep, schedule=schedule())
    assert torch.equal(found, weights)
    assert [{**e, "seconds": 0} for e in again.history] == [{**e, "seconds": 0} for e in whole.history]


def test_a_schedule_learns_from_the_losses_of_all_examples():
    """InfoBatch sees every presentation, also of examples that had no gradient."""
    schedule, given = InfoBatchSampler(60, epochs=4), []
    update = schedule.update
    schedule.update = lambda index, values: (given.append((index.tolist(), values)), update(index, values))
    run, _ = trained(schedule=schedule, start=0.0)
    for entry, (index, values) in zip(run.history, given, strict=True):
        assert len(set(index)) == len(values) and entry["loss"] == pytest.approx(values.mean().item(), rel=1e-5)
    assert len(given[0][0]) == 60


def test_by_its_name():
    options = {"epochs": 4, "recipe": {"batch_size": 128}}
    plain, whole, half = (
        dd.train("digits", "datadiet:mlp", objective=text, **options)
        for text in (None, "selective_backprop:keep=1", "selective_backprop:keep=0.5,start=0.25,end=1,interrupt=0")
    )
    assert whole.history[-1]["loss"] == plain.history[-1]["loss"]
    assert half.history[0]["loss"] == plain.history[0]["loss"] and half.history[-1]["loss"] != plain.history[-1]["loss"]
    assert half.accuracy > 0.5 and half.steps == plain.steps


def test_another_objective_in_the_same_folder_is_refused(tmp_path):
    options = {"epochs": 1, "recipe": {"batch_size": 512}, "out": tmp_path / "run"}
    dd.train("digits", "datadiet:mlp", **options)
    with pytest.raises(OptionError, match="objective"):
        dd.train("digits", "datadiet:mlp", objective="selective_backprop", **options)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("selective_backprop:keep=0", "keep=0.0: give a share of each batch above 0 to 1"),
        ("selective_backprop:start=0.9,end=0.5", "give two shares of the training"),
        ("selective_backprop:interrupt=-1", "interrupt=-1: give a whole number of at least 0"),
        ("selective_backprop:interrupt=some", "interrupt='some': give a whole number"),
        ("selective_backprop:clock=1", "the run sets clock itself: leave it out"),
        ("selective_backprop:kep=1", "'kep' is not a parameter of selective_backprop: did you mean 'keep'"),
        ("selective", "'selective' is not an objective: did you mean 'selective_backprop'"),
        (3, "objective=3: give a string or None"),
    ],
)
def test_refusals(tmp_path, text, words):
    with pytest.raises(OptionError, match=words):
        dd.train("digits", "datadiet:mlp", objective=text, epochs=1, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
