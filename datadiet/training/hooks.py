"""Hooks: work that is done alongside training; the loop calls them without knowing what they do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from datadiet.training.loop import Trainer

__all__ = ["AfterEpoch", "Hook", "Record"]


class Hook:
    """Called by the loop; its state is saved and loaded with the training state. By default it does nothing."""

    def after_forward(self, trainer: Trainer) -> None:
        """After a batch, or each part of one, has passed; `trainer.latest` holds it, its outputs and its losses."""

    def after_step(self, trainer: Trainer) -> None:
        """After an optimizer step."""

    def after_epoch(self, trainer: Trainer) -> None:
        """After the last step of an epoch, which `trainer.clock.epoch` already counts."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs: JSON values and tensors."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""


@dataclass
class Record(Hook):
    """Pass every presentation to a recorder.

    Attributes:
        recorder: a `Recorder`.
        features: outputs -> the input of the last layer in the latest forward pass, or None.
    """

    recorder: Any
    features: Callable[[Tensor], Tensor | None] = lambda outputs: None

    def after_forward(self, trainer: Trainer) -> None:
        """Record the batch."""
        latest = trainer.latest
        assert latest is not None, "called after a pass"
        batch = latest.batch
        self.recorder.update(batch.rows, latest.outputs, batch.targets, self.features(latest.outputs))

    def after_epoch(self, trainer: Trainer) -> None:
        """Close the epoch."""
        self.recorder.end_epoch()

    def state_dict(self) -> dict[str, Any]:
        """The state of the recorder."""
        return dict(self.recorder.state_dict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the recorder."""
        self.recorder.load_state_dict(state)


@dataclass
class AfterEpoch(Hook):
    """Call a function with the number of each finished epoch, from 1."""

    action: Callable[[int], object]

    def after_epoch(self, trainer: Trainer) -> None:
        """Call the function."""
        self.action(trainer.clock.epoch)
