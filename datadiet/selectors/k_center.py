"""k-center greedy: take the example that is farthest from all taken so far.

Gonzalez, 1985 (Theoretical Computer Science 38): farthest-first traversal, which leaves the largest distance from an
example to the nearest kept one at most twice the smallest possible. For deep features: Sener and Savarese, ICLR 2018
(arXiv 1708.00489). d_i <- min(d_i, d(x_i, x_taken)); the next is argmax d_i. Only the vector d is kept, not the
distances.

Deviations: none. Squared distances are rounded to 2^-40 of a power of two above the largest squared length, so that
examples that are equally far away are tied, whatever the order and the blocks in which they are read; ties go by key.

Cost: n k d multiplications. Vectors of up to 512 MiB in float64 are held in memory; larger ones are read again, once
for up to 64 examples taken. In addition, 128 MiB and a few numbers per example.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost
from datadiet.geometry.matrix import Metric, is_cosine
from datadiet.progress import steps
from datadiet.randomness import Keys
from datadiet.selectors.columns import Columns
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.greedy import largest
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.similarities import witness_cosines
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "k_center"]

_STEPS = 2.0**40


@explained
def k_center(
    embeddings: Any,
    k: int,
    *,
    metric: Metric = "euclidean",
    start: int | None = None,
    already: Sequence[int] | np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """A subset that leaves no example far from a kept one.

    Args:
        embeddings: (n, d) finite floats, in memory or memory-mapped, or a `Matrix`.
        k: how many to keep, from 1 to n minus the number kept already.
        metric: "euclidean", or "cosine", where zero vectors are refused.
        start: the row to take first; None = a random one, or, with `already`, the one farthest from those.
        already: rows that are kept in any case; they count as taken and are not returned.
        rng, keys: draw the first row and break ties.

    Returns:
        (k,) int64 positions, in the order in which they were taken. Nested: a smaller k gives a prefix; `.explain` also
        gives `witness`: the nearest kept example (by `metric`), `similarity`: the cosine with it.

    Raises:
        OptionError: k outside 1..n, an unknown metric, or a `start` or `already` outside the data.
        BadVector: a vector that is not finite, or all zeros with metric="cosine".

    >>> k_center(np.array([[0.0], [1.0], [5.0], [9.0]]), 3, start=0).tolist()
    [0, 3, 2]
    """
    matrix = Matrix.open(embeddings, unit=is_cosine(metric))
    n = len(matrix)
    check_k(k, n)
    draws = choose_keys(n, rng, keys).draw()
    given = _rows(already, k, n)
    given = given[np.argsort(draws[given])]
    if start is not None and (not 0 <= start < n or start in given):
        raise OptionError(f"start={start}: give one of the {n} rows that is not kept already.")
    first = given if start is None else np.append(given, start)
    columns = Columns(matrix)
    away, witness = np.full(n, np.inf), np.full(n, -1, dtype=np.int64)
    soon = np.isin(np.arange(n), first).astype(np.float64)
    taken = np.empty(len(given) + k, dtype=np.int64)
    for place in steps("k-center", range(len(taken))):
        known = place < len(first)
        row = int(first[place]) if known else largest(away, draws)
        distance = _squared(columns, row, soon if known else away)
        closer = np.flatnonzero(distance < away)
        away[closer], witness[closer] = distance[closer], row
        away[row] = -np.inf  # below all others, even those at distance 0 from it
        taken[place] = row
    witness[taken] = -1
    return Explained(taken[len(given) :], witness=witness, similarity=witness_cosines(matrix, witness))


def _squared(columns: Columns, row: int, likely: np.ndarray) -> np.ndarray:
    """The squared distances to a row in steps of 2^-40 of the scale: (n,) whole numbers in float64."""
    distance = columns.of(row, likely)
    distance *= -2
    distance += columns.square
    distance += columns.square[row]
    distance *= _STEPS / columns.scale
    return np.rint(distance, out=distance)


def _rows(already: Sequence[int] | np.ndarray | None, k: int, n: int) -> np.ndarray:
    rows = np.zeros(0, dtype=np.int64) if already is None else np.asarray(in_numpy(already, "already"))
    if rows.ndim != 1 or (len(rows) and (rows.dtype.kind not in "iu" or rows.min() < 0 or rows.max() >= n)):
        raise OptionError(f"already is not a list of rows: give whole numbers from 0 to {n - 1}.")
    rows = np.unique(rows).astype(np.int64)
    if k > n - len(rows):
        raise OptionError(
            f"k={k} of {n} examples, {len(rows)} of which are kept already: give at most {n - len(rows)}."
        )
    return rows


def _cost(n: int, d: int, k: int | None, /, **parameters: Any) -> list[cost.Stage]:
    """k columns of distances."""
    return [cost.opening(n, d), cost.columns(n, d, k or n, "farthest first"), cost.witnesses(n, d)]


SPEC = SelectorSpec(k_center, nested=True, cost=_cost, reference="Sener and Savarese 2018")
