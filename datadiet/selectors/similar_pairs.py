"""Pairs of similar vectors: found in float32, decided in float64.

The similarity of two vectors is their cosine, computed in float64 and rounded to float32, so that equal vectors have
similarity exactly 1; below 1e-9 it counts as 0. Matrix products of blocks, in float32, show which pairs can matter: a
product is off by at most (d + 16) 2^-24, and every pair that close to a threshold, or to the best so far, is computed
again. No result depends on the size of the blocks or on where in the data a vector stands. `PlacedVectors` does the
same on an accelerator.

Cost: m (m + block) d operations for m vectors, 2 m k d against k others. Memory: a few block^2 and block d numbers,
and the vectors themselves only if they fit in `RESIDENT`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from datadiet.geometry import Matrix
from datadiet.geometry.workers import numpy_like_torch
from datadiet.progress import steps

__all__ = [
    "BLOCK",
    "CHEAPER_WHOLE",
    "EXACT",
    "ZERO",
    "OrderedVectors",
    "Pairs",
    "Vectors",
    "best_of_each",
    "nearest_earlier",
    "nearest_in",
    "pair_cosines",
    "pairs_above",
    "slack",
]

BLOCK = 1024
RESIDENT = 1 << 28  # bytes of float32 vectors that are held at once; larger groups are read block by block, repeatedly
_AT_ONCE = 1 << 20  # numbers gathered at once for single pairs
CHEAPER_WHOLE = 64  # a float64 product of a whole block costs as much as 1/64 of its pairs one by one
EXACT = 1e-11  # by how much a product in float64 may differ from a sum taken in another order
ZERO = np.float32(2.0**-30)  # similarities nearer to 0 are 0

Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # left or later (p,), right or earlier (p,), similarity (p,) float32


class OrderedVectors(Protocol):
    """Vectors of unit length, in a given order, a block at a time.

    Attributes:
        spans: the blocks, as slices.
    """

    @property
    def spans(self) -> list[slice]: ...

    def before(self, later: slice) -> list[slice]:
        """The blocks up to a given one, this included, that have vectors to compare with it."""

    def at(self, span: slice, look: np.ndarray | None = None) -> Any:
        """The vectors of a block, or some of them: what can give its pairs with another block."""

    def __len__(self) -> int: ...


class Vectors:
    """Some rows of a matrix, in a given order, a block at a time: unit length, float32.

    Args:
        matrix: opened with unit=True.
        rows: (m,) int64.
        block: rows in a block.
    """

    def __init__(self, matrix: Matrix, rows: np.ndarray, block: int = BLOCK) -> None:
        self.matrix, self.rows, self.block = matrix, rows, block
        fits = len(rows) * matrix.dim * 4 <= RESIDENT
        self._held = matrix.gather(rows) if fits else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, span: slice) -> np.ndarray:
        return self.matrix.gather(self.rows[span]) if self._held is None else self._held[span]

    @property
    def spans(self) -> list[slice]:
        """The blocks, as slices."""
        return [slice(lo, min(lo + self.block, len(self))) for lo in range(0, len(self), self.block)]

    def before(self, later: slice) -> list[slice]:
        """The blocks up to a given one, this included."""
        return self.spans[: later.start // self.block + 1]

    def at(self, span: slice, look: np.ndarray | None = None) -> _Block:
        """The vectors of a block, or some of them."""
        return _Block(self[span] if look is None else self[span][look])


def nearest_earlier(vectors: OrderedVectors) -> tuple[np.ndarray, np.ndarray]:
    """For every vector, the most similar of those before it; of equally similar ones, the first.

    Returns:
        (m,) int64 places, -1 for the first vector; (m,) float32 similarity, -inf for the first.
    """
    who, best = np.full(len(vectors), -1), np.full(len(vectors), -np.inf, dtype=np.float32)
    for later in vectors.spans:
        left = vectors.at(later)
        for earlier in vectors.before(later):
            same = earlier == later
            pairs = left.most_similar(left if same else vectors.at(earlier), best[later], same)
            _improve(pairs, later.start, earlier.start, who, best)
    return who, best


def nearest_in(vectors: OrderedVectors, others: OrderedVectors) -> tuple[np.ndarray, np.ndarray]:
    """For every vector, the most similar of the others: (m,) int64 places among them and (m,) float32 similarity."""
    who, best = np.full(len(vectors), -1), np.full(len(vectors), -np.inf, dtype=np.float32)
    for rows in steps("compare", vectors.spans):
        left = vectors.at(rows)
        for span in others.spans:
            _improve(left.most_similar(others.at(span), best[rows], False), rows.start, span.start, who, best)
    return who, best


def pairs_above(
    vectors: OrderedVectors, floor: np.float32, wanted: np.ndarray | None = None, reached: np.ndarray | None = None
) -> Iterator[tuple[Pairs, slice]]:
    """All pairs whose similarity exceeds a floor, block after block.

    The blocks come in such an order that all pairs of the earlier vectors have come before: for each block of later
    vectors, its pairs with the first block, with the second, …, and finally those within itself.

    Args:
        vectors: in order.
        floor: at least -2.
        wanted: (m,) bool, the earlier vectors to compare with, which the caller may change in between; None = all.
        reached: (m,) float32, which the caller may change too; a pair below the smaller of its two values is left out.

    Yields:
        ((later, earlier, similarity), block of the later): with earlier < later, by ascending later.
    """
    for later in vectors.spans:
        left = vectors.at(later)
        for earlier in vectors.before(later):
            same = earlier == later
            look = np.arange(earlier.stop - earlier.start)
            if not same and wanted is not None:
                look = look[wanted[earlier]]
            low = None if reached is None else (reached[later], reached[earlier][look])
            i, j, similarity = left.above(left if same else vectors.at(earlier, look), floor, low, same)
            j = look[j]
            yield (later.start + i, earlier.start + j, similarity), later


def pair_cosines(matrix: Matrix, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The similarity of pairs of rows: (p,) float32.

    Args:
        matrix: opened with unit=True.
        left, right: (p,) int64.
    """
    out = np.empty(len(left), dtype=np.float32)
    step = max(1, _AT_ONCE // matrix.dim)
    for lo in range(0, len(left), step):
        span = slice(lo, lo + step)
        a = _Block(matrix.gather(left[span]))
        b = _Block(matrix.gather(right[span]))
        rows = np.arange(len(a.unit))
        out[span] = _one_by_one(a, b, rows, rows)
    return out


def best_of_each(left: np.ndarray, right: np.ndarray, similarity: np.ndarray) -> np.ndarray:
    """For each left, the pair with the highest similarity, ties to the smallest right: (q,) positions."""
    order = np.lexsort((right, -similarity, left))
    first = np.ones(len(order), dtype=bool)
    first[1:] = left[order[1:]] != left[order[:-1]]
    return order[first]


class _Block:
    """Unit vectors, also in float64 if that is needed."""

    def __init__(self, unit: np.ndarray) -> None:
        self.unit = unit
        self._exact: np.ndarray | None = None

    @property
    def exact(self) -> np.ndarray:
        if self._exact is None:
            wide = self.unit.astype(np.float64)
            self._exact = wide / np.sqrt(np.einsum("ij,ij->i", wide, wide))[:, None]
        return self._exact

    def above(
        self, right: _Block, floor: np.float32, low: tuple[np.ndarray, np.ndarray] | None, triangle: bool
    ) -> Pairs:
        """The pairs whose similarity exceeds the floor and is at least the smaller of its two `low`, by ascending left.

        Args:
            right: the other block, of k vectors.
            floor: at least -2.
            low: (m,) and (k,) float32, or None.
            triangle: whether the blocks are the same, so that only pairs with right before left count.
        """
        if not len(right.unit):
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        product, off = _product(self, right, triangle), np.float32(slack(self.unit.shape[1]))
        near = product > floor - off
        if low is not None:
            near &= product >= np.minimum.outer(*low) - off
        i, j = _where(near)
        similarity = _similarity(self, right, i, j)
        over = similarity > floor
        return i[over], j[over], similarity[over]

    def most_similar(self, right: _Block, best: np.ndarray, triangle: bool) -> Pairs:
        """Some pairs, with the most similar one of each left vector, unless that is less similar than `best` (m,)."""
        product, off = _product(self, right, triangle), np.float32(slack(self.unit.shape[1]))
        top = product.max(axis=1)
        live = np.flatnonzero((top >= best - off) & (top > -np.inf))
        # The highest similarity is at least top - off, so the product of that pair is at least top - 2 off.
        floor = np.maximum(best[live], top[live] - off) - off
        i, j = _where(product[live] >= floor[:, None])
        i = live[i]
        return i, j, _similarity(self, right, i, j)


def _product(left: _Block, right: _Block, triangle: bool) -> np.ndarray:
    """(m, k) float32; with `triangle` -inf where right does not come before left."""
    with numpy_like_torch():
        product = left.unit @ right.unit.T
    if triangle:
        for i, row in enumerate(product):
            row[i:] = -np.inf
    return product


def _where(true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """np.nonzero, but several times faster."""
    i, j = np.divmod(np.flatnonzero(true), true.shape[1])
    return i, j


def slack(d: int) -> float:
    """By how much a float32 product of vectors of d numbers may differ from their similarity."""
    return (d + 16) * 2.0**-24


def _improve(pairs: Pairs, later: int, earlier: int, who: np.ndarray, best: np.ndarray) -> None:
    """Update `who` and `best` by pairs of two blocks, the first vectors of which are numbers `later` and `earlier`."""
    i, j, similarity = pairs
    pick = best_of_each(i, j, similarity)
    pick = pick[similarity[pick] > best[later + i[pick]]]  # on a tie, the vector of an earlier block stays
    who[later + i[pick]] = earlier + j[pick]
    best[later + i[pick]] = similarity[pick]


def _similarity(left: _Block, right: _Block, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    if len(i) * CHEAPER_WHOLE < len(left.unit) * len(right.unit):
        return _one_by_one(left, right, i, j)
    with numpy_like_torch():
        whole = (left.exact @ right.exact.T)[i, j]
    out, other = _rounded(whole - EXACT), _rounded(whole + EXACT)
    unsure = np.flatnonzero(out != other)
    out[unsure] = _one_by_one(left, right, i[unsure], j[unsure])
    return out


def _one_by_one(left: _Block, right: _Block, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    out = np.empty(len(i), dtype=np.float32)
    step = max(1, _AT_ONCE // left.unit.shape[1])
    for lo in range(0, len(i), step):
        span = slice(lo, lo + step)
        out[span] = _rounded(np.einsum("ij,ij->i", left.exact[i[span]], right.exact[j[span]]))
    return out


def _rounded(wide: np.ndarray) -> np.ndarray:
    out = wide.astype(np.float32)
    out[np.abs(out) < ZERO] = 0
    return out
