"""What the comparison shows, in words, and which of its differences are more than noise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datadiet.workflow.comparing.comparison import Comparison, Row

__all__ = ["NOISE", "answer", "budgets", "differs", "leader"]

_CLOSE = 0.01
NOISE = "A difference counts if it exceeds two standard errors, which cover both the seeds and the held-out images."


def differs(a: Row, b: Row) -> bool:
    """Whether the difference of two accuracies is larger than two standard errors.

    The variance of the difference is that over the seeds, (s_a² + s_b²) / seeds, plus that over the held-out examples,
    var(c_a - c_b) / m, where c is the share of the seeds that get an example right. The second term is needed: seeds
    that agree say nothing about other images.
    """
    seeds = (a.spread**2 + b.spread**2) / len(a.accuracy)
    examples = float(np.var(a.correct - b.correct, ddof=1)) / len(a.correct)
    return abs(a.mean - b.mean) > 2 * (seeds + examples) ** 0.5


def budgets(rows: Sequence[Row]) -> dict[int, list[Row]]:
    """Kept share -> the methods at it, ascending, without full data."""
    shares = sorted({row.keep for row in rows} - {100})
    return {keep: [row for row in rows if row.keep == keep] for keep in shares}


def leader(rows: Sequence[Row]) -> Row | None:
    """The most accurate of some methods if it differs from every other, else None."""
    best = _best(rows)
    return best if all(differs(best, other) for other in rows if other is not best) else None


def answer(found: Comparison) -> str:
    """The comparison in one sentence.

    It names the smallest share at which a choice of images comes within one point of full data, or else the most
    accurate one, and puts random choice at the same share and steps beside it; and, by the same rule, how far training
    on all images gets that stops earlier.
    """
    full = found.equal[0]
    chosen = _enough([_best(rows) for rows in budgets(found.equal).values()], full)
    stopped = _enough([row for row in found.reduced if row.method == "full data, shortened"], full)
    random = next(row for row in found.equal if row.method == "random" and row.keep == chosen.keep)
    how = "at random" if chosen is random else f"by {chosen.method}"
    return (
        f"{chosen.keep} % of the images, chosen {how}, {_distance(chosen, full)} in as many training steps "
        f"({_percent(chosen)} accuracy against {_percent(full)}); {_beside_random(chosen, random)}; and stopping after "
        f"{100 * stopped.steps / full.steps:.0f} % of the steps on all images gives {_percent(stopped)}."
    ).replace(" %", "\N{NO-BREAK SPACE}%")


def _best(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: row.mean)


def _enough(rows: Sequence[Row], full: Row) -> Row:
    """The first row within one point of full data, or else the best."""
    return next((row for row in rows if full.mean - row.mean <= _CLOSE), _best(rows))


def _distance(row: Row, full: Row) -> str:
    """How far a row is from full data, as the rounded percentages have it."""
    points = round(100 * full.mean, 1) - round(100 * row.mean, 1)
    return f"come within {points:.1f} points of full data" if points > 0.05 else "do as well as full data"


def _beside_random(chosen: Row, random: Row) -> str:
    if chosen is random:
        return f"no scored choice of {chosen.keep} % does better"
    verdict = "a difference beyond noise" if differs(chosen, random) else "a difference within noise"
    return f"a random {random.keep} % gets {_percent(random)}, {verdict}"


def _percent(row: Row) -> str:
    return f"{100 * row.mean:.1f} %"
