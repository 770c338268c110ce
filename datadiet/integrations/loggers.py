"""Where the course of a training can be looked at: TensorBoard, Weights & Biases, or a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from datadiet.errors import OptionError, require, unknown_name
from datadiet.training.logged import ScalarWriter

__all__ = ["LOGGERS", "scalar_writer"]


class _TensorBoard:
    """Event files in a folder of their own."""

    def __init__(self, out: Path | None) -> None:
        if out is None:
            raise OptionError('log="tensorboard" writes files below the run folder: give out= as well.')
        self.folder = out / "tensorboard"
        self.library = require("torch.utils.tensorboard", "tensorboard")

    def begin(self, step: int, state: Mapping[str, Any]) -> None:
        # Event files are only appended to: this hides what an interrupted training wrote after its last saved state.
        self.writer = self.library.SummaryWriter(str(self.folder), purge_step=step + 1 if step else 0)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, step)

    def end(self) -> None:
        self.writer.close()

    def state_dict(self) -> dict[str, Any]:
        self.writer.flush()  # the training will not write again what its state says was done
        return {}


class _Wandb:
    """A run of Weights & Biases; the environment says where to (WANDB_MODE, WANDB_PROJECT, …)."""

    def __init__(self, out: Path | None) -> None:
        self.folder, self.library = out, require("wandb", "wandb")

    def begin(self, step: int, state: Mapping[str, Any]) -> None:
        # A run that is resumed by its id takes no step it has already: nothing is there twice.
        place = {} if self.folder is None else {"dir": str(self.folder), "name": self.folder.name}
        project = os.environ.get("WANDB_PROJECT", "datadiet")
        self.run = self.library.init(project=project, id=state.get("id"), resume="allow", **place)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.run.log(dict(values), step=step)

    def end(self) -> None:
        self.run.finish()

    def state_dict(self) -> dict[str, Any]:
        return {"id": self.run.id}


class _Function:
    """A function of the user's, called with (step, values)."""

    def __init__(self, function: Callable[[int, dict[str, float]], object]) -> None:
        self.function = function

    def begin(self, step: int, state: Mapping[str, Any]) -> None:
        return

    def write(self, step: int, values: Mapping[str, float]) -> None:
        self.function(step, dict(values))

    def end(self) -> None:
        return

    def state_dict(self) -> dict[str, Any]:
        return {}


LOGGERS: dict[str, Callable[[Path | None], ScalarWriter]] = {"tensorboard": _TensorBoard, "wandb": _Wandb}


def scalar_writer(log: str | Callable[[int, dict[str, float]], object], out: str | Path | None) -> ScalarWriter:
    """What `train(log=…)` names.

    Args:
        log: one of `LOGGERS`, or a function of (step, values).
        out: the run folder, if there is one.

    Raises:
        OptionError: an unknown name, or one that needs a run folder.
        MissingExtra: its library is not installed.
    """
    if callable(log):
        return _Function(log)
    if log not in LOGGERS:
        raise unknown_name("logger", log, LOGGERS)
    return LOGGERS[log](None if out is None else Path(out))
