"""The columns that identify the examples of every artefact: `index` (position in the source) and `id`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.arrow import to_arrow
from datadiet.data.identity import other_ids
from datadiet.data.ids import distinct_ids
from datadiet.errors import DataError, FingerprintMismatch
from datadiet.table.frames import stored_columns
from datadiet.table.ids import Ids
from datadiet.table.incoming import whole_numbers

if TYPE_CHECKING:
    from datadiet.data import Source

__all__ = ["as_ids", "check_places", "ordered_rows", "positions_of", "rows_of_ids"]

_log = logging.getLogger("datadiet")


def as_ids(ids: Ids | None, index: np.ndarray) -> pa.Array:
    """The ids as Arrow strings; if the source has none, the positions."""
    return pc.cast(to_arrow(index), pa.string()) if ids is None else ids.arrow


def positions_of(given: Ids, ids: pa.Array, index: np.ndarray, what: str) -> np.ndarray:
    """The positions (m,) of examples that are known by id alone; a note counts those of the data that are not given.

    Args:
        given: m ids.
        ids: n ids of the data at hand.
        index: (n,) its positions.
        what: whose ids they are, for an error.

    Raises:
        FingerprintMismatch: the data has no example of that id.
    """
    rows = pc.index_in(given.arrow, value_set=ids)
    if rows.null_count:
        if rows.null_count == len(rows):
            raise other_ids(what, given.arrow, ids)
        missing = given.arrow.filter(rows.is_null())[0].as_py()
        raise FingerprintMismatch(
            f"{what} belongs to another data set: the data at hand has no example {missing!r} ({rows.null_count} such "
            "in all). Give the data it was made from."
        )
    found = rows.to_numpy(zero_copy_only=False)
    if len(found) < len(ids):
        left = np.ones(len(ids), dtype=bool)
        left[found] = False
        _log.warning(
            "%s has no row for %d of the %d examples of the data, such as %r: they are left out",
            what, len(ids) - len(found), len(ids), ids[int(left.argmax())].as_py(),
        )  # fmt: skip
    return index[found]


def rows_of_ids(given: pa.Array, ids: pa.Array, what: str) -> np.ndarray:
    """The rows (k,) of examples in a list of ids.

    Args:
        given: k ids.
        ids: n ids to look them up in.
        what: what lists them, for an error.

    Raises:
        DataError: an id is missing, occurs twice or is not there.
    """
    rows = pc.index_in(given.cast(ids.type), value_set=ids)
    if rows.null_count:
        unknown = given.filter(rows.is_null())
        some = ", ".join([*map(repr, unknown[:3].to_pylist()), *(["…"] if len(unknown) > 3 else [])])
        raise DataError(
            f"{what} names {some}, which is not among the examples ({len(unknown)} such of {len(given)}): give ids of "
            f"this data, such as {ids[0].as_py() if len(ids) else None!r}."
        )
    found = rows.to_numpy(zero_copy_only=False).astype(np.int64)
    values, counts = np.unique(found, return_counts=True)
    if len(values) < len(found):
        twice = ids[int(values[counts.argmax()])].as_py()
        raise DataError(f"{what} names {twice!r} {counts.max()} times: give each id once.")
    return found


def check_places(given: Ids | None, index: np.ndarray, source: Source, what: str) -> None:
    """Refuse a table whose columns `index` and `id` name different examples of the data at hand: it was edited.

    Args:
        given: its ids, or None.
        index: (m,) its positions.
        source: the data at hand.
        what: whose ids they are, for an error.

    Raises:
        DataError: an example has another id in the data; ids that are just the positions say nothing.
    """
    if given is None or source.positional_ids or given.arrow.equals(as_ids(None, index).cast(given.arrow.type)):
        return
    rows = np.minimum(np.searchsorted(source.index, index), len(source) - 1)
    ours = np.flatnonzero(source.index[rows] == index)
    there, here = given.arrow.take(pa.array(ours)), source.ids.take(pa.array(rows[ours])).cast(given.arrow.type)
    wrong = pc.not_equal(there, here)
    first = pc.index(wrong, True).as_py()
    if first >= 0:
        raise DataError(
            f"{what} says that example {index[ours[first]]} is {there[first].as_py()!r}, and in the data it is "
            f"{here[first].as_py()!r} ({pc.sum(wrong).as_py()} such in all): its rows were changed; make it again."
        )


def ordered_rows(
    table: pa.Table, path: Path, kind: str, identity: Mapping[str, Any] | None
) -> tuple[pa.Table, np.ndarray]:
    """The rows of a score or selection file in the order of its `index` column, ids as strings, and that column.

    Raises:
        DataError: no `index` or `id` column, no rows, positions that repeat, are not whole numbers from 0 or beyond the
            data that the identity block names, or a repeated id.
    """
    if "index" not in table.column_names and "index" in (stored := stored_columns(table, str(path))):
        table = table.append_column("index", pa.array(stored["index"]))
    for name in ("index", "id"):
        if name not in table.column_names:
            raise DataError(
                f"{path} has no column {name!r}, so it is not a datadiet {kind} file (its columns are "
                f"{', '.join(table.column_names)}): give a {kind} file, or a bare array as .npy, .csv or .json."
            )
    if not table.num_rows:
        raise DataError(f"{path} has no rows: there is nothing to use.")
    index = whole_numbers(table["index"], f"{path}: column 'index'")
    if (np.diff(index) < 0).any():
        order = np.argsort(index, kind="stable")
        table, index = table.take(to_arrow(order)), index[order]
    twice = index[1:][np.diff(index) == 0]
    if index[0] < 0 or len(twice):
        problem = f"{twice[0]} twice" if len(twice) else f"the negative {index[0]}"
        raise DataError(f"{path}: column 'index' holds {problem}: give each row once, numbered from 0.")
    n = (identity or {}).get("data", {}).get("n", index[-1] + 1)
    if index[-1] >= n:
        raise DataError(
            f"{path}: column 'index' holds {index[-1]}, and the data has {n} examples: its rows were changed; make it "
            "again."
        )
    ids = _positions(table["id"], index)
    if ids is None:
        ids = distinct_ids(table["id"], f"the column 'id' of {path}")
    return table.set_column(table.column_names.index("id"), "id", ids), index


def _positions(ids: pa.ChunkedArray, index: np.ndarray) -> pa.Array | None:
    """Ids that are just the positions, which are distinct already: to compare them takes a tenth of the time."""
    if ids[0].as_py() != str(index[0]):
        return None
    numbers = as_ids(None, index)
    return numbers if ids.type == numbers.type and ids.equals(pa.chunked_array([numbers])) else None
