"""Dynamics: what a recorder and a schedule are told, and its state; in two processes too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional

import datadiet as dd
from datadiet.errors import MissingExtra, OptionError
from datadiet.integrations import Dynamics
from datadiet.tasks import output_signals

N, CLASSES = 12, 3
LOGITS = torch.from_numpy(np.random.default_rng(0).normal(size=(4, N, CLASSES)).astype(np.float32))
TARGETS = torch.arange(N) % CLASSES


class Told:
    """A schedule that keeps what it is told."""

    def __init__(self, reads: Any = "loss") -> None:
        self.reads, self.epochs = reads, []

    def update(self, index: torch.Tensor, values: torch.Tensor) -> None:
        assert index.dtype == torch.int64 and index.device == values.device == torch.device("cpu")
        self.epochs.append([index.tolist(), values.tolist()])

    def state_dict(self) -> dict[str, Any]:
        return {"epochs": [list(one) for one in self.epochs], "pos": 7}

    def load_state_dict(self, state: Any) -> None:
        assert state["pos"] == 0, "the loop knows where it stands"
        self.epochs = [list(one) for one in state["epochs"]]


def fed(dynamics: Dynamics, epoch: int, batches: range = range(3)) -> Dynamics:
    for batch in batches:
        index = torch.arange(N).flip(0)[4 * batch : 4 * batch + 4]
        dynamics.update(index, LOGITS[epoch][index], TARGETS[index])
    return dynamics


@pytest.mark.parametrize("reads", ["loss", "error_norm", "correct"])
def test_a_schedule_is_told_once_an_epoch_what_it_reads(reads: str) -> None:
    schedule = Told(reads)
    dynamics = fed(Dynamics(N, schedule, record=False), 0)
    assert schedule.epochs == [] and dynamics.under_way
    dynamics.end_epoch()
    (((index, values),), rows) = schedule.epochs, torch.arange(N).flip(0)
    wanted = output_signals(LOGITS[0][rows], TARGETS[rows])[reads]
    assert index == rows.tolist() and not dynamics.under_way
    np.testing.assert_allclose(np.array(values, dtype=float), wanted.double().numpy(), rtol=1e-5)
    with pytest.raises(OptionError, match="record=True"):
        dynamics.finish()


def test_the_losses_that_are_given_are_passed_on() -> None:
    dynamics = Dynamics(N, Told(), record=False)
    losses = functional.cross_entropy(LOGITS[0], TARGETS, reduction="none", label_smoothing=0.3)
    dynamics.update(range(N), LOGITS[0], TARGETS, losses)
    dynamics.end_epoch()
    assert dynamics.schedule.epochs[0][1] == losses.tolist()


def test_the_recorder_sees_what_a_recorder_in_the_loop_sees() -> None:
    dynamics, recorder = Dynamics(N, seed=3), dd.Recorder(N, seed=3)
    for epoch in range(3):
        fed(dynamics, epoch).end_epoch()
        fed(recorder, epoch).end_epoch()
    for signal in ("loss", "margin", "correct"):
        one, other = (found.finish().array(signal, "train", [1, 2, 3])[0] for found in (dynamics, recorder))
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("record", [True, False])
def test_a_state_within_an_epoch_is_continued(record: bool) -> None:
    whole, part = (Dynamics(N, Told(), record=record) for _ in range(2))
    for one in (whole, part):
        fed(one, 0).end_epoch()
        fed(one, 1, range(2))
    resumed = Dynamics(N, Told(), record=record)
    resumed.load_state_dict(part.state_dict())
    assert resumed.under_way
    for one in (whole, resumed):
        fed(one, 1, range(2, 3)).end_epoch()
    assert whole.schedule.epochs == resumed.schedule.epochs
    if record:
        one, other = (found.finish().array("loss", "train", [1, 2])[0] for found in (whole, resumed))
        np.testing.assert_array_equal(one, other)


def test_a_state_of_something_else_is_refused() -> None:
    state = fed(Dynamics(N), 0).state_dict()
    with pytest.raises(OptionError, match="not the state of a Dynamics"):
        Dynamics(N).load_state_dict({"recorder": {}})
    with pytest.raises(OptionError, match="saved with record=True: make this with record=True"):
        Dynamics(N, record=False).load_state_dict(state)
    with pytest.raises(OptionError, match="with n=12, and this one has n=13"):
        Dynamics(N + 1).load_state_dict(state)
    state["values"]["ranks"] *= 2
    with pytest.raises(OptionError, match=r"within an epoch by 2 processes, and now there are 1: resume with 2"):
        Dynamics(N).load_state_dict(state)
    closed = fed(Dynamics(N), 0)
    closed.end_epoch()
    state = closed.state_dict()
    state["values"]["ranks"] *= 2  # at the end of an epoch the number does not matter
    Dynamics(N).load_state_dict(state)


def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib
    import sys

    for library in ("transformers", "datadiet.integrations.transformers"):
        monkeypatch.setitem(sys.modules, library, None) if library == "transformers" else monkeypatch.delitem(
            sys.modules, library, raising=False
        )
    with pytest.raises(MissingExtra, match=r"transformers is needed here.*pip install 'datadiet\[transformers\]'"):
        importlib.import_module("datadiet.integrations").attach  # noqa: B018  the name is loaded when it is looked up
