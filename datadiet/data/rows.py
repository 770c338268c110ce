"""The kinds of rows that a data set can hold, behind one small protocol.

`Encoded` holds images as bytes, `Dense` one array, `Items` anything with `len` and `[i]`, `Texts` texts for a text
encoder, and `Unusable` rows that have ids and labels but nothing to feed a model. Errors raised here do not name the
example: `InputReader` knows the ids and adds it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from datadiet.data.decode import GRAY_MODES, as_input, decode_image, read_header
from datadiet.data.identity import evenly_spaced
from datadiet.errors import DataError, named
from datadiet.progress import steps

__all__ = ["Dense", "Encoded", "Items", "Rows", "Texts", "Unusable"]

_PROBES = 64
_TEXT = (
    "a text is neither an image nor an array of numbers: embed texts with a text encoder (dd.embed, datadiet embed)."
)


class Rows(Protocol):
    """What `InputReader` reads from. `kind` says what the fingerprint covers: "bytes", "text" or "array"."""

    @property
    def kind(self) -> str: ...

    def __len__(self) -> int: ...

    def raw(self, i: int) -> bytes | np.ndarray:
        """Row i as it is stored: encoded bytes or an array."""
        ...

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of `decode(i)`, read as cheaply as possible."""
        ...

    def decode(self, i: int) -> np.ndarray:
        """Row i as an input, (C, H, W) or (d,), uint8, int64 or float32."""
        ...


@dataclass(frozen=True, eq=False)
class Encoded:
    """Images as encoded bytes; RGB unless every image is grayscale.

    Attributes:
        blobs: the n images.
        mode: "L" or "RGB", if the data set declares it, as `datasets.Image(mode=…)` does.
    """

    blobs: Sequence[bytes] | Any
    kind: str = "bytes"
    mode: str | None = None

    def __len__(self) -> int:
        return len(self.blobs)

    def raw(self, i: int) -> bytes:
        """The encoded bytes of row i."""
        blob: bytes = self.blobs[i]
        return blob

    def file(self, i: int) -> str | None:
        """The file of row i, if it has one."""
        find = getattr(self.blobs, "file", None)
        return None if find is None else find(i)

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of row i as an input."""
        _, _, height, width = read_header(self.raw(i))
        return (1 if self.gray else 3, height, width)

    def decode(self, i: int) -> np.ndarray:
        """Row i as an input."""
        return decode_image(self.raw(i), self.gray)

    @cached_property
    def gray(self) -> bool:
        """Whether all images are grey, or what the data set declares."""
        if self.mode is not None:
            return self.mode in GRAY_MODES
        some = evenly_spaced(len(self), _PROBES).tolist()  # a look at these is enough for most images in colour
        return self._are_gray(some) and self._are_gray(steps("looking for colour", range(len(self))))

    def _are_gray(self, rows: Iterable[int]) -> bool:
        """Whether there are images and all are grey, of those that can be read; others are reported when they are."""
        found = False
        for mode in filter(None, map(self._mode, rows)):
            if mode not in GRAY_MODES:
                return False
            found = True
        return found

    def _mode(self, i: int) -> str | None:
        for read in (getattr(self.blobs, "head", self.raw), self.raw):
            try:
                return read_header(read(i))[1]
            except DataError:  # the head may not hold all of the header
                continue
        return None


@dataclass(frozen=True, eq=False)
class Dense:
    """One array (n, …) that already has the layout of inputs (see `as_batch`)."""

    array: np.ndarray
    kind: str = "array"

    def __len__(self) -> int:
        return len(self.array)

    def raw(self, i: int) -> np.ndarray:
        """Row i as it is stored."""
        row: np.ndarray = self.array[i]
        return row

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of row i as an input."""
        return self.array.shape[1:]

    def decode(self, i: int) -> np.ndarray:
        """Row i as an input."""
        return self.raw(i)


@dataclass(frozen=True, eq=False)
class Items:
    """Whatever `values[i]` returns: arrays, tensors, PIL images, nested lists."""

    values: Any
    kind: str = "array"

    def __len__(self) -> int:
        return len(self.values)

    def raw(self, i: int) -> bytes | np.ndarray:
        """Row i as it is stored."""
        value = self.value(i)
        return value.encode() if isinstance(value, str) else as_input(value)

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of row i as an input."""
        return self.decode(i).shape

    def decode(self, i: int) -> np.ndarray:
        """Row i as an input."""
        return as_input(self.value(i))

    def value(self, i: int) -> Any:
        """Row i as the data set returns it."""
        try:
            return self.values[i]
        except DataError:
            raise
        except Exception as error:  # the user's own code
            raise DataError(f"the data set cannot read it ({named(error)}).") from error


@dataclass(frozen=True, eq=False)
class Texts:
    """Texts: `values[i]` is a str or an Arrow string. A text encoder reads them; they have no shape and no numbers."""

    values: Any
    kind: str = "text"

    def __len__(self) -> int:
        return len(self.values)

    def raw(self, i: int) -> bytes:
        """Row i in UTF-8."""
        return self.text(i).encode("utf-8", "surrogatepass")

    def text(self, i: int) -> str:
        """Row i."""
        value = self.values[i]
        value = value.as_py() if isinstance(value, pa.Scalar) else value
        if not isinstance(value, str):
            raise DataError("its text is missing.")
        return value

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of row i as an input."""
        raise DataError(_TEXT)

    def decode(self, i: int) -> np.ndarray:
        """Row i as an input."""
        raise DataError(_TEXT)


@dataclass(frozen=True, eq=False)
class Unusable:
    """Rows of a table without a column for the input; `problem` is the error when one is read."""

    table: pa.Table
    problem: str
    kind: str = "bytes"

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def raw(self, i: int) -> bytes:
        """Row i as it is stored."""
        row = self.table.slice(i, 1).to_pylist()[0]
        return json.dumps(row, sort_keys=True, default=_plain).encode()

    def shape(self, i: int) -> tuple[int, ...]:
        """The shape of row i as an input."""
        raise DataError(self.problem)

    def decode(self, i: int) -> np.ndarray:
        """Row i as an input."""
        raise DataError(self.problem)


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)
