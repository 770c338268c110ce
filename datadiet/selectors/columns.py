"""Inner products of all vectors with one of them after another, computed several at a time.

A greedy method needs them for each example it takes, and only then learns which example is next. A product of the
matrix with one vector reads every vector once, and so does a product with 32 vectors. So the columns of the rows that
are likely to be next are computed together with the requested one, and more of them as long as the guesses are right.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import frexp

import numpy as np

from datadiet.geometry import Matrix
from datadiet.selectors.similarities import squares

__all__ = ["Columns"]

_BLOCK = 4096
_KEPT = 1 << 29  # bytes of vectors held in float64 between two passes; more are read again
_AHEAD = 1 << 27  # bytes of columns computed ahead
_MOST = 64


class Columns:
    """The columns of the Gram matrix of n vectors, in float64.

    Args:
        matrix: the vectors.

    Attributes:
        square: (n,) float64, their squared lengths.
        scale: a power of two above the largest of them, the unit of inner products; 1 if all are 0.
    """

    def __init__(self, matrix: Matrix) -> None:
        self._matrix = matrix
        n = len(matrix)
        self._held = list(self._read()) if 8 * n * matrix.dim <= _KEPT else None
        self.square = np.concatenate([squares(block) for _, block in self._blocks()])
        self.scale = 2.0 ** frexp(float(self.square.max()))[1] if self.square.any() else 1.0
        self._ready: dict[int, np.ndarray] = {}
        self._width, self._most = 1, int(np.clip(_AHEAD // (8 * n), 1, _MOST))

    def of(self, row: int, likely: np.ndarray) -> np.ndarray:
        """The inner products of all vectors with that of a row.

        Args:
            row: any row; its column is not kept for another call.
            likely: (n,) numbers, the higher, the sooner a row is likely to be requested.

        Returns:
            (n,) float64, yours to overwrite. Its last bits depend on what was computed together.
        """
        if row not in self._ready:
            self._look_ahead(row, likely)
        return self._ready.pop(row)

    def _look_ahead(self, row: int, likely: np.ndarray) -> None:
        unused = len(self._ready)
        if 4 * unused <= self._width:
            self._width = min(2 * self._width, self._most)
        elif 2 * unused > self._width:
            self._width = max(self._width // 2, 1)
        width = min(self._width, len(likely))
        top = np.argpartition(likely, len(likely) - width)[len(likely) - width :].tolist()
        kept = {r: self._ready[r] for r in top if r in self._ready}
        new = [row, *(r for r in top if r not in kept and r != row)][:width]
        vectors = self._matrix.take(np.array(new)).astype(np.float64)
        found = np.empty((len(new), len(self._matrix)))
        for span, block in self._blocks():
            found[:, span] = vectors @ block.T
        self._ready = {**kept, **{r: found[i].copy() for i, r in enumerate(new)}}

    def _blocks(self) -> Iterator[tuple[slice, np.ndarray]]:
        return iter(self._held) if self._held is not None else self._read()

    def _read(self) -> Iterator[tuple[slice, np.ndarray]]:
        return ((span, block.astype(np.float64)) for span, block in self._matrix.blocks(_BLOCK))
