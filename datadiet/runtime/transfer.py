"""Files of a run on their way between machines that share no disk, in pieces."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.files.writing import appearing

__all__ = ["PIECE", "Arrivals", "Departures", "Piece", "pieces_of"]

PIECE = 64 << 20  # bytes
_KEPT = 4  # files whose pieces are kept for the next receiver


@dataclass(frozen=True)
class Piece:
    """A part of a file.

    Attributes:
        path: of the file, relative to the run.
        data: (m,) uint8.
        last: whether the file ends here.
    """

    path: str
    data: np.ndarray
    last: bool


def pieces_of(folder: Path, path: str) -> Iterator[Piece]:
    """A file in pieces of at most 64 MiB, at least one."""
    size = (folder / path).stat().st_size
    with (folder / path).open("rb") as file:
        for start in range(0, max(size, 1), PIECE):
            yield Piece(path, np.frombuffer(file.read(PIECE), dtype=np.uint8), start + PIECE >= size)


class Departures:
    """Files for several receivers: their pieces are stored once.

    Args:
        put: stores a piece, and returns a reference to it.
    """

    def __init__(self, put: Callable[[Piece], Any]) -> None:
        self.put = put
        self._stored: dict[tuple[str, int], list[Any]] = {}

    def of(self, folder: Path, path: str) -> list[Any]:
        """References to the pieces of a file as it is now."""
        key = path, (folder / path).stat().st_mtime_ns
        pieces = self._stored.pop(key, None) or [self.put(piece) for piece in pieces_of(folder, path)]
        self._stored[key] = pieces
        if len(self._stored) > _KEPT:
            del self._stored[next(iter(self._stored))]
        return pieces


class Arrivals:
    """Puts the pieces from one sender together; a file appears when it is complete.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: dict[str, Generator[None, np.ndarray, None]] = {}

    def add(self, piece: Piece) -> bool:
        """Take the next piece of its file, and say whether that is complete now."""
        writer = self._open.get(piece.path)
        if writer is None:
            writer = self._open[piece.path] = _written(self.folder / piece.path)
            next(writer)
        writer.send(piece.data)
        if piece.last:
            del self._open[piece.path]
            next(writer, None)
        return piece.last

    def drop(self) -> None:
        """Forget the files that are not complete: their sender is gone."""
        while self._open:
            self._open.popitem()[1].close()


def _written(path: Path) -> Generator[None, np.ndarray, None]:
    """A file to which arrays of bytes are sent; the first None ends it. Closed earlier, it leaves nothing behind."""
    with appearing(path, overwrite=True) as temporary, temporary.open("xb") as file:
        while (data := (yield)) is not None:
            file.write(data.data)
