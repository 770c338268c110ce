"""Model inputs of a data set, decoded on demand and kept in one array if they fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch

from datadiet.data.decode import fit
from datadiet.data.identity import evenly_spaced
from datadiet.data.rows import Dense, Encoded, Items, Rows, Texts, Unusable
from datadiet.errors import DataError
from datadiet.progress import steps

__all__ = ["MEMORY_LIMIT", "InputReader"]

MEMORY_LIMIT = 2 << 30
"""Decoded inputs of at most this many bytes are kept in memory, so that each example is decoded only once."""

T = TypeVar("T")
_LARGE_BLOB = 8 << 10
_LOOKED_AT = 256  # rows at a time
_NOT_FINITE = "its input holds a missing or infinite value, or one beyond ±3.4e38, the range of float32"
_LISTED = 5  # unreadable examples in one message


@dataclass(frozen=True, eq=False)
class InputReader:
    """All rows of an opened data set as tensors; shared by a source and its subsets.

    Attributes:
        rows: the rows to read.
        ids: (n,) strings, one per row, for naming an example in an error.
        size: side in pixels to resize and crop to, or None for the stored size.
    """

    rows: Rows
    ids: pa.Array
    size: int | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Without the decoded inputs: another process decodes those that it needs."""
        return {name: value for name, value in vars(self).items() if name not in ("_memory", "_done")}

    @property
    def uniform(self) -> bool:
        """Whether evenly spaced inputs (1024 of them for images) share one shape; if not, use `Source.resized`."""
        return self.size is not None or len(self._stored_shapes) == 1

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """The shape of one input.

        Raises:
            DataError: the shapes differ, or the data has no inputs.
        """
        shapes = sorted(self._stored_shapes)
        if self.size is not None:
            if len(shapes[0]) == 3:
                return (shapes[0][0], self.size, self.size)
            if len(shapes) == 1:
                raise DataError(
                    f"inputs of shape {shapes[0]} have no height and width, so they cannot be resized: give images."
                )
        if len(shapes) > 1:
            raise DataError(
                f"inputs differ in shape, for example {shapes[0]} and {shapes[-1]}: {_advice(shapes[0], shapes[-1])}"
            )
        return shapes[0]

    @cached_property
    def dtype(self) -> torch.dtype:
        """torch.uint8 (images of 8 bits), torch.int64 (other integers) or torch.float32."""
        return torch.from_numpy(np.empty(0, self._numpy_dtype)).dtype

    @property
    def in_memory(self) -> bool:
        """Whether decoded inputs are kept."""
        return self._memory is not None

    def take(self, index: np.ndarray) -> torch.Tensor:
        """Inputs (B, …) of the rows at `index` (B,) int64.

        Raises:
            DataError: a row cannot be decoded, has another shape, or holds NaN or an infinite value.
        """
        if self._memory is None:
            batch = self._stacked(index)
        else:
            missing = np.unique(index[~self._done[index]])
            for i, value in zip(missing.tolist(), self._decoded(missing), strict=True):
                self._memory[i] = value
                self._done[i] = True
            batch = self._memory.take(index, axis=0)
        if batch.dtype == np.float32 and not np.isfinite(batch).all():
            bad = ~np.isfinite(batch.reshape(len(batch), -1)).all(axis=1)
            raise DataError(f"{self.name(int(index[bad.argmax()]))}: {_NOT_FINITE}.")
        return torch.from_numpy(batch)

    def look_at(self, index: np.ndarray) -> None:
        """Read the rows at `index` (m,) int64 if they are kept in memory; larger data is checked when it is read.

        Raises:
            DataError: as in `take`; if rows cannot be decoded, it lists them.
        """
        if self.are_texts:
            self.texts(index)
            return
        try:
            for lo in range(0, len(index) if self.in_memory else 0, _LOOKED_AT):
                self.take(index[lo : lo + _LOOKED_AT])
        except DataError:
            self.refuse_faults(index)
            raise

    def refuse_faults(self, index: np.ndarray) -> None:
        """Refuse the rows at `index` (m,) int64 if some cannot be read.

        Raises:
            DataError: it lists them.
        """
        faults = self.faults(index)
        listed = "; ".join(f"{self.name(i)}: {why.rstrip('.')}" for i, why in list(faults.items())[:_LISTED])
        more = f"; and {len(faults) - _LISTED} more" if len(faults) > _LISTED else ""
        if faults:
            raise DataError(
                f"{len(faults)} of {len(index)} examples cannot be read ({listed}{more}): fix them, or leave them out "
                "with --on-error skip (on_error='skip')."
            ) from None

    @property
    def are_texts(self) -> bool:
        """Whether each row is a text, which has no shape and no numbers."""
        return isinstance(self.rows, Texts)

    def texts(self, index: np.ndarray) -> list[str]:
        """The texts of the rows at `index` (B,) int64.

        Raises:
            DataError: the rows are not texts, or one is missing.
        """
        if not isinstance(self.rows, Texts):
            raise DataError("the examples are not texts: name a column of texts with --text (text=).")
        return [self._named(self.rows.text, i) for i in index.tolist()]

    def items(self, index: np.ndarray) -> list[np.ndarray]:
        """The inputs of the rows at `index` (B,) int64, each in its own size; they are not kept in memory.

        Raises:
            DataError: a row cannot be decoded.
        """
        return [self._named(self.rows.decode, i) for i in index.tolist()]

    def raw(self, i: int) -> bytes | np.ndarray:
        """Row i as it is stored."""
        return self._named(self.rows.raw, i)

    def name(self, i: int) -> str:
        """How an error names row i: its id, and its file if the id is not that."""
        id, file = self.ids[i].as_py(), self.rows.file(i) if isinstance(self.rows, Encoded) else None
        return f"example {id!r}" + ("" if file is None or file.endswith(id) else f" ({file})")

    def faults(self, index: np.ndarray) -> dict[int, str]:
        """The rows among `index` that cannot be decoded -> the reason; reads each once."""
        found = {}
        for i in steps("checking the examples", [] if isinstance(self.rows, Unusable) else index.tolist()):
            try:
                if isinstance(self.rows, Texts):
                    self.rows.text(i)
                elif not np.isfinite(self.rows.decode(i)).all():
                    found[i] = f"{_NOT_FINITE}."
            except DataError as error:
                found[i] = str(error)
        return found

    @cached_property
    def _stored_shapes(self) -> set[tuple[int, ...]]:
        # An array gives its shape at once, a header is cheap to read, other rows must be decoded.
        cost = 1 if isinstance(self.rows, Dense) else 64 if self.rows.kind == "array" else 1024
        return set(self._probed(self.rows.shape, cost))

    @cached_property
    def _numpy_dtype(self) -> np.dtype[np.generic]:
        kinds = self._probed(lambda i: self.rows.decode(i).dtype, 64 if isinstance(self.rows, Items) else 8)
        return np.result_type(np.float32) if np.float32 in kinds else kinds[0]

    def _probed(self, read: Callable[[int], T], count: int) -> list[T]:
        """The results of `read` on evenly spaced rows; skips damaged ones, which are reported when they are read."""
        values, problem = [], None
        for i in evenly_spaced(len(self.rows), count).tolist():
            try:
                values.append(read(i))
            except DataError as error:
                problem = problem or error
        if not values and problem is not None:
            raise problem
        return values

    @cached_property
    def _memory(self) -> np.ndarray | None:
        if isinstance(self.rows, Dense) and self.size is None:
            return self.rows.array
        size = len(self.rows) * math.prod(self.shape) * self._numpy_dtype.itemsize
        return np.empty((len(self.rows), *self.shape), self._numpy_dtype) if size <= MEMORY_LIMIT else None

    @cached_property
    def _done(self) -> np.ndarray:
        return np.full(len(self.rows), isinstance(self.rows, Dense) and self.size is None)

    def _stacked(self, index: np.ndarray) -> np.ndarray:
        """The rows at `index` (B,) in one array, laid out as they are decoded: images in colour with channels last."""
        batch = np.empty((len(index), *self.shape), self._numpy_dtype)
        for place, row in enumerate(self._decoded(index)):
            if place == 0 and not row.flags.c_contiguous and row.ndim == 3:
                batch = np.moveaxis(np.empty((len(index), *row.shape[1:], row.shape[0]), row.dtype), 3, 1)
            batch[place] = row
        return batch

    def _decoded(self, index: np.ndarray) -> Iterable[np.ndarray]:
        threads = torch.get_num_threads()
        if threads == 1 or len(index) < 2 * threads or not self._large:
            return map(self._row, index.tolist())
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(self._row, index.tolist()))

    @cached_property
    def _large(self) -> bool:
        # Pillow lets other threads run while it decodes; for thumbnails the hand-over costs more than it saves.
        return self.rows.kind == "bytes" and max(map(len, self._probed(self.rows.raw, 8))) >= _LARGE_BLOB

    def _named(self, read: Callable[[int], T], i: int, advice: str = "") -> T:
        """The result of `read` on row i; an error names the example, and ends with advice."""
        try:
            return read(i)
        except DataError as error:
            raise DataError(f"{self.name(i)}: {str(error).rstrip('.')}{advice}.") from error

    def _row(self, i: int) -> np.ndarray:
        size = self.size
        decode = self.rows.decode if size is None else lambda row: fit(self.rows.decode(row), size)
        value = self._named(decode, i, "; --on-error skip (on_error='skip') leaves such examples out")
        if value.dtype == np.int64 and self._numpy_dtype == np.float32:
            value = value.astype(np.float32)  # [1, 2] among lists of other numbers
        if value.shape != self.shape or value.dtype != self._numpy_dtype:
            raise DataError(
                f"{self.name(i)} is {value.dtype} of shape {value.shape}, others are {self._numpy_dtype} of shape "
                f"{self.shape}: {_advice(value.shape, self.shape)}"
            )
        return value


def _advice(shape: tuple[int, ...], other: tuple[int, ...]) -> str:
    if len(shape) == len(other) == 3 and shape[0] != other[0]:
        return "give all images the same channels, as image.convert('RGB') does."
    if len(shape) == 3:
        return "give them one size with Source.resized(SIZE)."
    return "all examples need the same number of values, so pad token ids to one length."
