"""How far training has got. All schedules (learning rate, sparsity, selection, distillation weight) read this clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from datadiet.errors import OptionError

__all__ = ["Clock"]


@dataclass
class Clock:
    """Progress through a budget of epochs or of optimizer steps. Exactly one of the two is given.

    Attributes:
        epochs: the budget in epochs, whose lengths may vary.
        steps: the budget in steps.
        epoch: finished epochs.
        step: steps taken.
        batch: finished batches of the current epoch.
        batches: all batches of the current epoch.

    >>> clock = Clock(epochs=2)
    >>> clock.begin_epoch(3)
    >>> clock.tick()
    >>> round(clock.progress, 3), clock.done, clock.total
    (0.167, 1, 6)
    """

    epochs: int | None = None
    steps: int | None = None
    epoch: int = 0
    step: int = 0
    batch: int = 0
    batches: int = field(default=1)

    def __post_init__(self) -> None:
        given = [budget for budget in (self.epochs, self.steps) if budget is not None]
        if len(given) != 1 or given[0] < 1:
            raise OptionError(
                f"epochs={self.epochs}, steps={self.steps}: give exactly one of them as the budget, at least 1."
            )

    @property
    def done(self) -> int:
        """The part of the budget that is done: in steps, or, if it is in epochs, in batches of the current epoch."""
        return self.step if self.epochs is None else self.epoch * self.batches + self.batch

    @property
    def total(self) -> int:
        """The whole budget, in the units of `done`."""
        return self.steps if self.steps is not None else (self.epochs or 0) * self.batches

    @property
    def progress(self) -> float:
        """The share of the budget that is done, in [0, 1]."""
        return self.done / self.total

    @property
    def finished(self) -> bool:
        """Whether the budget is spent."""
        return self.step >= self.steps if self.steps is not None else self.epoch >= (self.epochs or 0)

    def begin_epoch(self, batches: int) -> None:
        """Begin an epoch with this number of batches, or continue it after `load_state_dict`."""
        self.batches = batches

    def tick(self) -> None:
        """Count one step."""
        self.step += 1
        self.batch += 1

    def end_epoch(self) -> None:
        """End the current epoch."""
        self.epoch, self.batch = self.epoch + 1, 0

    def state_dict(self) -> dict[str, Any]:
        """All fields, as JSON values."""
        return asdict(self)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; the budget does not change."""
        for name in ("epoch", "step", "batch", "batches"):
            setattr(self, name, state[name])
