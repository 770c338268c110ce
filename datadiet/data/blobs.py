"""Image files as bytes: those of a folder, in a column of a table, or named by one."""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from datadiet.data.tables import Folders
from datadiet.errors import DataError
from datadiet.files.opening import read_bytes

__all__ = ["Blobs", "Files", "Places", "read_blob"]

HEAD = 16 << 10
"""As many bytes hold the header of most images."""


@dataclass(frozen=True, eq=False)
class Files:
    """Files below a folder, by their relative POSIX paths."""

    root: Path
    paths: pa.Array

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> bytes:
        return read_blob(self.file(i))

    def head(self, i: int) -> bytes:
        """The first bytes of row i."""
        return read_blob(self.file(i), HEAD)

    def file(self, i: int) -> str:
        """The path of row i."""
        return os.path.join(self.root, self.paths[i].as_py())


@dataclass(frozen=True)
class Places:
    """Where the files are that a table names.

    Attributes:
        folders: the folders that relative paths start from, those of the files of the table; empty = they start here.
        only: the one folder that may be read, or None for all.
    """

    folders: Folders
    only: Path | None = None

    def find(self, path: str, row: int) -> Path:
        """The path that a row names."""
        if not self.folders:
            return Path(path)
        return self.folders[bisect_right(self.folders, row, key=lambda entry: entry[0]) - 1][1] / path

    def allowed(self, path: Path) -> Path:
        """The path; DataError if it leads, also through links, outside the one folder that may be read."""
        if self.only is not None and not _resolved(path).is_relative_to(_resolved(self.only)):
            raise DataError(f"{path} is outside {self.only}, the only folder that --allow-paths (allow_paths=) allows.")
        return path


@dataclass(frozen=True, eq=False)
class Blobs:
    """Image files in a table: bytes, or paths if the bytes are missing."""

    blobs: pa.ChunkedArray | None
    paths: pa.ChunkedArray | None
    places: Places

    def __len__(self) -> int:
        column = self.paths if self.blobs is None else self.blobs
        return 0 if column is None else len(column)

    def __getitem__(self, i: int) -> bytes:
        return self._read(i)

    def head(self, i: int) -> bytes:
        """The first bytes of row i, or more."""
        return self._read(i, HEAD)

    def _read(self, i: int, size: int = -1) -> bytes:
        blob: bytes | None = None if self.blobs is None else self.blobs[i].as_py()
        if blob is not None:
            return blob
        path = self.file(i)
        if path is None:
            raise DataError("the image is missing.")
        return read_blob(self.places.allowed(Path(path)), size)

    def file(self, i: int) -> str | None:
        """The path of row i, if it has one."""
        path = None if self.paths is None else self.paths[i].as_py()
        return None if path is None else str(self.places.find(path, i))


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{path} leads to no file (its links form a loop, or it holds a NUL): check it.") from error


def read_blob(path: str | Path, size: int = -1) -> bytes:
    """The first `size` bytes of an image file (-1 = all); DataError naming it if it cannot be read or is empty."""
    blob = read_bytes(path, "a readable image", size=size)
    if not blob:
        raise DataError(f"{path} is empty.")
    return blob
