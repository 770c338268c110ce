"""The vector with the largest inner product with a multiple of the mean less the vectors that were taken before.

All products are computed in float32. Either they are those with the direction, which reads every vector for every
vector taken, or, if many are taken of a few, those of all pairs, of which each vector taken adds a row. The ones that
may be the largest, given the rounding, are computed again in float64, from the vector and the direction alone, and
rounded to a grid much coarser than the float64 error: examples that match equally well are tied, whatever the order and
the blocks in which they are read, and ties go by key.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import frexp, sqrt

import numpy as np

from datadiet.geometry import Matrix
from datadiet.selectors.greedy import largest
from datadiet.selectors.similarities import squares

__all__ = ["InnerProducts"]

_BLOCK = 4096
_KEPT = 1 << 30  # bytes of vectors held in float32 between two passes; more are read again
_MANY, _ALL_PAIRS = 1 / 8, 1 << 28  # the share taken for which all pairs are worth it, and the bytes that they may take
_STEPS = 2.0**40


class InnerProducts:
    """n vectors to be matched with a direction that each vector taken changes.

    Args:
        matrix: the vectors.
        k: how many will be taken.

    Attributes:
        mean: (d,) float64, of all vectors.
        square: (n,) float64, the squared lengths.
        kept: (d,) float64, the sum of the vectors taken.
        taken: how many.
    """

    def __init__(self, matrix: Matrix, k: int) -> None:
        self._matrix = matrix
        n = len(matrix)
        held = 4 * n * matrix.dim <= _KEPT
        self._held = [(span, np.array(block)) for span, block in matrix.blocks(_BLOCK)] if held else None
        total, square = np.zeros(matrix.dim), []
        for _, block in self._blocks():
            total += block.sum(axis=0, dtype=np.float64)
            square.append(squares(block))
        self.mean, self.square = total / n, np.concatenate(square)
        self.kept, self.taken = np.zeros(matrix.dim), 0
        self._longest = sqrt(float(self.square.max()))
        self._pairs: np.ndarray | None = None
        if self._held is not None and k >= _MANY * n and 4 * n * n <= _ALL_PAIRS:
            rows = np.concatenate([block for _, block in self._held])
            self._pairs, self._with_mean, self._with_kept = rows @ rows.T, self._products(self.mean), np.zeros(n)

    def direction(self, weight: float) -> np.ndarray:
        """(d,) float64: `weight` times the mean less the vectors taken."""
        return weight * self.mean - self.kept

    def take(self, row: int) -> None:
        """Take the vector of a row."""
        self.kept += self._matrix.take(np.array([row]))[0]
        self.taken += 1
        if self._pairs is not None:
            self._with_kept += self._pairs[row]

    def best(self, weight: float, less: np.ndarray, draws: np.ndarray) -> int:
        """The row with the largest <x, direction> - less; of ties, the one with the smallest draw.

        Args:
            weight: of the mean in the direction.
            less: (n,) float64 of the magnitude of the squared lengths; infinite for rows that are out.
            draws: (n,) distinct.
        """
        direction = self.direction(weight)
        size = self._longest * sqrt(float(direction @ direction))
        if self._pairs is None:
            value, reach = self._products(direction), size
        else:
            value = weight * self._with_mean - self._with_kept
            reach = self._longest * (abs(weight) * sqrt(float(self.mean @ self.mean)) + self.taken * self._longest)
        value -= less
        noise = (4 * sqrt(len(direction)) + 8) * 2.0**-24 * reach
        rows = np.flatnonzero(value >= value.max() - 2 * noise)
        step = 2.0 ** frexp(max(size, self._longest**2))[1] / _STEPS
        return int(rows[largest(np.rint((self.of(rows, direction) - less[rows]) / step), draws[rows])])

    def _products(self, direction: np.ndarray) -> np.ndarray:
        """(n,) float64, in the precision of float32."""
        narrow = direction.astype(np.float32)
        value = np.empty(len(self._matrix))
        for span, block in self._blocks():
            # einsum, not BLAS: as fast for one vector, and independent of the threads and the place of the row.
            value[span] = np.einsum("nd,d->n", block, narrow)
        return value

    def of(self, rows: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """<x, direction> for some rows: (m,) float64."""
        parts = (self._matrix.take(rows[lo : lo + _BLOCK]) for lo in range(0, len(rows), _BLOCK))
        found = [np.einsum("nd,d->n", part.astype(np.float64), direction) for part in parts]
        return np.concatenate([np.zeros(0), *found])

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        return iter(self._held) if self._held is not None else self._matrix.blocks(_BLOCK)
