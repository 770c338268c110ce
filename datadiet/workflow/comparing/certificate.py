"""From what the networks of a comparison say of each evaluation example to rows with a certificate."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

import numpy as np

from datadiet.errors import counted
from datadiet.evaluate.noninferiority import (
    LossSpread,
    Verdict,
    loss_interval,
    loss_power,
    verdicts,
    worst_class_interval,
)
from datadiet.workflow.comparing.arms import FULL
from datadiet.workflow.comparing.compared import ArmResult, Costs
from datadiet.workflow.comparing.metrics import Metric

__all__ = ["Examined", "certified", "power_note", "rare_note"]

_log = logging.getLogger("datadiet")

_POWER = 0.8
_RARE = 40  # evaluation examples on which networks differ; see evaluate/noninferiority.py


@dataclass(frozen=True)
class Examined:
    """The networks of one arm, one for each seed, on the same evaluation examples.

    Attributes:
        correct: (seeds, examples) bool.
        losses: (seeds, examples) in nats.
        kept: examples per epoch.
        steps: optimizer steps of each.
        costs: mean seconds.
    """

    correct: np.ndarray
    losses: np.ndarray
    kept: int
    steps: int
    costs: Costs

    def beyond(self, full: Examined, metric: Metric) -> np.ndarray:
        """(seeds, examples): how much worse than with all the data, in points or nats."""
        if metric == "loss":
            return self.losses.astype(np.float64) - full.losses
        return 100 * (full.correct.astype(np.float64) - self.correct)

    def measured(self, metric: Metric, labels: np.ndarray) -> tuple[float, ...]:
        """The metric of each seed: the accuracy or the recall of the worst class (0..1), or the mean loss (nats)."""
        if metric == "worst_class":
            found = np.min([self.correct[:, labels == one].mean(1) for one in np.unique(labels)], axis=0)
        else:
            found = (self.losses.astype(np.float64) if metric == "loss" else self.correct).mean(1)
        return tuple(found.tolist())


def certified(
    full: Examined, arms: Mapping[tuple[str, str, int], Examined], labels: np.ndarray, metric: Metric, margin: float,
    alpha: float, tested: Collection[str],
) -> list[ArmResult]:  # fmt: skip
    """The rows: each arm beside the full data, with one sequence of tests for each method of a table.

    Args:
        full: with all the data.
        arms: (name, budget, kept) -> the networks, those of one name and table from the largest share down.
        labels: (examples,) of the evaluation data.
        metric: what is compared.
        margin: the loss that is acceptable.
        alpha: of the tests of one method.
        tested: the names of the methods; the others are baselines.
    """
    limits = {
        key: worst_class_interval(found.beyond(full, metric), labels, alpha)
        if metric == "worst_class"
        else loss_interval(found.beyond(full, metric), alpha)
        for key, found in arms.items()
    }
    shown: dict[tuple[str, str, int], Verdict] = {}
    for sequence in dict.fromkeys((name, budget) for name, budget, _ in arms if name in tested):
        keys = [key for key in arms if key[:2] == sequence]
        shown |= dict(zip(keys, verdicts([limits[key] for key in keys], margin), strict=True))

    def row(name: str, budget: str, found: Examined, **more: Any) -> ArmResult:
        accuracy, measured = found.measured("accuracy", labels), found.measured(metric, labels)
        return ArmResult(name, budget, found.kept, accuracy, measured, found.steps, found.costs, **more)

    rows = [row(FULL, "full", full)]
    for key, found in arms.items():
        verdict = shown.get(key)
        uses = _pays_after(found, full) if verdict is not None and verdict.within else None
        rows.append(row(*key[:2], found, loss=limits[key], verdict=verdict, pays_after=uses))
    return rows


def _pays_after(found: Examined, full: Examined) -> int | None:
    """Trainings after which the steps that each of them spares have paid for the choice; None = never, or no cost."""
    spared = full.costs.training * (1 - found.steps / full.steps)
    spent = found.costs.scoring + found.costs.selection
    return ceil(spent / spared) if spared > 0 and spent > 0 else None


def power_note(full: Examined, labels: np.ndarray, metric: Metric, margin: float, alpha: float) -> tuple[str, ...]:
    """A note if so few seeds and examples would rarely show that a subset which loses nothing is good enough.

    Two trainings on all the data with different seeds lose nothing to each other; their losses tell the spread.

    Args:
        full, labels, metric, margin, alpha: as in `certified`.
    """
    other = replace(full, correct=np.roll(full.correct, 1, 0), losses=np.roll(full.losses, 1, 0))
    losses = other.beyond(full, metric)
    counts, (seeds, examples) = np.bincount(labels), losses.shape
    if metric == "worst_class":
        examples = int(counts[counts > 0].min())
    spread = LossSpread.of(losses)

    def power(seeds: int, examples: int) -> float:
        return loss_power(margin, seeds, examples, spread, alpha=alpha)

    there = power(seeds, examples)
    if there >= _POWER and seeds > 2:
        return ()
    if there >= _POWER:
        return _told("Two seeds hardly tell how much trainings differ: five or more are better (seeds=, --seeds 5).")
    more = next((s for s in range(seeds + 1, 51) if power(s, examples) >= _POWER), None)
    larger = next((times for times in (2, 3, 5, 10, 20) if power(seeds, times * examples) >= _POWER), None)
    ways = [f"{more} seeds (seeds=, --seeds {more})"] if more else []
    ways += [f"{larger} times as many evaluation examples (eval=, --eval DATA)"] if larger else []
    advice = f"Use {' or '.join(ways)}" if ways else "50 seeds would not do either, so choose a larger margin"
    return _told(
        "Too few seeds or evaluation examples: a subset that loses nothing would be certified in "
        f"{100 * there:.0f} % of such comparisons ({seeds} seeds, {examples:,} evaluation examples, a margin of "
        f"{margin:g}). {advice}."
    )


def rare_note(
    full: Examined, arms: Mapping[tuple[str, str, int], Examined], rows: Collection[ArmResult], labels: np.ndarray,
    metric: Metric,
) -> tuple[str, ...]:  # fmt: skip
    """A note if a certificate rests on so few evaluation examples that its limits may be too narrow.

    Args:
        full, arms, labels, metric: as in `certified`.
        rows: what it returned.
    """
    if metric == "loss":
        return ()
    counts = {}
    for row in rows:
        if row.verdict is not None and row.verdict.within:
            differ = (arms[row.name, row.budget, row.kept].correct != full.correct).any(0)
            classes = [labels == one for one in np.unique(labels)] if metric == "worst_class" else [slice(None)]
            counts[row.name, row.kept] = min(int(differ[part].sum()) for part in classes)
    few = {key: count for key, count in counts.items() if count <= _RARE}
    if not few:
        return ()
    (name, kept), count = min(few.items(), key=lambda one: one[1])
    where = " of a class" if metric == "worst_class" else ""
    return _told(
        f"{name} with {kept:,} examples is within the margin, but its networks and those of all data differ on only "
        f"{counted(count, 'evaluation example')}{where}: with {_RARE} or fewer, a certificate is wrong more often than "
        "it says. Give more of them (eval=, --eval DATA)."
    )


def _told(note: str) -> tuple[str, ...]:
    _log.warning(note)
    return (note,)
