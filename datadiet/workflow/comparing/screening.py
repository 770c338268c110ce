"""Screening: successive halving of methods by short trainings, before those that are left get a certificate.

Every rung trains the methods that are left with twice the epochs of the rung before, the last with half of those of the
certificate, and keeps the better half by mean loss over the shares (Jamieson, Talwalkar: Non-stochastic Best Arm
Identification and Hyperparameter Optimization, AISTATS 2016). Its seeds and its evaluation examples are others than
those of the certificate, which therefore knows nothing of the choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np

from datadiet.data.split import stratified_split
from datadiet.errors import OptionError, counted
from datadiet.report.tables import text_table

__all__ = ["SCREENING_SEEDS", "Effort", "Rung", "Screening", "halves", "rung_plan", "survivors"]

SCREENING_SEEDS = 3
_LEAST = 2  # epochs: some scores compare an epoch with the one before


@dataclass(frozen=True)
class Effort:
    """Trainings, and the optimizer steps that they take together."""

    trainings: int = 0
    steps: int = 0

    def __add__(self, other: Effort) -> Effort:
        return Effort(self.trainings + other.trainings, self.steps + other.steps)

    def __str__(self) -> str:
        return f"{counted(self.trainings, 'training')} ({self.steps:,} steps)"


@dataclass(frozen=True)
class Rung:
    """One round of the screening.

    Attributes:
        epochs: of a training on all the data.
        losses: method -> mean loss beyond the full data, over shares, seeds and the screening's evaluation examples.
        kept: the methods that go on, in the order in which they were named.
        random: the mean loss of random choice.
    """

    epochs: int
    losses: Mapping[str, float]
    kept: tuple[str, ...]
    random: float


@dataclass(frozen=True)
class Screening:
    """How the methods that were certified were found. Nothing here is certified.

    Attributes:
        rungs: from the shortest trainings to the longest.
        seeds: of its trainings.
        examples: of the evaluation data that it used; the certificate uses the others.
        unit: of the losses.
        tried: the work that it took.
        certified: that of the comparison of the methods that were left.
        without: that of the same comparison of all methods.
    """

    rungs: Sequence[Rung]
    seeds: tuple[int, ...]
    examples: int
    unit: str
    tried: Effort
    certified: Effort
    without: Effort

    def text(self) -> str:
        """The table, for a terminal."""
        first, last = self.rungs[0], self.rungs[-1]
        rows: list[dict[str, str]] = [
            {"name": name, "kept": "yes" if name in last.kept else "no"}
            | {str(rung.epochs): f"{rung.losses[name]:.3g}" for rung in self.rungs if name in rung.losses}
            for name in first.losses
        ]
        if "random" not in first.losses:
            rows.append({"name": "random"} | {str(rung.epochs): f"{rung.random:.3g}" for rung in self.rungs})
        heads = [(str(rung.epochs), f"{rung.epochs} epochs", "right") for rung in self.rungs]
        table = text_table(rows, [("name", "method", "left"), *heads, ("kept", "compared", "left")])
        return (
            f"Screening, uncertified: mean loss beyond the full data, in {self.unit}\n\n{table}\n\n"
            f"It used {len(self.seeds)} other seeds and {self.examples:,} other evaluation examples than the tables "
            f"below. It took {self.tried}, and the comparison of what was left {self.certified}; all "
            f"{len(first.losses)} methods without screening would have taken {self.without}."
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {"label": "uncertified", **asdict(self)}


def rung_plan(methods: int, left: int, epochs: int) -> list[tuple[int, int]]:
    """(epochs, methods that go on) of each rung: each is twice as long as the one before, and the last half of all.

    Rungs that would be shorter than two epochs are one, since some scores compare an epoch with the one before.

    Args:
        methods: how many there are.
        left: how many are certified.
        epochs: of the certificate.

    Raises:
        OptionError: there is nothing to leave out, or no shorter training.

    >>> rung_plan(8, 2, 20), rung_plan(3, 2, 10), rung_plan(16, 2, 10)
    ([(5, 4), (10, 2)], [(5, 2)], [(2, 4), (5, 2)])
    """
    if methods <= left:
        raise OptionError(
            f"screen={left} (--screen) of {counted(methods, 'method')}: there is nothing to leave out; name more "
            "methods, or leave it out."
        )
    if epochs < 2 * _LEAST:
        raise OptionError(
            f"screen={left} (--screen) trains for a half of epochs={epochs} (--epochs): give at least {2 * _LEAST}."
        )
    numbers = []
    while methods > left:
        methods = max(left, ceil(methods / 2))
        numbers.append(methods)
    plan = {max(_LEAST, epochs // 2 ** (len(numbers) - rung)): number for rung, number in enumerate(numbers)}
    return list(plan.items())


def survivors(losses: Mapping[str, float], number: int) -> tuple[str, ...]:
    """The best methods of some, and all that are as good as the last of them.

    >>> survivors({"a": 1.0, "b": 3.0, "c": 2.0, "d": 2.0}, 2)
    ('a', 'c', 'd')
    """
    last = sorted(losses.values())[number - 1]
    return tuple(name for name, loss in losses.items() if loss <= last)


def halves(labels: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of the evaluation data for the screening and the certificate, ascending; always the same, stratified.

    Args:
        labels: (examples,) of the evaluation data.
        index: (examples,) their positions in the opened data.
    """
    certificate, screening = stratified_split(labels, index, 0.5, seed=0)
    return screening, certificate
