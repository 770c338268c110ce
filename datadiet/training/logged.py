"""Logging the course of training, for people to look at while it runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from datadiet.training.hooks import AfterEpoch

if TYPE_CHECKING:
    from datadiet.tasks import Evaluation
    from datadiet.training.loop import Trainer

__all__ = ["Logged", "ScalarWriter"]

_EVERY = 50  # steps: reading the losses waits for the device


class ScalarWriter(Protocol):
    """Where numbers go. It begins once in a process, before the first of them."""

    def begin(self, step: int, state: Mapping[str, Any]) -> None:
        """Begin after `step` steps; what was written of later ones, before an interruption, counts no more.

        Args:
            step: 0, or where a training continues.
            state: what `state_dict` returned then; empty for a new training.
        """
        ...

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers by their names."""
        ...

    def end(self) -> None:
        """Write what is still held."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What continuing needs: JSON values."""
        ...


class Logged(AfterEpoch):
    """Write loss, accuracy, learning rate and speed every 50 steps, those of each epoch, and the evaluation.

    The numbers of a step are means over the steps since the last ones, in the first process; those of an epoch are of
    all processes. A resumed training writes the steps it had not come to.

    Args:
        writer: where they go.

    Attributes:
        action: also called with the number of each finished epoch, from 1.
    """

    def __init__(self, writer: ScalarWriter) -> None:
        super().__init__(lambda epoch: None)
        self.writer = writer
        self._step, self._saved = 0, dict[str, Any]()
        self._begun, self._since, self._seen = False, 0.0, 0
        self._read = [0.0, 0.0, 0.0]  # of the sums of the epoch under way, what was written

    def after_forward(self, trainer: Trainer) -> None:
        """Count the examples, and begin with the first of them."""
        if trainer.main and not self._begun:
            self.writer.begin(self._step, self._saved)
            self._begun, self._since = True, time.monotonic()
        self._seen += trainer.world * len(trainer.latest.batch) if trainer.latest is not None else 0

    def after_step(self, trainer: Trainer) -> None:
        """Write the numbers of the latest steps."""
        self._step = trainer.clock.step
        if not trainer.main or self._step % _EVERY:
            return
        now, sums = time.monotonic(), trainer.totals.tolist()
        loss, right, seen = (new - old for new, old in zip(sums, self._read, strict=True))
        values = {
            "train/loss": loss / seen,
            "train/accuracy": right / seen,
            "lr": trainer.optimizer.param_groups[0]["lr"],
        }
        speed = {"examples_per_second": self._seen / max(now - self._since, 1e-9)}
        self.writer.write(self._step, values | speed)
        self._read, self._since, self._seen = sums, now, 0

    def after_epoch(self, trainer: Trainer) -> None:
        """Write the numbers of the epoch, after what else is done."""
        super().after_epoch(trainer)
        self._read = [0.0, 0.0, 0.0]
        if trainer.main:
            entry = trainer.history[-1]
            self.writer.write(self._step, {f"epoch/{name}": entry[name] for name in ("epoch", "loss", "accuracy")})

    def evaluated(self, evaluation: Evaluation) -> None:
        """Write the evaluation after the last step, unless the training was finished before."""
        if self._begun:
            values = {"eval/accuracy": evaluation.accuracy, "eval/loss": evaluation.loss}
            self.writer.write(self._step, values)

    def close(self) -> None:
        """End the log."""
        if self._begun:
            self.writer.end()
        self._begun = False

    def state_dict(self) -> dict[str, Any]:
        """Where the log stands."""
        return {"step": self._step, "read": self._read, "writer": self.writer.state_dict() if self._begun else {}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the log, or begin one if the training was not logged before."""
        self._step = state.get("step", 0)
        self._read, self._saved = state.get("read", self._read), state.get("writer", {})
