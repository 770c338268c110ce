"""Ids: one distinct string per example, kept in Arrow, and lists of them in text files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.errors import DataError
from datadiet.files.opening import read_text

__all__ = ["RowNumbers", "as_strings", "distinct_ids", "read_id_lines", "row_numbers", "write_id_lines"]

# What some program takes for the end of a line (as str.splitlines does) or, at the beginning, for a byte order mark.
_UNFIT = "[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]|^\ufeff|^$"


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
    ids = as_strings(values, what)
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


def write_id_lines(path: Path, ids: pa.Array) -> None:
    """Write one id per line, in UTF-8.

    Raises:
        DataError: an id that is not one line.
    """
    first = pc.index(pc.match_substring_regex(ids, _UNFIT), True).as_py()
    if first >= 0:
        raise DataError(
            f"the id {ids[first].as_py()!r} does not fit in one line of text, so a list of ids cannot hold it: write "
            "the selection itself (.parquet), or name other ids, id= (--id COLUMN)."
        )
    path.write_text("".join(f"{id}\n" for id in ids.to_pylist()), encoding="utf-8", newline="\n")


def read_id_lines(path: str | Path) -> pa.Array:
    """The ids of a text file in UTF-8 with one per line; spaces belong to them.

    Raises:
        DataError: a missing file, or one with an empty line.
    """
    lines = read_text(path, "a list of ids, one per line in UTF-8").removeprefix("\ufeff").split("\n")
    lines = lines[:-1] if lines[-1] == "" else lines
    if "" in lines:
        raise DataError(f"{path}: line {lines.index('') + 1} is empty: give one id per line.")
    return pa.array(lines, pa.string())


def as_strings(values: Any, what: str) -> pa.Array:
    """Values (n,) as Arrow strings.

    Raises:
        DataError: their type cannot be an id.
    """
    try:
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else pa.array(values)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        return array.cast(pa.string())
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{what} cannot be read as ids ({error}): give strings or whole numbers.") from error
