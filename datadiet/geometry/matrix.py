"""The vectors of many examples, read a few rows at a time in float32 and checked once.

They may be an array in memory, a memory-mapped file or the parts of a run, and larger than memory: nothing here copies
them whole.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, get_args

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.errors import BadVector, DataError, OptionError

__all__ = ["CHUNK", "TILE", "Matrix", "Metric", "Part", "VectorArray", "centre_of", "is_cosine"]

# Rows that go into one matrix product: a fixed grid, so that no result depends on how much is read at once.
TILE = 1024
CHUNK = 1 << 13  # vectors that k-means and nearest neighbours read at once
_CHECKED_AT_ONCE = 1 << 20  # numbers
_WORTH_TORCH = 1 << 16  # numbers
_LARGEST = 1e18  # length; above it, squares overflow in float32
_SMALLEST = 1e-30  # length of a vector that is divided by it


_ONE_AT_A_TIME = threading.Lock()


Metric = Literal["cosine", "euclidean"]


def is_cosine(metric: Metric) -> bool:
    """Whether a metric compares vectors scaled to length 1.

    Raises:
        OptionError: an unknown metric.
    """
    if metric not in get_args(Metric):
        raise OptionError(f"metric={metric!r}: give 'cosine' or 'euclidean'.")
    return metric == "cosine"


class VectorArray(Protocol):
    """An (n, d) array that can be read by rows: a numpy array, a memory map, or parts on disk."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the numbers."""

    def __getitem__(self, rows: Any) -> Any:
        """The rows of a slice or of an integer array."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """n vectors of d numbers. Use `Matrix.open`.

    Attributes:
        rows: (n, d), the vectors as they are stored.
        scale: (n,) float32, the factor by which each row is multiplied when it is read, or None.
        longest: no row is longer than this.
    """

    rows: VectorArray
    scale: np.ndarray | None
    longest: float

    @classmethod
    def open(cls, vectors: Any, *, unit: bool = False) -> Matrix:
        """Check vectors, reading each once.

        Args:
            vectors: (n, d) floats, in memory or on disk; or a Matrix, which has been checked and keeps its lengths.
            unit: whether to scale rows to length 1. They are divided by their length when they are read, even if they
                should have length 1 already: in float16 lengths are off by up to 5e-4, as much as a fine threshold.

        Raises:
            DataError: the wrong shape, masked entries, or something other than real numbers.
            BadVector: a row with NaN or infinity, too large for float32, or of length 0 where a direction is needed; it
                names the row.
        """
        if isinstance(vectors, Matrix):
            return vectors if not unit or vectors.scale is not None else cls.open(vectors.rows, unit=True)
        rows = _as_rows(vectors)
        scale = np.ones(rows.shape[0], dtype=np.float32) if unit else None
        longest = 1.001 if unit else 0.0
        step = max(1, _CHECKED_AT_ONCE // rows.shape[1])
        for lo in range(0, rows.shape[0], step):
            part = np.asarray(rows[lo : lo + step], dtype=np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                length = np.sqrt(np.einsum("ij,ij->i", part, part))
            bad = ~(length < _LARGEST) | (unit & (length < _SMALLEST))
            if bad.any():
                row = int(bad.argmax())
                raise BadVector(lo + row, _problem(float(length[row])))
            if scale is not None:
                scale[lo : lo + step] = 1 / length
            else:
                longest = max(longest, float(length.max()))
        return cls(rows, scale, longest)

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return int(self.rows.shape[1])

    def take(self, rows: Any) -> np.ndarray:
        """The vectors of a slice or an integer array: (m, d) float32, contiguous."""
        return self.as_float32(self.stored(rows), rows)

    def as_float32(self, stored: np.ndarray, rows: Any, out: np.ndarray | None = None) -> np.ndarray:
        """What `take` makes of vectors as they are stored.

        Args:
            stored: (m, d), what `stored(rows)` gives.
            rows: a slice or an integer array, which rows they are.
            out: (m, d) float32, memory that may be used.
        """
        part = _widened(stored) if stored.dtype == np.float16 else np.ascontiguousarray(stored, dtype=np.float32)
        if self.scale is None:
            return part
        fresh = stored.dtype != np.float32
        return np.multiply(part, self.scale[rows, None], out=part if fresh else out)

    def gather(self, rows: np.ndarray) -> np.ndarray:
        """The vectors of an integer array, in its order but read in the order in which they are stored."""
        order = np.argsort(rows, kind="stable")
        out = np.empty((len(rows), self.dim), dtype=np.float32)
        out[order] = self.take(rows[order])
        return out

    def stored(self, rows: Any) -> np.ndarray:
        """The vectors of a slice or an integer array as they are stored: (m, d), not scaled."""
        if isinstance(self.rows, np.ndarray):
            return self.rows[rows]
        with _ONE_AT_A_TIME:  # anything else may be a file with a single read position
            return np.asarray(self.rows[rows])

    def blocks(self, size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """All vectors in order, `size` at a time: the slice of rows, and the rows."""
        for lo in range(0, len(self), size):
            span = slice(lo, min(lo + size, len(self)))
            yield span, self.take(span)

    def part(self, rows: np.ndarray) -> Matrix:
        """Some of the rows as a matrix of their own, still read from where they are stored."""
        return Matrix(Part(self.rows, rows), None if self.scale is None else self.scale[rows], self.longest)


def centre_of(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A point to measure Euclidean coordinates from: |x|^2 - 2 x.c + |c|^2 loses the digits that x and c share.

    Args:
        low: (d,) the least coordinates of some vectors.
        high: (d,) the greatest.

    Returns:
        (d,) float32, the middle, rounded to a power of two near the spread: subtracting it from coordinates with few
        digits is exact, and equal distances stay equal.
    """
    middle = (low.astype(np.float64) + high) / 2
    spread = high.astype(np.float64) - low
    step = np.exp2(np.ceil(np.log2(np.where(spread > 0, spread, 1))))
    return np.where(spread > 0, np.round(middle / step) * step, middle).astype(np.float32)


def _as_rows(vectors: Any) -> VectorArray:
    """Vectors as they are given, if they have rows of numbers; a list or a tensor as an array.

    Raises:
        DataError: the wrong shape, no rows, masked entries, or something other than numbers.
    """
    if isinstance(vectors, (str, Path)):
        raise DataError(f"{vectors} is a path: open the vectors there with datadiet.open_vectors.")
    rows = in_numpy(vectors, "the array of vectors", DataError)
    real = len(rows.shape) == 2 and 0 not in rows.shape and rows.dtype.kind in "fiu"
    if not real or (
        not isinstance(rows, np.ndarray) and np.asarray(rows[:1]).shape != (1, rows.shape[1])
    ):  # sparse, say
        raise DataError(
            f"vectors of shape {tuple(rows.shape)} and type {rows.dtype}: give one vector of numbers per example, "
            "shape (n, d)."
        )
    return rows


def _widened(half: np.ndarray) -> np.ndarray:
    """float16 as float32. torch has vectorised this: it takes a twentieth of numpy's time."""
    if half.size < _WORTH_TORCH:
        return half.astype(np.float32, order="C")
    import torch

    part = torch.empty(half.shape, dtype=torch.float16)
    part.numpy()[...] = half  # a copy, since torch warns about read-only arrays
    return part.float().numpy()


def _problem(length: float) -> str:
    """What is wrong with a vector of this length."""
    if length < _SMALLEST:
        return "all zeros"
    return "too large for float32" if np.isfinite(length) else "not finite"


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of vectors, still read from where they are stored.

    Attributes:
        rows: (n, d), the vectors.
        index: (m,) int64, which of them.
    """

    rows: VectorArray
    index: np.ndarray

    def __len__(self) -> int:
        return len(self.index)

    @property
    def name(self) -> str:
        """The name of the vectors, if they have one."""
        return getattr(self.rows, "name", "")

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.index), *self.rows.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.dtype

    def __getitem__(self, rows: Any) -> Any:
        return self.rows[self.index[rows]]
