"""Similarities on a fixed grid: of all pairs, or of each row and its nearest neighbours.

A similarity is a whole number of steps of 1/SCALE. The last bits of a computed similarity depend on how a product
was cut into blocks; on the grid, equal vectors have equal similarities, duplicates have exactly SCALE, and sums are
exact in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from datadiet.geometry import Matrix, nearest
from datadiet.geometry.matrix import Metric

__all__ = ["SCALE", "Graph", "dense", "lists", "squares", "witness_cosines"]

SCALE = 1 << 20
_BLOCK = 1024


@dataclass(frozen=True, eq=False)
class Graph:
    """Weighted edges by the row that they start from.

    Attributes:
        start: (n + 1,) int64: the edges of row i are start[i] to start[i + 1].
        row: (edges,) int32, where they lead.
        value: (edges,) what they weigh.
    """

    start: np.ndarray
    row: np.ndarray
    value: np.ndarray

    @classmethod
    def of_lists(cls, rows: np.ndarray, values: np.ndarray) -> Graph:
        """The graph in which the edges of row i lead to rows[i]: both (n, m)."""
        return cls(np.arange(len(rows) + 1) * rows.shape[1], rows.ravel().astype(np.int32), values.ravel())

    def edges(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Where the edges of a row lead, and what they weigh."""
        span = slice(self.start[row], self.start[row + 1])
        return self.row[span], self.value[span]

    def reversed(self) -> Graph:
        """Every edge the other way round."""
        order = np.argsort(self.row, kind="stable")
        start = np.concatenate([[0], np.cumsum(np.bincount(self.row, minlength=len(self.start) - 1))])
        return Graph(start, self._origin()[order], self.value[order])

    def undirected(self) -> Graph:
        """Every edge in both directions, once; where the two directions weigh differently, the larger weight."""
        n = len(self.start) - 1
        origin, target = self._origin().astype(np.int64), self.row.astype(np.int64)
        code, value = np.concatenate([origin * n + target, target * n + origin]), np.tile(self.value, 2)
        order = np.argsort(code)
        code, value = code[order], value[order]
        first = np.flatnonzero(np.append(True, code[1:] != code[:-1])[: len(code)])
        code, value = code[first], np.maximum.reduceat(value, first) if len(first) else value
        start = np.concatenate([[0], np.cumsum(np.bincount(code // max(n, 1), minlength=n))])
        return Graph(start, (code % max(n, 1)).astype(np.int32), value)

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(n,): for each row, the sum of `values`, one number per edge, over its edges."""
        return np.diff(np.concatenate([[0], np.cumsum(values)])[self.start])

    def _origin(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.start) - 1, dtype=np.int32), np.diff(self.start))


def lists(
    matrix: Matrix, neighbours: int, metric: Metric, draws: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest neighbours of every row, itself first, and their similarities.

    Args:
        matrix: n vectors, of length 1 for the cosine.
        neighbours: how many besides itself (all others if there are fewer).
        draws: (n,), the keys of the rows: of equally near ones, the smaller come first.
        metric: the similarity is (1 + cos) / 2, or 1 - d / D with the Euclidean distance d and D the largest in a list.

    Returns:
        rows (n, m + 1) int32, and similarities (n, m + 1) int32 in steps of 1/SCALE.
    """
    n = len(matrix)
    m = min(neighbours, n - 1)
    rows, value = np.empty((n, m + 1), dtype=np.int32), np.empty((n, m + 1), dtype=np.int32)
    rows[:, 0], value[:, 0] = np.arange(n), SCALE
    if m:
        rows[:, 1:], distance = nearest(matrix, m, metric=metric, ties=draws, progress=True)
        value[:, 1:] = on_grid(distance, float(distance.max()) if metric == "euclidean" else 2.0)
    return rows, value


def dense(matrix: Matrix, metric: Metric) -> np.ndarray:
    """The similarities of all pairs, as in `lists`: (n, n) int32."""
    n = len(matrix)
    vectors = matrix.take(slice(0, n)).astype(np.float64)
    square = squares(vectors)
    value = np.empty((n, n), dtype=np.int32)
    # The products are computed twice for the Euclidean distance, whose largest has to be known first.
    far = 2.0 if metric == "cosine" else max(float(d.max()) for _, d in _distances(vectors, square, metric))
    for span, distance in _distances(vectors, square, metric):
        value[span] = on_grid(distance, far)
    np.fill_diagonal(value, SCALE)
    return value


def on_grid(distance: np.ndarray, far: float) -> np.ndarray:
    """1 - distance / far in steps of 1/SCALE; 1 if far is 0."""
    near = np.rint((1 - distance.astype(np.float64) / (far or 1.0)) * SCALE)
    return np.clip(near, 0, SCALE).astype(np.int32)


def _distances(vectors: np.ndarray, square: np.ndarray, metric: Metric) -> Iterator[tuple[slice, np.ndarray]]:
    for lo in range(0, len(vectors), _BLOCK):
        span = slice(lo, min(lo + _BLOCK, len(vectors)))
        product = vectors[span] @ vectors.T
        if metric == "cosine":
            yield span, 1 - product
        else:
            yield span, np.sqrt(np.maximum(square[span, None] + square - 2 * product, 0))


def squares(vectors: np.ndarray) -> np.ndarray:
    """The squared lengths of rows, float64; the same for equal rows wherever they stand."""
    return np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64)


def witness_cosines(matrix: Matrix, witness: np.ndarray) -> np.ndarray:
    """The cosine of every row with its witness: (n,) float32, NaN without one, or if either vector is zero."""
    out = np.full(len(matrix), np.nan, dtype=np.float32)
    rows = np.flatnonzero(witness >= 0)
    for lo in range(0, len(rows), _BLOCK):
        part = rows[lo : lo + _BLOCK]
        a, b = matrix.take(part).astype(np.float64), matrix.take(witness[part]).astype(np.float64)
        length = np.sqrt(squares(a) * squares(b))
        with np.errstate(invalid="ignore"):
            out[part] = np.clip(np.einsum("nd,nd->n", a, b) / np.where(length > 0, length, np.nan), -1, 1)
    return out
