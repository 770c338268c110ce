"""Memory-mapped vectors: a .npy file, or the parts of a pass as one array that may exceed memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.errors import DataError, OptionError
from datadiet.files.opening import array_shape, load_array
from datadiet.files.tables import parquet_footer
from datadiet.parameters import in_a_line
from datadiet.runtime.layout import Layout, part_span, parts_in, vectors_name

__all__ = ["Parts", "dimensions", "open_vectors", "parts_of"]


class Parts:
    """The rows of several .npy files, one after the other, memory-mapped.

    It has the shape, dtype and length of one array and returns rows as arrays (by slice, integer or integer array);
    `numpy.asarray` loads it into memory.

    Args:
        paths: the files, in order of their rows.

    Attributes:
        name: their folder; within a run "features/seed-0/epoch-10".

    Raises:
        DataError: a file that is damaged, shorter than its header says, or different from the first in width or dtype.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._parts = [load_array(path, mapped=True) for path in paths]
        first = self._parts[0]
        for path, part in zip(paths, self._parts, strict=True):
            if part.ndim != 2 or part.shape[1] != first.shape[1] or part.dtype != first.dtype:
                raise DataError(
                    f"{path} holds {part.dtype} of shape {part.shape} and {paths[0]} {first.dtype} of shape "
                    f"{first.shape}: remove the part that does not belong, and run the same command again."
                )
            if len(part) != _rows_by_name(Path(path), len(part)):
                raise DataError(
                    f"{path} holds {len(part)} rows, but its name gives another number: remove it, and run the same "
                    "command again."
                )
        self.name = vectors_name(Path(paths[0]).parent)
        self._edges = np.cumsum([0, *(len(part) for part in self._parts)])
        self.shape = (int(self._edges[-1]), int(first.shape[1]))
        self.dtype = first.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"Parts({self.name!r}, shape={self.shape}, dtype={self.dtype})"

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, tuple) and rows and rows[0] is not Ellipsis:
            part, rest = self[rows[0]], rows[1:]
            paired = rest and np.ndim(rows[0]) == np.ndim(rest[0]) == 1
            return part[(np.arange(len(part)) if paired else slice(None), *rest)[2 - part.ndim :]]
        if rows is Ellipsis or isinstance(rows, tuple):
            return self[:][rows]
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                return self[np.arange(start, stop, step)]
            spans = zip(self._parts, self._edges[:-1], strict=True)
            inside = [part[max(0, start - lo) : max(0, stop - lo)] for part, lo in spans if lo < stop]
            inside = [part for part in inside if len(part)]
            inside = inside or [self._parts[0][:0]]
            return np.concatenate(inside) if len(inside) > 1 else np.asarray(inside[0])
        rows = np.asarray(rows)
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if rows.ndim == 0:
            return self[rows[None]][0]
        if len(rows) and not -len(self) <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"row {rows.max() if rows.max() >= len(self) else rows.min()} of {len(self)}")
        rows = np.where(rows < 0, rows + len(self), rows)
        return self.take(rows)

    def take(self, rows: np.ndarray, columns: slice = slice(None)) -> np.ndarray:
        """Some columns of some rows, (m,) in 0..n-1, without reading the others."""
        out = np.empty((len(rows), len(range(*columns.indices(self.shape[1])))), dtype=self.dtype)
        home = np.searchsorted(self._edges, rows, side="right") - 1
        for number in np.unique(home):
            here = np.flatnonzero(home == number)
            out[here] = self._parts[number][rows[here] - self._edges[number], columns]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def parts_of(path: Path) -> Parts | None:
    """The parts in a folder, or of the first network of a run; None if there are none.

    Raises:
        DataError: rows are missing between them, or a part is damaged.
    """
    parts = parts_in(path)
    if not parts:
        found = Layout(path).vector_folders()
        parts = parts_in(found[0]) if found else []
    if not parts:
        return None
    edges = [0, *(part_span(part)[1] for part in parts)]
    if [part_span(part)[0] for part in parts] != edges[:-1]:
        raise DataError(f"{parts[0].parent} has rows missing between its parts: run the same command again.")
    return Parts(parts)


def open_vectors(path: str | Path) -> np.ndarray | Parts:
    """Open vectors without reading them.

    Args:
        path: a .npy file of shape (n, d); a folder of `part-LO-HI.npy`; or a run folder that holds features; if it has
            those of several networks, the first seed's at its last epoch are opened.

    Raises:
        OptionError: not a path.
        DataError: no such path, no vectors there, a damaged or truncated file, an unfinished run, or missing parts.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise OptionError(
            f"{in_a_line(path)} is not a path: give a .npy file, a folder of part-LO-HI.npy, or a run with vectors."
        )
    path = Path(path)
    if os.path.isfile(path):
        return load_array(path, mapped=True)
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist: give a .npy file, a folder of part-LO-HI.npy, or a run with vectors.")
    found = parts_of(path)
    if found is None:
        raise DataError(
            f"{path} holds no vectors: give a .npy file, a folder of part-LO-HI.npy, or a run made by embed."
        )
    run = Layout.around(path)
    if run is not None:
        _check_whole(run, len(found))
    return found


def _check_whole(run: Layout, rows: int) -> None:
    """Refuse a run that has not written all of its vectors, or has lost some."""
    if not run.scores.exists():
        raise DataError(
            f"{run.path} is not finished (it holds {rows} vectors): rerun the command that made it, which continues."
        )
    examples = parquet_footer(run.scores).num_rows
    if rows != examples:
        raise DataError(
            f"{run.path} holds {rows} vectors of {examples} examples, so a part is missing: rerun the command that "
            "made it, which fills the gap."
        )


def dimensions(path: Path) -> int | None:
    """The number of dimensions of the array in a .npy file, from its header alone; None without a valid header."""
    shape = array_shape(path)
    return None if shape is None else len(shape)


def _rows_by_name(path: Path, rows: int) -> int:
    """The number of rows that a file's name gives; `rows` if it gives none."""
    try:
        lo, hi = part_span(path)
    except OptionError:
        return rows
    return hi - lo
