"""ZCore: how much of the space an example covers that no near neighbour covers.

Griffin, Marks, Corso: Zero-Shot Coreset Selection via Iterative Subspace Sampling, WACV 2026 (arXiv 2411.15349). Many
times over: choose 2 dimensions; draw a point, each coordinate from the triangular distribution between the minimum and
the maximum of its dimension with the median as the mode; the example nearest to the point, by L1 distance in these
dimensions, gains 1; its neighbours there at distances d_1 <= … <= d_1000 lose d_j^-4 / sum_i d_i^-4, or the first loses
1 if d_1 = 0. Scores begin with a uniform draw from (0, 1) and end between 0 and 1.

Deviations: the authors' code shares one random state among its workers, so that they repeat each other's draws (its
index arithmetic was re-run); here all draws are independent. An example is never its own neighbour, even if others
coincide with it, and ties go by key. Penalties are computed as ratios to the nearest, since d^-4 overflows for close
neighbours, and rounded to 2^-40, so that the total does not depend on the order of the draws.

Cost: a draw needs only the examples near the point along the first of its dimensions, about sqrt(2 * neighbours * n) of
them, found by sorting that dimension; d sorts in all. Memory for whole dimensions of up to 2^26 numbers; larger
features are read once for every pair of blocks of dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import sqrt
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost
from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys, generator
from datadiet.scorers.spec import ScorerSpec, vectors
from datadiet.scorers.subspace import DimensionBlocks, Subspace

__all__ = ["SPEC", "zcore"]

_MOST = 100_000_000  # draws, which take 10 GB
_UNIT = 1 << 40  # a gain of 1 as a whole number; whole numbers add up to the same sum in any order


@checked
def zcore(
    features: Any,
    *,
    draws: int | None = None,
    dims: int = 2,
    neighbours: int = 1000,
    exponent: float = 4.0,
    seed: int = 0,
    keys: Keys | None = None,
) -> np.ndarray:
    """Coverage minus redundancy.

    Args:
        features: (n, d) floats, in memory or memory-mapped; not scaled. Paper: two networks' features, concatenated.
        draws: how many points; None = 10 n, at most a million. Authors' code: a million; their later plugin: as here.
        dims: dimensions of a subspace, 1..d. Paper: 2.
        neighbours: how many are penalised (all others if there are fewer). Authors' code: 1000.
        exponent: of the distance, above 0. Authors' code: 4.
        seed: of the draws.
        keys: break ties and make the uniform draw of every example instead of the seed; give the examples' own keys if
            rows may come in another order.

    Returns:
        (n,) float32 from 0 to 1, high = keep: covers much that others do not. A single example scores 0.

    Raises:
        OptionError: a parameter out of its range, or the wrong number of keys.
        BadVector: a vector that is not finite.

    References:
        Griffin et al. 2026.

    >>> sorted(zcore(np.array([[0.0], [1.0]]), draws=1, dims=1).tolist())
    [0.0, 1.0]
    """
    matrix = _opened(features, draws=draws, dims=dims, neighbours=neighbours, exponent=exponent)
    n = len(matrix)
    keys = Keys(seed, "zcore", n) if keys is None else keys
    if keys.n != n:
        raise OptionError(f"keys for {keys.n} rows and {n} examples: give as many keys as examples.")
    number = min(10 * n, 1_000_000) if draws is None else int(draws)
    columns = DimensionBlocks(matrix, dims)
    axes, points = _points(columns, number, dims, seed)
    totals = np.zeros(n, dtype=np.int64)
    for subspace, point in _visits(columns, axes, points, keys.draw()):
        _add(totals, subspace, point, min(neighbours, n - 1), exponent)
    score = totals / _UNIT + keys.uniform()
    score -= score.min()
    return (score / (score.max() or 1.0)).astype(np.float32)


def _opened(
    features: Any,
    *,
    draws: int | None = None,
    dims: int = 2,
    neighbours: int = 1000,
    exponent: float = 4.0,
    **unused: Any,
) -> Matrix:
    """Open the features and check the options."""
    for name, value in (("draws", 1 if draws is None else draws), ("dims", dims), ("neighbours", neighbours)):
        check_whole(name, value)
    if draws is not None and draws > _MOST:
        raise OptionError(f"draws={draws}: each takes memory, so give at most {_MOST:,}; the authors take a million.")
    if not (np.isfinite(exponent) and exponent > 0):
        raise OptionError(f"exponent={exponent}: give a number above 0, such as 4.")
    matrix = Matrix.open(features)
    if dims > matrix.dim:
        raise OptionError(f"dims={dims} of features of {matrix.dim} dimensions: give at most {matrix.dim}.")
    return matrix


def _points(columns: DimensionBlocks, draws: int, dims: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The dimensions of every draw, ascending, and the coordinates of its point: (draws, dims) int64 and float32."""
    rng = generator(seed, "zcore", "draws")
    low, middle, high = columns.ranges()
    axes = np.empty((draws, 0), dtype=np.int64)
    for taken in range(dims):
        one = rng.integers(len(low) - taken, size=draws)
        for earlier in axes.T:  # ascending: step past each dimension taken, so that the rest are equally likely
            one += one >= earlier
        axes = np.sort(np.column_stack([axes, one]), axis=1)
    chance = rng.random((draws, dims))
    a, c, b = low[axes], middle[axes], high[axes]
    left = chance * (b - a) < c - a
    out = np.where(left, a + np.sqrt(chance * (b - a) * (c - a)), b - np.sqrt((1 - chance) * (b - a) * (b - c)))
    return axes, out.astype(np.float32)


def _visits(
    columns: DimensionBlocks, axes: np.ndarray, points: np.ndarray, rank: np.ndarray
) -> Iterator[tuple[Subspace, np.ndarray]]:
    """Every draw once, grouped by blocks of columns and then by first dimension."""
    block = axes // columns.width
    order = np.lexsort([*axes.T[::-1], *block.T[::-1]])
    first, line = -1, None
    for draw in order:
        columns.hold(block[draw])
        if line is None or axes[draw, 0] != first:
            first = int(axes[draw, 0])
            line = columns.line(first)
        yield Subspace(line, [columns.column(axis) for axis in axes[draw, 1:]], rank), points[draw]


def _add(totals: np.ndarray, subspace: Subspace, point: np.ndarray, neighbours: int, exponent: float) -> None:
    """Add what one draw gives and takes."""
    row = subspace.nearest(point)
    totals[row] += _UNIT
    if not neighbours:
        return
    rows, far = subspace.neighbours(row, neighbours)
    nearest = far.min()
    if nearest == 0:
        same = rows[far == 0]
        totals[same[subspace.rank[same].argmin()]] -= _UNIT
        return
    penalty = (nearest / far) ** exponent
    total = np.sort(penalty).sum()  # sorted, so that the order of the rows does not affect the last bit
    totals[rows] -= np.rint(penalty * (_UNIT / total)).astype(np.int64)


def _cost(
    n: int,
    d: int,
    k: int | None = None,
    /,
    *,
    draws: int | None = None,
    dims: int = 2,
    neighbours: int = 1000,
    **parameters: Any,
) -> list[cost.Stage]:
    """A sort of each dimension, and a stretch of it around each draw."""
    held = 1 << 26  # numbers of whole dimensions
    number = min(10 * n, 1_000_000) if draws is None else draws
    stretch = min(n, sqrt(2 * min(neighbours, n) * n))
    blocks = max(1.0, n * d * dims / held)
    passes = 1 + blocks**dims / 2 if blocks > 1 else 1
    moved = 300 * n * d + number * stretch * (20 + 40 * dims)
    memory = min(8 * n * d, 5 * held) + 60 * n + 100 * number
    return [cost.opening(n, d, 1), cost.Stage("draws", passes, moved=moved, calls=180 * number, memory=memory)]


SPEC = ScorerSpec(zcore, (vectors("features"),), each=True, check=_opened, cost=_cost, reference="Griffin et al. 2026")
