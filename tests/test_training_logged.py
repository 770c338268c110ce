"""train(log=…): what is written where, once, also by a training that is interrupted; against the real libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import datadiet as dd
from datadiet.cli import main
from datadiet.errors import MissingExtra, OptionError

pytestmark = pytest.mark.usefixtures("one_thread")
BATCH, EPOCHS = 16, 4  # 90 steps an epoch of the digits


def train(**options: Any) -> dd.TrainResult:
    return dd.train("digits", "datadiet:mlp", epochs=EPOCHS, recipe={"batch_size": BATCH}, **options)


Lines = list[tuple[int, dict[str, float]]]


def logged(**options: Any) -> tuple[dd.TrainResult, Lines]:
    lines: Lines = []
    return train(log=lambda step, values: lines.append((step, values)), **options), lines


@pytest.fixture(scope="module")
def whole() -> tuple[dd.TrainResult, Lines]:
    return logged()


def test_a_function_is_told_the_course_of_the_training(whole: tuple[dd.TrainResult, Lines]) -> None:
    result, lines = whole
    steps = [step for step, values in lines if "train/loss" in values]
    assert steps == list(range(50, 361, 50)) and result.steps == 360
    epochs = [(step, values) for step, values in lines if "epoch/loss" in values]
    assert [step for step, _ in epochs] == [90, 180, 270, 360]
    for (_, values), entry in zip(epochs, result.history, strict=True):
        assert values == {f"epoch/{name}": entry[name] for name in ("epoch", "loss", "accuracy")}
    assert lines[-1] == (360, {"eval/accuracy": result.accuracy, "eval/loss": result.evaluation.loss})
    first = next(values for _, values in lines)
    assert set(first) == {"train/loss", "train/accuracy", "lr", "examples_per_second"}
    assert first["examples_per_second"] > 0 and 0 < first["lr"] <= dd.Recipe().lr


def test_the_numbers_are_means_since_the_last_ones(whole: tuple[dd.TrainResult, Lines]) -> None:
    """The first 50 steps, and steps 91 to 100 of the second epoch, by the losses of the steps themselves."""
    from datadiet.training import loop
    from datadiet.training.hooks import Hook

    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    class Listen(Hook):
        def after_forward(self, trainer: Any) -> None:
            latest = trainer.latest
            seen.append((latest.losses.double(), latest.outputs.argmax(1) == latest.batch.targets))

    before = loop.Trainer.run
    with pytest.MonkeyPatch.context() as patch:

        def run(self: Any, **options: Any) -> None:
            self.hooks = [*self.hooks, Listen()]
            before(self, **options)

        patch.setattr(loop.Trainer, "run", run)
        train()
    lines = dict(line for line in whole[1] if "train/loss" in line[1])
    for step, of in ((50, slice(0, 50)), (100, slice(90, 100)), (150, slice(100, 150))):
        losses, right = (torch.cat(parts) for parts in zip(*seen[of], strict=True))
        assert lines[step]["train/loss"] == pytest.approx(losses.mean().item())
        assert lines[step]["train/accuracy"] == pytest.approx(right.double().mean().item())


def test_logging_changes_nothing(whole: tuple[dd.TrainResult, Lines]) -> None:
    plain = train()
    for one, other in zip(plain.model.parameters(), whole[0].model.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_device_is_read_once_in_fifty_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = []
    before = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda self: reads.append(self.shape) or before(self))
    logged()
    assert reads.count(torch.Size([3])) == 7 + EPOCHS  # steps 50 to 350, and the end of each epoch as without a log


class Killed(Exception):
    pass


def interrupted(out: Path, monkeypatch: pytest.MonkeyPatch, log: Any, at: int = 220, saved: int = 130) -> None:
    """A training that is killed after a step, with the state that was saved after an earlier one."""
    from datadiet.training import loop

    def save(self: Any, whole_epoch: bool = False) -> None:
        if self.clock.step == saved:
            self._save_from = 0.0
            before(self, whole_epoch=whole_epoch)
        if self.clock.step == at:
            raise Killed

    before = loop.Trainer._save
    with monkeypatch.context() as patch:
        patch.setattr(loop.Trainer, "_save", save)
        with pytest.raises(Killed):
            train(out=out, log=log)


def without_speed(lines: Lines) -> Lines:
    return [(step, {k: v for k, v in values.items() if k != "examples_per_second"}) for step, values in lines]


def test_a_resumed_training_continues_its_log(
    whole: tuple[dd.TrainResult, Lines], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: Lines = []
    interrupted(tmp_path / "run", monkeypatch, lambda step, values: lines.append((step, values)))
    before = [line for line in lines if line[0] <= 130]
    _, after = logged(out=tmp_path / "run")
    assert without_speed(before + after) == without_speed(whole[1])
    assert logged(out=tmp_path / "run")[1] == [], "a finished run is not logged again"


def test_a_state_fits_with_and_without_a_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path / "first", monkeypatch, log=None)
    _, lines = logged(out=tmp_path / "first")
    assert min(step for step, _ in lines) == 150 and np.isfinite(lines[0][1]["train/loss"])
    interrupted(tmp_path / "second", monkeypatch, log=lambda step, values: None)
    assert train(out=tmp_path / "second").steps == 360


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulators.EventAccumulator(str(folder), size_guidance={"scalars": 0})
    found.Reload()
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}


@pytest.mark.parametrize("kill", [False, True])
def test_tensorboard_has_each_number_once(
    kill: bool, whole: tuple[dd.TrainResult, Lines], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorboard")
    if kill:
        interrupted(tmp_path, monkeypatch, "tensorboard")
    train(out=tmp_path, log="tensorboard")
    found = scalars(tmp_path / "tensorboard")
    for tag in ("train/loss", "lr", "epoch/accuracy", "eval/accuracy"):
        wanted = [(step, values[tag]) for step, values in whole[1] if tag in values]
        assert [step for step, _ in found[tag]] == [step for step, _ in wanted], tag
        np.testing.assert_allclose([v for _, v in found[tag]], [v for _, v in wanted], rtol=1e-6)


def test_tensorboard_forgets_a_training_that_left_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tensorboard")
    interrupted(tmp_path, monkeypatch, "tensorboard", at=120, saved=-1)
    train(out=tmp_path, log="tensorboard")
    assert [step for step, _ in scalars(tmp_path / "tensorboard")["train/loss"]] == list(range(50, 361, 50))


class Wandb:
    """A stand-in for the module wandb, which notes its calls and, as wandb does, takes no step twice."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.kept: dict[str, Lines] = {}

    def init(self, **options: Any) -> Wandb:
        self.calls.append(options)
        self.id = options["id"] or f"run-{len(self.calls)}"
        lines = self.kept.setdefault(self.id, [])
        self.first = lines[-1][0] + 1 if lines else 0
        return self

    def log(self, values: dict[str, float], step: int) -> None:
        if step >= self.first:
            self.kept[self.id].append((step, values))

    def finish(self) -> None:
        self.calls.append({})


def test_wandb_continues_the_run_of_an_interrupted_training(
    whole: tuple[dd.TrainResult, Lines], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = Wandb()
    monkeypatch.setitem(__import__("sys").modules, "wandb", wandb)
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    interrupted(tmp_path / "run", monkeypatch, "wandb")
    train(out=tmp_path / "run", log="wandb")
    place = {"dir": str(tmp_path / "run"), "name": "run", "project": "datadiet", "resume": "allow"}
    assert wandb.calls == [place | {"id": None}, {}, place | {"id": "run-1"}, {}]
    (lines,) = wandb.kept.values()
    assert [step for step, v in lines if "train/loss" in v] == list(range(50, 361, 50))
    assert without_speed(lines) == without_speed(whole[1])


def test_the_real_wandb_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    train(out=tmp_path / "run", log="wandb")
    assert list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))


def test_what_cannot_be_logged_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OptionError, match="'tensorbord' is not a logger: did you mean 'tensorboard'"):
        train(log="tensorbord", out=tmp_path)
    with pytest.raises(OptionError, match="give out= as well"):
        train(log="tensorboard")
    with pytest.raises(OptionError, match="log=5: give"):
        train(log=5)
    monkeypatch.setitem(__import__("sys").modules, "wandb", None)
    with pytest.raises(MissingExtra, match=r"pip install 'datadiet\[wandb\]'"):
        train(log="wandb")
    assert not list(tmp_path.iterdir())


def test_the_command_line_logs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard")
    command = "train digits --model datadiet:mlp --epochs 1 --set batch_size=16 --log tensorboard --json --out"
    with pytest.raises(SystemExit) as ended:
        main([*command.split(), str(tmp_path)])
    assert not ended.value.code
    accuracy = json.loads(capsys.readouterr().out.splitlines()[-1])["accuracy"]
    assert scalars(tmp_path / "tensorboard")["eval/accuracy"] == [(90, pytest.approx(accuracy))]


def test_a_training_that_fails_ends_its_log() -> None:
    class Fails(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.calls = nn.Linear(64, 10), 0

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            self.calls += 1
            if self.training and self.calls > 120:
                raise RuntimeError("enough")
            return self.layer(x.flatten(1))

    ended = []
    from datadiet.integrations import loggers

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loggers._Function, "end", lambda self: ended.append(True))
        with pytest.raises(OptionError, match="enough"):
            dd.train("digits", Fails, epochs=2, recipe={"batch_size": BATCH}, log=lambda step, values: None)
    assert ended == [True]
