"""Exact nearest neighbours by L1 distance in a few of many dimensions, without visiting every example.

In the order of one dimension, all examples within r of a point lie in one stretch. The distances in a stretch that is
probably long enough give an r that is certainly large enough, and the stretch within that r holds the answer.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from datadiet.geometry import Matrix

__all__ = ["DimensionBlocks", "SortedDimension", "Subspace"]

_ROWS = 4096
_HELD = 1 << 26  # numbers of columns in memory


class SortedDimension(NamedTuple):
    """All examples along one dimension.

    Attributes:
        row: (n,) int64, the examples in ascending order.
        at: (n,) float32, their coordinates.
        exact: the same in float64, for searching.
        place: (n,) int64, the place of each example in this order.
    """

    row: np.ndarray
    at: np.ndarray
    exact: np.ndarray
    place: np.ndarray


class DimensionBlocks:
    """The columns of a matrix that is stored by rows, a few blocks of them in memory at a time."""

    def __init__(self, matrix: Matrix, dims: int) -> None:
        """Hold blocks of `width` columns, one for each dimension of a subspace."""
        self.matrix = matrix
        self.width = min(matrix.dim, max(1, _HELD // (len(matrix) * dims)))
        self._held: dict[int, np.ndarray] = {}

    def hold(self, blocks: np.ndarray) -> None:
        """Hold the columns of these blocks in memory, and drop all others if any had to be read."""
        wanted = set(blocks.tolist())
        missing = wanted - self._held.keys()
        if missing:
            self._held = {b: columns for b, columns in self._held.items() if b in wanted}
            self._held |= {b: self._read(b) for b in missing}

    def column(self, axis: int) -> np.ndarray:
        """(n,) float32; its block must be held."""
        return self._held[int(axis) // self.width][int(axis) % self.width]

    def line(self, axis: int) -> SortedDimension:
        """All examples along a column, whose block must be held."""
        values = self.column(axis)
        row = np.argsort(values)
        place = np.empty_like(row)
        place[row] = np.arange(len(row))
        return SortedDimension(row, values[row], values[row].astype(np.float64), place)

    def ranges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The minimum, the median and the maximum of every column: (d,) float64 each."""
        parts = []
        for b in range(-(-self.matrix.dim // self.width)):
            self.hold(np.array([b]))
            block = self._held[b]
            parts.append((block.min(axis=1), np.median(block, axis=1), block.max(axis=1)))
        low, middle, high = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
        return low, middle, high

    def _read(self, block: int) -> np.ndarray:
        """(width, n) float32, one column per row."""
        span = slice(block * self.width, min((block + 1) * self.width, self.matrix.dim))
        out = np.empty((span.stop - span.start, len(self.matrix)), dtype=np.float32)
        for rows, part in self.matrix.blocks(_ROWS):
            out[:, rows] = part[:, span].T
        return out


class Subspace(NamedTuple):
    """All examples, sorted by one dimension, with their coordinates in some others.

    Attributes:
        line: the examples along the first dimension.
        others: (n,) float32 each, the other coordinates.
        rank: (n,) integers; of examples at the same distance, the one with the lowest rank counts as nearer.
    """

    line: SortedDimension
    others: list[np.ndarray]
    rank: np.ndarray

    def nearest(self, point: np.ndarray) -> int:
        """The example nearest to a point (dims,) float32."""
        n = len(self.line.row)
        rows, far = self._within(point, 1, 256 + 2 * int(n**0.5))
        closest = rows[far == far.min()]
        return int(closest[self.rank[closest].argmin()])

    def neighbours(self, row: int, k: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest other examples, in no particular order: rows, and distances in float64."""
        n = len(self.line.row)
        point = np.array([self.line.at[self.line.place[row]], *(other[row] for other in self.others)])
        rows, far = self._within(point, k + 1, k + 1 + int((2 * k * n) ** 0.5))
        apart = rows != row
        rows, far = rows[apart], far[apart]
        if len(rows) > k:
            cut = np.partition(far, k - 1)[k - 1]
            near, at = far < cut, np.flatnonzero(far == cut)
            near[at[np.argsort(self.rank[rows[at]])[: k - np.count_nonzero(near)]]] = True
            rows, far = rows[near], far[near]
        return rows, far.astype(np.float64)

    def _within(self, point: np.ndarray, k: int, likely: int) -> tuple[np.ndarray, np.ndarray]:
        """The k nearest to a point, with all ties and perhaps more: rows, and distances in float32.

        Args:
            point: (dims,) float32.
            k: how many.
            likely: how many along the line to try first, at least k.
        """
        n, line = len(self.line.row), self.line
        place = int(line.exact.searchsorted(float(point[0])))
        low = max(0, min(place - likely // 2, n - likely))
        high = min(n, low + likely)
        far = self._distances(point, low, high)
        reach = far.min() if k == 1 else np.partition(far, k - 1)[k - 1]
        if high - low < n:
            # Distances are rounded: only beyond a slightly longer reach are all examples certainly farther away.
            longer = float(reach) * (1 + 1e-6)
            left = int(line.exact.searchsorted(float(point[0]) - longer, side="left"))
            right = int(line.exact.searchsorted(float(point[0]) + longer, side="right"))
            if left < low or right > high:
                low, high = left, right
                far = self._distances(point, low, high)
        near = np.flatnonzero(far <= reach)
        return line.row[low + near], far[near]

    def _distances(self, point: np.ndarray, low: int, high: int) -> np.ndarray:
        """L1 distances from a point to the examples in a stretch of the line: float32."""
        far = np.abs(self.line.at[low:high] - point[0])
        rows = self.line.row[low:high]
        for other, at in zip(self.others, point[1:], strict=True):
            far += np.abs(other[rows] - at)
        return far
