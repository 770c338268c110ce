"""A schedule with parameters, and a made-up training that it directs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from datadiet.randomness import generator, mix64, uniform
from datadiet.sampling.spec import ScheduleSpec
from datadiet.testing.laws import Case, expect, shown

__all__ = ["EPOCHS", "Epoch", "ScheduleCase", "learns", "numbers_in", "same_epochs"]

EPOCHS = 8


@dataclass(frozen=True, eq=False)
class Epoch:
    """What a schedule presented in an epoch.

    Attributes:
        examples: (k,) in order.
        weights: (k,) float32, or None.
    """

    examples: np.ndarray
    weights: np.ndarray | None


class ScheduleCase(Case):
    """A schedule with parameters."""

    spec: ScheduleSpec

    @property
    def n(self) -> int:
        """How many examples there are."""
        return 60

    @property
    def reads(self) -> str | None:
        """What the schedule learns from."""
        return getattr(self.make(), "reads", None)

    @property
    def labels(self) -> np.ndarray:
        """(n,) of the examples, class after class."""
        return np.arange(self.n) * 3 // self.n

    def make(self, seed: int = 0, n: int | None = None, epochs: int = EPOCHS) -> Any:
        """A new schedule."""
        labels = self.labels if n in (None, self.n) else np.arange(n or self.n) % 3
        return self.spec.make(self.params, n=self.n if n is None else n, seed=seed, epochs=epochs, labels=labels)

    def values(self, examples: np.ndarray, epoch: int) -> np.ndarray:
        """What the training says of examples in an epoch, (m,) float32: functions of the two alone."""
        draws = uniform(mix64(epoch, "datadiet.testing", examples))
        reads = self.reads
        if reads == "correct":
            return (draws < 0.6).astype(np.float32)
        hard = 1 + examples % 7
        return (hard * draws / 8 if reads == "error_norm" else -hard * np.log(draws)).astype(np.float32)

    def teach(self, schedule: Any, examples: np.ndarray, epoch: int) -> None:
        """Update a schedule that learns with what the training says."""
        if self.reads is not None:
            self.give(schedule, examples, self.values(examples, epoch))

    def give(self, schedule: Any, index: Any, values: Any) -> None:
        """Update with tensors, as a training does."""
        import torch

        schedule.update(torch.as_tensor(index), torch.as_tensor(values))

    def begin(self, schedule: Any, epoch: int) -> Epoch:
        """Begin an epoch, and read all of it."""
        import torch

        length = schedule.begin(epoch)
        whole = isinstance(length, int) and length >= 1
        expect(whole, f"begin({epoch})", f"{shown(length)}, which is not a whole number of at least 1")
        examples = schedule.order(epoch)(np.arange(length, dtype=np.int64))
        expect(isinstance(examples, np.ndarray), f"the order of epoch {epoch}", shown(examples))
        fits = examples.dtype == np.int64 and examples.shape == (length,)
        expect(fits, f"the order of epoch {epoch}, which has {length} positions", shown(examples))
        weights = schedule.weights(torch.from_numpy(examples))
        return Epoch(examples, None if weights is None else weights.numpy())

    def train(self, schedule: Any, epochs: Iterable[int] = range(EPOCHS)) -> list[Epoch]:
        """What it presents in some epochs, each of which it learns from in batches."""
        found = []
        for epoch in epochs:
            found.append(self.begin(schedule, epoch))
            for batch in np.array_split(found[-1].examples, 4):
                self.teach(schedule, batch, epoch)
        return found

    def shuffled(self, values: np.ndarray, seed: int = 0) -> np.ndarray:
        """The entries of an array in another order."""
        return values[generator(seed, "datadiet.testing", "shuffled").permutation(len(values))]


def learns(schedule: ScheduleCase) -> bool:
    """Whether a schedule reads anything."""
    return schedule.reads is not None


def same_epochs(found: list[Epoch], wanted: list[Epoch], given: str) -> None:
    """Raise Broken unless the epochs are equal."""
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        said = f"{given}; the epoch at place {number}"
        same = np.array_equal(one.examples, other.examples)
        expect(same, said, f"{shown(one.examples)}, not {shown(other.examples)}")
        none = one.weights is None and other.weights is None
        expect(none or np.array_equal(one.weights, other.weights), said,  # type: ignore[arg-type]
               f"the weights {shown(one.weights)}, not {shown(other.weights)}")  # fmt: skip


def numbers_in(state: Any) -> int:
    """How many numbers a state holds; a string counts as one.

    Raises:
        TypeError: it holds something other than JSON values, arrays of numbers and tensors.
    """
    if isinstance(state, Mapping):
        return sum(map(numbers_in, state.values()))
    if isinstance(state, (list, tuple)):
        return sum(map(numbers_in, state))
    if state is None or isinstance(state, (bool, int, float, str)):
        return 1
    if isinstance(state, np.ndarray) and state.dtype != object:
        return int(state.size)
    if hasattr(state, "numel"):
        return int(state.numel())
    raise TypeError(f"a {type(state).__name__}")
