"""Ids: one distinct string per example, kept in Arrow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.errors import DataError

__all__ = ["RowNumbers", "distinct_ids", "row_numbers"]


def row_numbers(n: int) -> pa.Array:
    """The ids of data without ids of its own: "0", "1", …"""
    return pa.array(np.arange(n)).cast(pa.string())


class RowNumbers:
    """The same ids, made one at a time: for naming an example in an error."""

    def __init__(self, n: int) -> None:
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __getitem__(self, row: int) -> pa.Scalar:
        return pa.scalar(str(row))


def distinct_ids(values: Any, what: str) -> pa.Array:
    """Values (n,) as distinct ids.

    Args:
        values: Arrow or numpy array or sequence of strings or integers.
        what: where they come from, for an error.

    Raises:
        DataError: an id is missing or occurs twice (it names the first one), or the type cannot be an id.
    """
    ids = _strings(values, what)
    if ids.null_count:
        raise DataError(f"{what} has no id in row {pc.index(pc.is_null(ids), True).as_py()}: give an id for every row.")
    codes = ids.dictionary_encode().indices.to_numpy()
    # Codes count up with each new value, so the first repeat is the first row whose code is not its position.
    repeats = np.flatnonzero(codes != np.arange(len(ids)))
    if len(repeats):
        first = int(repeats[0])
        raise DataError(
            f"{what} is not unique: {ids[first].as_py()!r} is in rows {int(codes[first])} and {first}. "
            "Name another column with id=COLUMN (--id COLUMN), or use row numbers with id='row' (--id row)."
        )
    return ids


def _strings(values: Any, what: str) -> pa.Array:
    try:
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        return array.cast(pa.string())
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{what} cannot be read as ids ({error}): give strings or whole numbers.") from error
