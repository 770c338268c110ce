"""Is a subset good enough? A certificate of non-inferiority, from paired seeds and evaluation examples.

Networks trained on all the data and on a subset are compared example by example: losses[s, i] is how much worse the
subset does with seed s on evaluation example i, such as (full correct) - (subset correct). Seeds and examples are both
samples, of trainings and of the world, so the variance of the mean loss is that of a crossed design with S seeds and I
examples (a two-way random-effects analysis of variance without replicates; Searle, Casella, McCulloch: Variance
Components, 1992, chapter 4):

    V = (MS_seeds + MS_examples - MS_interaction) / (S I)

but never less than MS_seeds / (S I), with Satterthwaite's degrees of freedom (Biometrics Bulletin 2, 1946), but never
fewer than S - 1. The widest of three limits counts: this one, that of the S means of the seeds alone, MS_seeds / (S I)
with S - 1 degrees of freedom, and that of the I means of the examples alone, MS_examples / (S I) with I - 1.

*Deviation*: the first limit alone is too narrow for two or three seeds, since a small MS_seeds makes both V small and
the degrees of freedom many. Of losses that are right or wrong, the means of two seeds are often equal, and then so is
the second. In `benchmarks/certificate_coverage.py` (20 to 2,000 examples; normal losses, with variances between seeds
and between examples in proportions from 0 to 1,000) a one-sided 5 % limit failed in up to 8.5 % (two seeds) and 6.2 %
(three); the widest of the three in at most 5.6 % for two to ten seeds. At 1.67 % it is at most 2.0 % instead of 5.5 %.

Of right and wrong answers it failed in at most 6.6 % (at 1.67 %: 2.7 %) where more than 40 evaluation examples differ
between the networks, and in up to 10.6 % (5.6 %) where 5 to 40 do: Student's t is too narrow for what is rare.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np

from datadiet.arrays import class_numbers, numbers
from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked, in_a_line
from datadiet.randomness import generator

__all__ = ["LossInterval", "LossSpread", "Verdict", "loss_interval", "loss_power", "verdicts", "worst_class_interval"]


_DRAWS = 4000


@dataclass(frozen=True)
class LossInterval:
    """The mean loss of a subset, and one-sided limits for it.

    Attributes:
        mean: over seeds and examples, in the unit of the losses; positive = the subset is worse.
        lower: the loss is at least this, with confidence 1 - alpha.
        upper: the loss is at most this, with confidence 1 - alpha.
        error: the standard error that the limits rest on.
        df: its degrees of freedom.
    """

    mean: float
    lower: float
    upper: float
    error: float
    df: float


@dataclass(frozen=True)
class Verdict:
    """What is shown of one subset; neither means that nothing is.

    Attributes:
        within: its loss is below the margin.
        worse: its loss is above zero.
    """

    within: bool
    worse: bool

    def __str__(self) -> str:
        if self.within:
            return "within the margin, and worse" if self.worse else "within the margin"
        return "worse" if self.worse else "not shown"


@checked
def loss_interval(losses: np.ndarray, alpha: float = 0.05) -> LossInterval:
    """Limits for the mean loss over all seeds and all examples like these.

    Args:
        losses: (S, I) of any real dtype, S >= 2 paired seeds and I >= 2 evaluation examples: the loss of the subset
            less that of the full data (in nats, or 0 and 1 for right and wrong).
        alpha: of each of the two one-sided limits, in (0, 0.5).

    Returns:
        The mean and its limits, in the unit of the losses.

    Raises:
        OptionError: another shape, values that are not finite, or another alpha.

    >>> found = loss_interval([[1.0, 0, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]], alpha=0.05)
    >>> round(found.mean, 3), round(found.upper, 3)
    (0.167, 0.58)
    """
    values = _checked(losses, alpha)
    seeds, examples = values.shape
    mean, by_seed, by_example = values.mean(), values.mean(1), values.mean(0)
    of_seeds = examples * float(np.var(by_seed, ddof=1))
    of_examples = seeds * float(np.var(by_example, ddof=1))
    rest = values - by_seed[:, None] - by_example + mean
    interaction = float((rest * rest).sum()) / ((seeds - 1) * (examples - 1))
    errors, dfs = _three_ways((of_seeds, of_examples, interaction), seeds, examples)
    widths = [float(error * _quantile(alpha, df)) for error, df in zip(errors, dfs, strict=True)]
    widest = int(np.argmax(widths))
    low, high = float(mean) - widths[widest], float(mean) + widths[widest]
    return LossInterval(float(mean), low, high, float(errors[widest]), float(dfs[widest]))


@checked
def worst_class_interval(losses: np.ndarray, labels: np.ndarray, alpha: float = 0.05) -> LossInterval:
    """Limits for the mean loss of the class that loses most.

    Every class must be within a margin for the worst one to be (the intersection-union test of Berger, Technometrics
    24, 1982), so the upper limit is the largest of the classes, each at alpha. The lower limit is the largest too, each
    at alpha divided by the number of classes, since one class that is worse is enough.

    Args:
        losses: (S, I), as in `loss_interval`.
        labels: (I,) the class of each example; each class has at least two.
        alpha: of each of the two one-sided limits.

    Returns:
        The mean, error and degrees of freedom of the class with the largest mean, and these limits.

    Raises:
        OptionError: as in `loss_interval`, or a class with a single example.
    """
    values = _checked(losses, alpha)
    of = class_numbers("labels", labels, values.shape[1])
    classes, counts = np.unique(of, return_counts=True)
    if counts.min() < 2:
        raise OptionError(f"class {classes[counts.argmin()]} has one evaluation example: give at least two.")
    parts = [values[:, of == one] for one in classes]
    found = [loss_interval(part, alpha) for part in parts]
    lowest = max(loss_interval(part, alpha / len(parts)).lower for part in parts)
    worst = max(found, key=lambda one: one.mean)
    return LossInterval(worst.mean, lowest, max(one.upper for one in found), worst.error, worst.df)


@checked
def verdicts(intervals: Sequence[LossInterval], margin: float) -> list[Verdict]:
    """What is shown of subsets of one method that become smaller, without paying for several tests.

    "Within" is tested from the largest subset down, and stops at the first that is not shown; "worse" from the smallest
    up. In a fixed sequence each test may use the whole alpha (Maurer, Hothorn, Lehmacher 1995). For M methods give each
    limits at alpha / M. The chance of any wrong "within" is then at most alpha, and so is that of any wrong "worse";
    together they may be twice as large.

    Args:
        intervals: the limits, from the largest subset to the smallest.
        margin: the loss that would be acceptable, above 0, in the unit of the limits.

    Returns:
        One verdict for each.

    Raises:
        OptionError: a margin that is not positive.

    >>> limits = [LossInterval(0, -1, upper, 1, 9) for upper in (1.5, 2.5, 1.9)]
    >>> [str(one) for one in verdicts(limits, margin=2)]
    ['within the margin', 'not shown', 'not shown']
    """
    _check_margin(margin)
    if not isinstance(intervals, Sequence) or not all(isinstance(one, LossInterval) for one in intervals):
        raise OptionError(f"intervals={in_a_line(intervals)}: give a list of what loss_interval returns.")
    within = _until_first_failure([one.upper < margin for one in intervals])
    worse = _until_first_failure([one.lower > 0 for one in reversed(intervals)])[::-1]
    return [Verdict(*both) for both in zip(within, worse, strict=True)]


@dataclass(frozen=True)
class LossSpread:
    """How much losses vary, to plan a comparison.

    Attributes:
        seeds: standard deviation between seeds of the mean loss over infinitely many examples.
        examples: standard deviation between examples of the mean loss over infinitely many seeds.
        both: standard deviation of what is left.
    """

    seeds: float
    examples: float
    both: float

    @classmethod
    def of(cls, losses: np.ndarray) -> LossSpread:
        """That of (S, I) losses, such as those between two trainings of the same kind; at least 0 each."""
        values = _checked(losses, 0.05)
        seeds, examples = values.shape
        by_seed, by_example = values.mean(1), values.mean(0)
        rest = values - by_seed[:, None] - by_example + values.mean()
        both = float((rest * rest).sum()) / ((seeds - 1) * (examples - 1))
        of_seeds = max(0.0, float(np.var(by_seed, ddof=1)) - both / examples)
        of_examples = max(0.0, float(np.var(by_example, ddof=1)) - both / seeds)
        return cls(sqrt(of_seeds), sqrt(of_examples), sqrt(both))


@checked
def loss_power(
    margin: float, seeds: int, examples: int, spread: LossSpread, *, loss: float = 0.0, alpha: float = 0.05
) -> float:
    """How often a subset with this loss would be shown to be within the margin.

    4,000 comparisons are simulated, for normal losses, so the standard error is at most .008.

    Args:
        margin: in the unit of the losses, above 0.
        seeds, examples: of the comparison, at least 2 each.
        spread: how much the losses vary.
        loss: the true mean loss.
        alpha: of the test.

    Returns:
        The share, in [0, 1].

    Raises:
        OptionError: fewer seeds or examples.
    """
    for name, number in (("seeds", seeds), ("examples", examples)):
        check_whole(name, number, 2)
    _check_margin(margin)
    _check_alpha(alpha)
    if not isinstance(spread, LossSpread) or not np.isfinite(loss):
        raise OptionError(f"spread={in_a_line(spread)}, loss={loss}: give a LossSpread, and a finite loss.")
    rng, both = generator(0, "power"), spread.both**2
    expected = (examples * spread.seeds**2 + both, seeds * spread.examples**2 + both, both)
    free = (seeds - 1, examples - 1, (seeds - 1) * (examples - 1))
    squares = [mean * rng.chisquare(df, _DRAWS) / df for mean, df in zip(expected, free, strict=True)]
    error = sqrt((expected[0] + expected[1] - expected[2]) / (seeds * examples))
    errors, dfs = _three_ways(squares, seeds, examples)
    upper = loss + error * rng.standard_normal(_DRAWS) + np.max(_quantile(alpha, dfs) * errors, axis=0)
    return float((upper < margin).mean())


def _quantile(alpha: float, df: Any) -> Any:
    """That of Student's t above which lies alpha."""
    from scipy import stats  # half a second

    return stats.t.isf(alpha, df)


def _three_ways(squares: Sequence[Any], seeds: int, examples: int) -> tuple[np.ndarray, np.ndarray]:
    """From mean squares (of seeds, examples and both): the standard errors of the three limits, and their df."""
    of_seeds, of_examples, interaction = squares
    total = np.maximum(of_seeds + of_examples - interaction, of_seeds)
    s, i = seeds - 1, examples - 1
    parts = of_seeds**2 / s + of_examples**2 / i + interaction**2 / (s * i)
    df = np.maximum(total**2 / np.maximum(parts, np.finfo(float).tiny), s)
    errors = np.sqrt(np.stack([total, of_seeds, of_examples]) / (seeds * examples))
    return errors, np.stack([df, np.full_like(df, s), np.full_like(df, i)])


def _until_first_failure(shown: Sequence[bool]) -> list[bool]:
    return [bool(one) for one in np.logical_and.accumulate(np.asarray(shown, dtype=bool))]


def _checked(losses: np.ndarray, alpha: float) -> np.ndarray:
    """The losses as float64."""
    values = numbers("losses", losses, "seeds examples")
    if min(values.shape) < 2:
        raise OptionError(
            f"losses has shape {values.shape}: give (seeds, examples), at least two of each, since the spread of one "
            "is not known."
        )
    _check_alpha(alpha)
    return values.astype(np.float64)


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 0.5:
        raise OptionError(f"alpha={alpha}: give the chance of a wrong certificate, between 0 and 0.5.")


def _check_margin(margin: float) -> None:
    if not 0 < margin < float("inf"):
        raise OptionError(f"margin={margin}: give the loss that would be acceptable, above 0.")
