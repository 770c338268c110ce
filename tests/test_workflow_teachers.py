"""`train(teacher=…)`: which teachers are opened, which are refused, and what the student learns from them."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.data import open_data
from datadiet.errors import DataError, OptionError
from datadiet.models import load_checkpoint, open_model

pytestmark = pytest.mark.usefixtures("one_thread")

FAST = {"batch_size": 128, "lr": 0.03}


def train(data="digits", model="datadiet:mlp", **options):
    return dd.train(data, model, **{"recipe": FAST, "epochs": 3, "seed": 1, **options})


def weights_of(result):
    return torch.cat([p.detach().flatten() for p in result.model.parameters()])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A network trained on all the digits."""
    out = tmp_path_factory.mktemp("teacher") / "run"
    with torch.random.fork_rng():
        train(epochs=10, seed=0, out=out)
    return out


def checkpoint(run):
    return run / "checkpoints/seed-0/epoch-10.safetensors"


def test_a_run_a_checkpoint_and_a_network_teach_the_same(run, tmp_path):
    network = load_checkpoint(open_model("datadiet:mlp", (1, 8, 8), 10).fresh(0), checkpoint(run))
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(checkpoint(run).read_bytes())
    network.train()
    found = [weights_of(train(teacher=teacher)) for teacher in (run, str(checkpoint(run)), moved, network, [network])]
    assert network.training
    assert all(torch.equal(weights, found[0]) for weights in found[1:])
    assert not torch.equal(found[0], weights_of(train()))


def test_with_the_weight_0_there_is_no_teacher_and_with_1_no_label(run):
    torch.testing.assert_close(weights_of(train(teacher=run, kd_weight=0)), weights_of(train()))

    class OtherLabels:
        """The digits with their labels moved."""

        def __init__(self, shift):
            self.shift = shift

        def __len__(self):
            return 1438

        def __getitem__(self, i):
            return digits.take(np.array([i]))[0], (int(digits.labels[i]) + self.shift) % 10

    digits = open_data("digits")
    found = [weights_of(train(OtherLabels(shift), teacher=run, kd_weight=1, epochs=1)) for shift in (0, 1)]
    assert torch.equal(*found)


def test_a_few_labels_and_a_teacher_beat_a_few_labels(run):
    source = open_data("digits")
    scores = dd.Scores(
        source.index, {"s": np.zeros(1438, np.float32)}, source.ids, source.labels,
        {"columns": {"s": {"hardness": 1}}, "data": source.identity()},
    )  # fmt: skip
    few = dd.select(scores, "random", keep=60, seed=0)
    options = {"selection": few, "epochs": 60, "recipe": {**FAST, "batch_size": 16}}
    assert train(teacher=run, **options).accuracy > train(**options).accuracy + 0.02


def test_a_run_of_the_users_code_needs_its_name_again(tmp_path, monkeypatch, run):
    module = tmp_path / "nets.py"
    module.write_text("from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n")
    monkeypatch.syspath_prepend(tmp_path)
    own = tmp_path / "own"
    train(model="py:nets:make", epochs=1, out=own)
    with pytest.raises(OptionError, match=r"a file must not decide what code runs.*teacher_model='py:nets:make'"):
        train(teacher=own)
    assert train(teacher=own, teacher_model="py:nets:make").steps
    assert train(teacher=own, teacher_model=lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 10))).steps
    assert train(teacher=own, model="py:nets:make").steps, "the user names the same code for the student"


def test_a_file_outside_a_run_is_of_the_students_own_function(tmp_path):
    def make():
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))

    torch.save(make().state_dict(), tmp_path / "weights.pt")
    assert train(model=make, teacher=tmp_path / "weights.pt", epochs=1).steps


class Broken(nn.Module):
    def forward(self, x):
        raise ValueError("no such input")


@pytest.mark.parametrize(
    ("teacher", "error", "match"),
    [
        ("datadiet:mlp", OptionError, "without trained weights.*give a run or a checkpoint"),
        ("nowhere/run", DataError, "there is no checkpoint nowhere/run"),
        ([], OptionError, "names no teacher"),
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 9)), OptionError, r"the teacher, .*shape \(2, 9\)"),
        (Broken(), OptionError, "the teacher, an instance of Broken, cannot take inputs .*no such input"),
        ({"weight": torch.zeros(1)}, OptionError, "teacher= is a table of weights"),
    ],
)
def test_teachers_that_cannot_be(teacher, error, match, tmp_path):
    with pytest.raises(error, match=match):
        train(teacher=teacher, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [{"kd_weight": 2}, {"kd_weight": "much"}, {"temperature": 0}, {"temperature": -1}])
def test_options_that_cannot_be(options, run, tmp_path):
    with pytest.raises(OptionError, match=next(iter(options))):
        train(teacher=run, **options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("options", [{"kd_weight": 0.5}, {"temperature": 2.0}, {"teacher_model": "datadiet:mlp"}])
def test_options_without_a_teacher_are_refused(options):
    with pytest.raises(OptionError, match="are about a teacher: give teacher="):
        train(**options)


def test_weights_of_another_network_are_refused(run, tmp_path):
    with pytest.raises(DataError, match="which the model needs: give a checkpoint of this model"):
        train(teacher=checkpoint(run), teacher_model="datadiet:resnet8")
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(checkpoint(run).read_bytes())
    with pytest.raises(DataError, match=r"taken to be that of model=, datadiet:resnet8.*teacher_model="):
        train(model="datadiet:resnet8", teacher=moved)


@pytest.mark.parametrize("other", [{"kd_weight": 0.1}, {"temperature": 2.0}, {"teacher": None}])
def test_a_run_is_not_continued_with_another_teacher(run, tmp_path, other):
    out = tmp_path / "student"
    train(teacher=run, out=out)
    with pytest.raises(OptionError, match="teacher"):
        train(**{"teacher": run, "out": out, **other})


def test_the_formula_is_printed(run, caplog):
    caplog.set_level(logging.INFO, "datadiet")
    train(teacher=run, sampler="rs2:keep=50%", epochs=1)
    assert "x cross-entropy + " in caplog.text and "kd_weight=auto, for 50 % of the data" in caplog.text
    assert f"datadiet:mlp of {checkpoint(run)}" in caplog.text


def test_a_large_teacher_is_noted_only_at_a_small_share(caplog):
    large = nn.Sequential(nn.Flatten(), nn.Linear(64, 2000), nn.ReLU(), nn.Linear(2000, 10))
    for keep, noted in (("50%", False), ("10%", True)):
        caplog.clear()
        train(teacher=large, sampler=f"rs2:keep={keep}", epochs=1)
        assert ("2403.07854" in caplog.text) == noted
