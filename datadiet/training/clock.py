"""How far training has got. All schedules (learning rate, sparsity, selection, distillation weight) read this clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from datadiet.errors import OptionError

__all__ = ["Clock", "even_batches"]


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
        shown: the examples of the current epoch, in all processes.

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
    batches: int = 1
    shown: int = 0

    def __post_init__(self) -> None:
        given = [budget for budget in (self.epochs, self.steps) if budget is not None]
        if len(given) != 1 or given[0] < 1:
            raise OptionError(
                f"epochs={self.epochs}, steps={self.steps}: give exactly one of them as the budget, at least 1."
            )

    @classmethod
    def of_budget(
        cls,
        full: int,
        batch_size: int,
        *,
        epochs: int | None = None,
        steps: int | None = None,
        match: str | None = None,
    ) -> Clock:
        """The clock of an explicit budget: published comparisons differ in how many steps training takes.

        Args:
            full: examples of the full data set.
            batch_size: examples per step.
            epochs: passes over the kept examples.
            steps: optimizer steps.
            match: "full-steps" with epochs=E: the E * ceil(full / batch_size) steps that E epochs of the full data
                take.

        Raises:
            OptionError: not exactly one of epochs and steps, a number below 1, or an unknown match.

        >>> Clock.of_budget(1000, 32, epochs=3).epochs, Clock.of_budget(1000, 32, epochs=3, match="full-steps").steps
        (3, 96)
        """
        if (epochs is None) == (steps is None):
            raise OptionError(
                "say how long to train: give exactly one of epochs=E (passes over the kept examples) and steps=S."
            )
        if match not in (None, "full-steps") or (match and epochs is None):
            raise OptionError(
                f"match={match!r}: the only form is match='full-steps' together with epochs=E of the full data."
            )
        if (epochs or steps or 0) < 1:
            raise OptionError(f"epochs={epochs}, steps={steps}: train for at least 1.")
        if epochs is not None and match:
            return cls(steps=epochs * -(-full // batch_size))
        return cls(epochs, steps)

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

    def begin_epoch(self, batches: int, shown: int = 0) -> None:
        """Begin an epoch with this number of batches and examples, or continue it after `load_state_dict`."""
        self.batches, self.shown = batches, shown

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


def even_batches(k: int, batch_size: int) -> list[int]:
    """The sizes of the ceil(k / batch_size) batches of an epoch, as equal as possible, the larger ones first.

    A last batch of a few leftover examples would count as a full step and, worse, skew the running statistics of
    BatchNorm just before the network is evaluated.

    >>> even_batches(10, 4)
    [4, 3, 3]
    """
    number = -(-k // batch_size)
    return [k // number + (place < k % number) for place in range(number)]
