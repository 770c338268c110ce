"""The vector with the largest inner product with a direction that changes after every example taken.

All products are computed in float32, which reads every vector once. Those that may be the largest, given the rounding,
are computed again in float64, from the vector and the direction alone, and rounded to a grid much coarser than the
float64 error: examples that match equally well are tied, whatever the order and the blocks in which they are read, and
ties go by key.
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
_STEPS = 2.0**40


class InnerProducts:
    """n vectors to be matched with directions.

    Args:
        matrix: the vectors.

    Attributes:
        mean: (d,) float64, of all vectors.
        square: (n,) float64, the squared lengths.
    """

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        held = 4 * len(matrix) * matrix.dim <= _KEPT
        self._held = [(span, np.array(block)) for span, block in matrix.blocks(_BLOCK)] if held else None
        total, square = np.zeros(matrix.dim), []
        for _, block in self._blocks():
            total += block.sum(axis=0, dtype=np.float64)
            square.append(squares(block))
        self.mean, self.square = total / len(matrix), np.concatenate(square)
        self._longest = sqrt(float(self.square.max()))

    def best(self, direction: np.ndarray, less: np.ndarray, draws: np.ndarray) -> int:
        """The row with the largest <x, direction> - less; of ties, the one with the smallest draw.

        Args:
            direction: (d,) float64.
            less: (n,) float64 of the magnitude of the squared lengths; infinite for rows that are out.
            draws: (n,) distinct.
        """
        narrow = direction.astype(np.float32)
        value = np.empty(len(self._matrix))
        for span, block in self._blocks():
            # einsum, not BLAS: as fast for one vector, and independent of the threads and the place of the row.
            value[span] = np.einsum("nd,d->n", block, narrow)
        value -= less
        size = self._longest * sqrt(float(direction @ direction))
        noise = (4 * sqrt(len(direction)) + 8) * 2.0**-24 * size
        rows = np.flatnonzero(value >= value.max() - 2 * noise)
        step = 2.0 ** frexp(max(size, self._longest**2))[1] / _STEPS
        return int(rows[largest(np.rint((self.of(rows, direction) - less[rows]) / step), draws[rows])])

    def of(self, rows: np.ndarray, direction: np.ndarray) -> np.ndarray:
        """<x, direction> for some rows: (m,) float64."""
        parts = (self._matrix.take(rows[lo : lo + _BLOCK]) for lo in range(0, len(rows), _BLOCK))
        found = [np.einsum("nd,d->n", part.astype(np.float64), direction) for part in parts]
        return np.concatenate([np.zeros(0), *found])

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        return iter(self._held) if self._held is not None else self._matrix.blocks(_BLOCK)
