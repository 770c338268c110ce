"""What scorers of vectors cost, for `datadiet plan`: the steps of each for n vectors of d numbers.

The other scorers read a few numbers per example and take seconds.
"""

from __future__ import annotations

from math import isqrt, sqrt
from typing import Any

from datadiet.geometry import cost
from datadiet.geometry.cost import CostOf, Step

__all__ = ["COSTS"]

_HELD = 1 << 26  # numbers of columns that `moderate` and `zcore` hold


def _prototypes(n: int, d: int, keep: int | None = None, /, *, clusters: int | None = None, **rest: Any) -> list[Step]:
    """k-means."""
    return [cost.opening(n, d, 1), cost.kmeans(n, d, min(isqrt(n), 1000) if clusters is None else clusters)]


def _supervised_prototypes(n: int, d: int, keep: int | None = None, /, **rest: Any) -> list[Step]:
    """Means of classes, then distances."""
    return [cost.opening(n, d, 1), Step("means, distances", 2, moved=40 * n * d, memory=60 * 4096 * d + 20 * n)]


def _moderate(n: int, d: int, keep: int | None = None, /, **rest: Any) -> list[Step]:
    """Medians of classes, then distances."""
    held = 4 * min(n * d, _HELD)
    return [
        cost.opening(n, d, 1),
        Step("medians, distances", 2, moved=120 * n * d, memory=held + 40 * 4096 * d + 20 * n),
    ]


def _density(n: int, d: int, keep: int | None = None, /, *, k: int = 10, **rest: Any) -> list[Step]:
    """The nearest neighbours."""
    return [cost.opening(n, d, 1), cost.nearest(n, d, k)]


def _zcore(
    n: int, d: int, keep: int | None = None, /, *, draws: int | None = None, dims: int = 2, neighbours: int = 1000,
    **rest: Any,
) -> list[Step]:  # fmt: skip
    """A sort of each dimension, and the stretch of it around each draw."""
    number = min(10 * n, 1_000_000) if draws is None else draws
    stretch = min(n, sqrt(2 * min(neighbours, n) * n))
    blocks = max(1.0, n * d * dims / _HELD)
    passes = 1 + blocks**dims / 2 if blocks > 1 else 1
    draw = Step("draws", passes, moved=300 * n * d + number * stretch * (20 + 40 * dims), calls=180 * number,
                memory=min(8 * n * d, 5 * _HELD) + 60 * n + 100 * number)  # fmt: skip
    return [cost.opening(n, d, 1), draw]


COSTS: dict[str, CostOf] = {
    "prototypes": _prototypes,
    "supervised_prototypes": _supervised_prototypes,
    "moderate": _moderate,
    "density": _density,
    "zcore": _zcore,
}
