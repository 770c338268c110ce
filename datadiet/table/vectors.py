"""Vectors on disk, read where they are: a .npy file, or the parts of a pass as one array that may exceed memory."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from datadiet.errors import DataError, OptionError, first_line

__all__ = ["Parts", "dimensions", "open_vectors", "part_span", "parts_of"]


_NAME = r"part-(\d+)-(\d+)"


class Parts:
    """The rows of several .npy files, one after the other, memory-mapped.

    It has the shape, dtype and length of one array, gives rows as arrays (by slice, integer or integer array), and
    becomes an array in memory under `numpy.asarray`.

    Args:
        paths: the files, in order of their rows.

    Attributes:
        name: their folder; within a run "features/seed-0/epoch-10".

    Raises:
        DataError: a file that is damaged or shorter than its header says, or of another width or type than the first.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._parts = [_mapped(Path(path)) for path in paths]
        first = self._parts[0]
        for path, part in zip(paths, self._parts, strict=True):
            if part.ndim != 2 or part.shape[1] != first.shape[1] or part.dtype != first.dtype:
                raise DataError(
                    f"{path} holds {part.dtype} of shape {part.shape} and {paths[0]} {first.dtype} of shape "
                    f"{first.shape}: remove the part that does not belong, and run the same command again."
                )
            if re.fullmatch(_NAME, Path(path).stem) and len(part) != np.diff(part_span(Path(path))):
                raise DataError(
                    f"{path} holds {len(part)} rows, and its name says another number: remove it, and run the same "
                    "command again."
                )
        folder = Path(paths[0]).parent.resolve()
        self.name = "/".join(folder.parts[-3:]) if folder.parts[-4:-3] == ("embeddings",) else folder.name
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
        out = np.empty((len(rows), self.shape[1]), dtype=self.dtype)
        home = np.searchsorted(self._edges, rows, side="right") - 1
        for number in np.unique(home):
            here = np.flatnonzero(home == number)
            out[here] = self._parts[number][rows[here] - self._edges[number]]
        return out

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


def parts_of(path: Path) -> Parts | None:
    """The parts in a folder, or of the first network of a run; None if there are none.

    Raises:
        DataError: rows are missing between them, or a part is damaged.
    """
    parts = _parts_in(path)
    if not parts:
        found = sorted({p.parent for p in path.glob("embeddings/features/seed-*/epoch-*/part-*.npy")}, key=_seed_epoch)
        parts = _parts_in(found[0]) if found else []
    if not parts:
        return None
    edges = [0, *(part_span(part)[1] for part in parts)]
    if [part_span(part)[0] for part in parts] != edges[:-1]:
        raise DataError(f"{parts[0].parent} has rows missing between its parts: run the same command again.")
    return Parts(parts)


def open_vectors(path: str | Path) -> np.ndarray | Parts:
    """Open vectors without reading them.

    Args:
        path: a .npy file of shape (n, d); a folder of `part-LO-HI.npy`; or a run folder that holds the features of one
            network, or of several, of which the first seed's at the last epoch are taken.

    Raises:
        DataError: no such path, no vectors there, a damaged or truncated file, a run that is not finished, or parts
            that are missing.
    """
    path = Path(path)
    if path.is_file():
        return _mapped(path)
    if not path.exists():
        raise DataError(f"{path} does not exist: give a .npy file, a folder of part-LO-HI.npy, or a run with vectors.")
    found = parts_of(path)
    if found is None:
        raise DataError(
            f"{path} holds no vectors: give a .npy file, a folder of part-LO-HI.npy, or a run made by datadiet embed."
        )
    run = next((folder for folder in (path, *path.resolve().parents[:4]) if (folder / "manifest.json").exists()), None)
    if run is not None:
        _check_whole(run, len(found))
    return found


def _check_whole(run: Path, rows: int) -> None:
    """Refuse the vectors of a run that has not written, or has lost, some of them."""
    table = run / "scores.parquet"
    if not table.exists():
        raise DataError(
            f"{run} is not finished, {rows} vectors are there: run the command that made it again, it continues."
        )
    examples = pq.read_metadata(table).num_rows
    if rows != examples:
        raise DataError(
            f"{run} holds {rows} vectors of {examples} examples, so a part is missing: run the command that made it "
            "again, it makes what is missing."
        )


def dimensions(path: Path) -> int | None:
    """The number of dimensions of the array in a .npy file by its header alone; None if it has no such header."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        with path.open("rb") as file:
            shape, _, _ = readers[np.lib.format.read_magic(file)](file)
    except (OSError, ValueError, KeyError):
        return None
    return len(shape)


def part_span(path: Path) -> tuple[int, int]:
    """The range of rows that a part is named after.

    Raises:
        OptionError: it is not named so.
    """
    found = re.fullmatch(_NAME, path.stem)
    if found is None:
        raise OptionError(f"{path} is not named part-LO-HI: give vectors as one .npy file, or name the parts so.")
    return int(found[1]), int(found[2])


def _parts_in(folder: Path) -> list[Path]:
    return sorted(folder.glob("part-*.npy"), key=part_span)


def _seed_epoch(folder: Path) -> tuple[int, int]:
    """The first seed first, and of it the last epoch."""
    return int(folder.parent.name[5:]), -int(folder.name[6:])


def _mapped(path: Path) -> np.ndarray:
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no whole .npy file ({first_line(error)}): write it again.") from None
    if not isinstance(found, np.ndarray):
        raise DataError(f"{path} is an archive of several arrays: save the vectors alone with numpy.save.")
    return found
