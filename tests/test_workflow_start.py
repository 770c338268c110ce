"""train: from given weights, with a schedule of one's own, and under names that have changed."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import datadiet as dd
from datadiet.cli import main
from datadiet.data import open_data
from datadiet.errors import DataError, OptionError
from datadiet.workflow.fitting.schedules import open_schedule, schedule_name

FAST = {"batch_size": 256, "lr": 1e-12, "weight_decay": 0.0}  # which leaves the weights where they began


def weights_of(model):
    return torch.cat([value.detach().flatten() for value in model.state_dict().values()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("start") / "run"
    result = dd.train("digits", "datadiet:mlp", epochs=2, recipe={"batch_size": 256}, out=folder)
    return folder, result.model


@pytest.mark.parametrize("how", ["run", "checkpoint", "module"])
def test_training_begins_with_the_given_weights(trained, how):
    folder, model = trained
    start = {"run": folder, "checkpoint": folder / "checkpoints/seed-0/epoch-2.safetensors", "module": model}[how]
    before = weights_of(model)
    found = dd.train("digits", "datadiet:mlp", start=start, steps=1, recipe=FAST)
    torch.testing.assert_close(weights_of(found.model), before)
    assert torch.equal(weights_of(model), before), "a module that was given is left alone"
    fresh = dd.train("digits", "datadiet:mlp", steps=1, recipe=FAST)
    assert (weights_of(fresh.model) - before).abs().max() > 0.01


def test_the_start_is_part_of_the_plan(trained, tmp_path):
    folder, model = trained
    dd.train("digits", "datadiet:mlp", start=folder, steps=1, recipe=FAST, out=tmp_path / "run")
    again = dd.train("digits", "datadiet:mlp", start=model, steps=1, recipe=FAST, out=tmp_path / "run")
    assert again.steps == 1, "the same weights, however they are named"
    with pytest.raises(OptionError, match=r"holds a run with start = .*, and this one has nothing"):
        dd.train("digits", "datadiet:mlp", steps=1, recipe=FAST, out=tmp_path / "run")


def test_weights_that_do_not_fit_are_refused_before_anything_is_written(trained, tmp_path):
    folder, _ = trained
    small = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    with pytest.raises(OptionError, match="start= is not a network of the architecture datadiet:mlp"):
        dd.train("digits", "datadiet:mlp", start=small, steps=1, out=tmp_path / "run")
    with pytest.raises(DataError, match="there is no checkpoint"):
        dd.train("digits", "datadiet:mlp", start=tmp_path / "nothing", steps=1, out=tmp_path / "run")
    with pytest.raises(DataError, match=r"epoch-2\.safetensors"):
        dd.train("digits", lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), start=folder, steps=1)
    assert not (tmp_path / "run").exists()


def test_the_command_line_starts_from_a_run(trained, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "digits", "--model", "datadiet:mlp", "--start", str(trained[0]), "--steps", "3",
              "--out", str(tmp_path / "run")])  # fmt: skip
    assert stop.value.code == 0 and capsys.readouterr().out.startswith("3 steps on 1438 examples an epoch")


class Halving:
    """The examples with the largest losses, half as many each epoch."""

    reads = "loss"

    def __init__(self, n):
        self.losses = np.zeros(n)

    def begin(self, epoch):
        self.kept = np.argsort(-self.losses, kind="stable")[: len(self.losses) >> epoch]
        return len(self.kept)

    def order(self, epoch):
        return lambda positions: self.kept[positions]

    def update(self, index, values):
        self.losses[index.numpy()] = values.numpy()

    def weights(self, index):
        return None

    def state_dict(self):
        return {"losses": self.losses}

    def load_state_dict(self, state):
        self.losses = state["losses"]


def test_a_schedule_whose_length_changes_trains_the_epochs_that_were_asked_for():
    result = dd.train("digits", "datadiet:mlp", sampler=Halving(1438), epochs=4, recipe={"batch_size": 64})
    steps = [-(-(1438 >> epoch) // 64) for epoch in range(4)]
    assert [entry["step"] for entry in result.history] == np.cumsum(steps).tolist()
    assert result.steps == sum(steps) and result.kept == 1438


def test_what_is_not_a_schedule_is_refused():
    for sampler in (iter(range(3)), torch.utils.data.SequentialSampler(range(3)), [1, 2, 3]):
        with pytest.raises(OptionError, match=r"is not a schedule, since it has no '(reads|begin)'"):
            dd.train("digits", "datadiet:mlp", sampler=sampler, epochs=1)


class Three:
    """Always the same three examples."""

    reads = None

    def __init__(self, examples):
        self.examples, self.seen = np.array(examples), []

    def begin(self, epoch):
        return len(self.examples)

    def order(self, epoch):
        return lambda positions: self.examples[positions]

    def update(self, index, values):
        self.seen += index.tolist()

    def weights(self, index):
        self.seen += index.tolist()

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def test_a_schedule_names_examples_by_their_position_in_the_opened_data():
    part = open_data("digits").subset(np.arange(100, 200))
    schedule = open_schedule(given := Three([150, 120, 199]), None, None, part, seed=0)
    assert schedule.begin(0) == 3 and schedule.order(0)(np.arange(3)).tolist() == [50, 20, 99]
    schedule.update(torch.tensor([50, 99]), torch.zeros(2))
    schedule.weights(torch.tensor([20]))
    assert given.seen == [150, 199, 120]


def test_schedules_that_hold_something_else_have_other_names():
    one, other = Halving(100), Halving(100)
    assert schedule_name(one) == schedule_name(other)
    other.factor = 0.9
    assert schedule_name(one) != schedule_name(other)
    assert schedule_name(dd.SubsetSampler(9)) != schedule_name(dd.SubsetSampler(9, loss_weights=np.ones(9)))


def test_weights_of_a_run_get_the_inputs_of_that_run(tmp_path):
    """Data of another scale: the weights know the normalisation of theirs."""
    images, labels = open_data("digits").take(np.arange(200)), torch.from_numpy(open_data("digits").labels[:200])
    dd.train(TensorDataset(images, labels), "datadiet:mlp", epochs=1, out=tmp_path / "first")
    options = {"epochs": 1, "recipe": {"lr": 1e-6}, "start": tmp_path / "first"}
    dd.train(TensorDataset(images // 2, labels), "datadiet:mlp", out=tmp_path / "second", **options)
    first, second = (
        json.loads((tmp_path / name / "manifest.json").read_text())["plan"]["inputs"] for name in ("first", "second")
    )
    assert second["normalisation"] == first["normalisation"]


def test_old_names_work_and_warn(tmp_path):
    with pytest.warns(
        FutureWarning, match=r"score\(column=…\) is now score\(save_as=…\); the old name will be removed"
    ):
        scores = dd.score("digits", "datadiet:mlp", "aum", epochs=1, column="mine", out=tmp_path / "run")
    assert scores.names == ("mine",)
    with pytest.warns(FutureWarning, match=r"rescore\(save_as=…\)"):
        assert "other" in dd.rescore(tmp_path / "run", "aum", column="other").names
    from datadiet import selectors
    from datadiet.scorers import Need

    with pytest.warns(FutureWarning, match=r"Need\(mode=…\) is now Need\(pass_name=…\)"):
        assert Need("loss", mode="train", at="every") == Need("loss", "train", "every")
    with pytest.warns(FutureWarning, match=r"datadiet.selectors.ccs_explained is now datadiet.selectors.ccs.explain"):
        assert selectors.ccs_explained is selectors.ccs.explain
    with pytest.raises(AttributeError, match="has no attribute 'top_k_explained'"):
        _ = selectors.top_k_explained


def test_rows_of_a_part_are_what_a_sampler_is_given_for():
    """A static sampler counts in what was opened; its weights go with its examples."""
    part = open_data("digits").subset(np.arange(100, 200))
    sampler = dd.SubsetSampler([150, 120, 199], loss_weights=np.array([2.0, 0.5, 0.25]))
    schedule = open_schedule(sampler, None, None, part, seed=0)
    assert schedule.begin(0) == 3 and sorted(schedule.order(0)(np.arange(3)).tolist()) == [20, 50, 99]
    assert schedule.weights(torch.tensor([99, 20])).tolist() == [0.25, 0.5]
    with pytest.raises(OptionError, match="3 examples: give one each"):
        dd.SubsetSampler([150, 120, 199], loss_weights=np.ones(2))
