"""The columns that identify the examples of every artefact: `index` (position in the source) and `id`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.errors import DataError

__all__ = ["as_ids", "check_examples", "int_column"]


def as_ids(ids: pa.Array | pa.ChunkedArray | None, index: np.ndarray) -> pa.Array | pa.ChunkedArray:
    """The ids as Arrow strings; if the source has none, the positions."""
    return pc.cast(pa.array(index), pa.string()) if ids is None else ids


def int_column(table: pa.Table, name: str) -> np.ndarray:
    """A column as int64 (n,)."""
    return table[name].combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64, copy=False)


def check_examples(table: pa.Table, path: Path, kind: str) -> np.ndarray:
    """The checked `index` column of a score or selection file.

    Raises:
        DataError: no `index` or `id` column, no rows, positions that do not ascend, or a repeated id.
    """
    for name in ("index", "id"):
        if name not in table.column_names:
            raise DataError(
                f"{path} has no column {name!r}, so it is not a datadiet {kind} file (its columns are "
                f"{', '.join(table.column_names)}): give a {kind} file, or a bare array as .npy, .csv or .json."
            )
    if not table.num_rows:
        raise DataError(f"{path} has no rows: there is nothing to use.")
    try:
        index = int_column(table, "index")
    except (ValueError, TypeError, pa.ArrowException):
        raise DataError(f"{path}: column 'index' is {table['index'].type}, not int64: write the file again.") from None
    if index[0] < 0 or (np.diff(index) <= 0).any():
        raise DataError(f"{path}: column 'index' does not ascend from 0 or more: sort the rows by it and drop repeats.")
    if pc.count_distinct(table["id"], mode="all").as_py() != table.num_rows:
        counts = pc.value_counts(table["id"].combine_chunks())
        twice = counts.filter(pc.greater(counts.field("counts"), 1))[0]
        raise DataError(
            f"{path}: the id {twice['values'].as_py()!r} occurs {twice['counts']} times: ids must be unique."
        )
    return index
