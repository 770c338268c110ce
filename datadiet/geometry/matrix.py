"""The vectors of many examples, read a few rows at a time in float32 and checked once.

What is behind them may be an array in memory, a memory-mapped file or the parts of a run, and larger than memory:
nothing here copies it whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from datadiet.errors import BadVector, DataError

__all__ = ["TILE", "Matrix", "Rows"]

TILE = (
    1024  # Rows that go into one matrix product; a fixed grid, so that no result depends on how much is read at once.
)
_CHECKED_AT_ONCE = 1 << 22  # numbers


class Rows(Protocol):
    """What numpy arrays, memory maps and parts on disk have in common."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, d)."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the numbers."""

    def __getitem__(self, rows: Any) -> Any:
        """The rows of a slice or of an integer array."""


@dataclass(frozen=True, eq=False)
class Matrix:
    """n vectors of d numbers. Use `Matrix.open`.

    Attributes:
        rows: (n, d), what is behind it.
        scale: (n,) float32, what each row is multiplied by when it is read, or None.
    """

    rows: Rows
    scale: np.ndarray | None = None

    @classmethod
    def open(cls, vectors: Any, *, unit: bool = False) -> Matrix:
        """Check vectors, reading each once.

        Args:
            vectors: (n, d) floats, in memory or on disk; or a Matrix, which has been checked.
            unit: whether rows are to have length 1. They are divided by their length when they are read, also those
                that are meant to have it: in float16 lengths are off by up to 5e-4, as much as a fine threshold.

        Raises:
            DataError: another shape, or something other than floating-point numbers.
            BadVector: a row with NaN or infinity, or of length 0 where a direction is needed; it says which.
        """
        if isinstance(vectors, Matrix):
            return vectors if not unit or vectors.scale is not None else cls.open(vectors.rows, unit=True)
        rows: Any = vectors if hasattr(vectors, "shape") and hasattr(vectors, "dtype") else np.asarray(vectors)
        if len(rows.shape) != 2 or 0 in rows.shape or np.dtype(rows.dtype).kind not in "fiu":
            raise DataError(
                f"vectors of shape {tuple(rows.shape)} and type {rows.dtype}: give one vector of numbers per example, "
                "shape (n, d)."
            )
        scale = np.empty(rows.shape[0], dtype=np.float32)
        step = max(1, _CHECKED_AT_ONCE // rows.shape[1])
        for lo in range(0, len(scale), step):
            part = np.asarray(rows[lo : lo + step], dtype=np.float64)
            length = np.sqrt(np.einsum("ij,ij->i", part, part))
            bad = ~np.isfinite(length) if not unit else ~(np.isfinite(length) & (length > 0))
            if bad.any():
                row = int(bad.argmax())
                raise BadVector(lo + row, "all zeros" if length[row] == 0 else "not finite")
            scale[lo : lo + step] = 1 / np.maximum(length, 1e-300) if unit else 1
        return cls(rows, scale if unit else None)

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return int(self.rows.shape[1])

    def take(self, rows: Any) -> np.ndarray:
        """The vectors of a slice or an integer array: (m, d) float32, contiguous."""
        part = np.ascontiguousarray(self.rows[rows], dtype=np.float32)
        return part if self.scale is None else part * self.scale[rows, None]

    def blocks(self, size: int) -> Iterator[tuple[slice, np.ndarray]]:
        """All vectors in order, `size` at a time, each with the slice of rows that it is."""
        for lo in range(0, len(self), size):
            span = slice(lo, min(lo + size, len(self)))
            yield span, self.take(span)

    def part(self, rows: np.ndarray) -> Matrix:
        """The vectors of some rows as a matrix of their own, still read from where they are."""
        return Matrix(_Part(self.rows, rows), None if self.scale is None else self.scale[rows])


@dataclass(frozen=True, eq=False)
class _Part:
    rows: Rows
    index: np.ndarray

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.index), *self.rows.shape[1:]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.rows.dtype

    def __getitem__(self, rows: Any) -> Any:
        return self.rows[self.index[rows]]
