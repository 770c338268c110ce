"""Tables that other libraries make: their columns, and what the index of pandas says about their rows.

An index that is a permutation of 0..n-1 says which example each row is, whatever its name; one that is named "id" holds
the ids; any other says nothing. It is never a score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.arrays import in_numpy
from datadiet.data.labels import without_nan_texts
from datadiet.errors import DataError, OptionError, first_line
from datadiet.files.opening import json_of
from datadiet.files.tables import refuse_twice

__all__ = [
    "INDEX", "array_of", "by_own_index", "check_arrays", "frame_columns", "is_frame", "is_index", "order_of",
    "own_order", "shape_of", "stored_columns",
]  # fmt: skip

_NARROW = (1 << 31) - 1  # bytes of text that one array of a type with 32-bit offsets holds
_WIDE = {pa.string(): pa.large_string(), pa.binary(): pa.large_binary()}

INDEX = "__index_level_0__"
_UNNAMED = ("", "Unnamed: 0")  # what pandas calls an index without a name in CSV


def is_index(name: str) -> bool:
    """Whether this is what pandas calls an index without a name, in CSV and in Parquet."""
    return name in _UNNAMED or name.startswith("__index_level_")


def is_frame(given: Any) -> bool:
    """Whether this is a data frame of pandas."""
    return hasattr(given, "iloc") and hasattr(given, "columns")


def order_of(numbers: np.ndarray) -> np.ndarray | None:
    """The places (n,) of 0, 1, … n-1 in a permutation of them; None for anything else.

    >>> order_of(np.array([2, 0, 1])).tolist(), order_of(np.array([0, 0, 1]))
    ([1, 2, 0], None)
    """
    n = len(numbers)
    if numbers.dtype.kind == "f" and n and numbers.min() >= 0 and numbers.max() < n:
        whole = numbers.astype(np.int64)
        numbers = whole if (whole == numbers).all() else numbers
    if numbers.dtype.kind not in "iu" or (n and (numbers.min() != 0 or numbers.max() != n - 1)):
        return None
    order = np.full(n, -1, dtype=np.int64)
    order[numbers] = np.arange(n)
    return None if (order < 0).any() else order


def own_order(values: Any) -> np.ndarray | None:
    """The places (n,) of the examples in a data frame or series, by its index; None if it does not say."""
    index = values.index if hasattr(values, "iloc") else None
    if index is None or index.nlevels > 1 or index.name == "id":
        return None
    return order_of(np.asarray(index))


def by_own_index(values: Any) -> Any:
    """A data frame or series with its rows in the order of the examples, by its index; anything else as it is."""
    order = own_order(values)
    return values if order is None or np.array_equal(order, np.arange(len(order))) else values.iloc[order]


def frame_columns(given: Any, what: str) -> dict[str, Any]:
    """The columns of a data frame, series or Arrow table, in the order of its rows.

    Raises:
        OptionError: something else.
        DataError: two columns of one name.
    """
    if hasattr(given, "iloc") and not is_frame(given):
        given = given.to_frame(given.name if isinstance(given.name, str) else "score")
    if is_frame(given):
        names = [str(name) for name in given.columns]
        refuse_twice(names, what)
        columns = {name: given.iloc[:, place] for place, name in enumerate(names)}
        ids = {"id": given.index.get_level_values("id")} if "id" in given.index.names else {}
        return ids | columns
    try:
        table = pa.table(given)
    except (pa.ArrowException, TypeError, ValueError):
        raise OptionError(
            f"{what} are of type {type(given).__name__}: give a dict of name -> (n,) numbers, such as "
            "{'score': values}, or a data frame."
        ) from None
    return _of_table(table, what)


def stored_columns(table: pa.Table, what: str) -> dict[str, Any]:
    """The columns of a table from a Parquet file, with the index of the frame that it was written from as INDEX.

    Raises:
        DataError: two columns of one name.
    """
    columns = _of_table(table, what)
    about = json_of((table.schema.metadata or {}).get(b"pandas"))
    listed = about.get("index_columns") if isinstance(about, dict) else None
    levels = listed if isinstance(listed, list) else []
    named = {level: columns.pop(level) for level in levels if isinstance(level, str) and level in columns}
    if "id" in named:
        return {"id": named["id"]} | columns
    return (_stored_index(named, levels, table.num_rows) if len(levels) == 1 else {}) | columns


def _stored_index(named: dict[str, Any], levels: list[Any], n: int) -> dict[str, Any]:
    """The index itself: a column, or a range that stands in the description alone."""
    if named:
        return {INDEX: next(iter(named.values()))}
    if isinstance(levels[0], dict) and levels[0].get("kind") == "range":
        steps = range(*(int(levels[0][key]) for key in ("start", "stop", "step")))
        key = "index" if levels[0].get("name") == "index" else INDEX
        return {key: np.array(steps)} if len(steps) == n else {}
    return {}


def shape_of(values: Any) -> tuple[int, ...]:
    """The shape of anything array-like; of lists of different lengths, that of the outer one with -1."""
    try:
        return tuple(np.shape(values))
    except ValueError:
        return (len(values), -1)


def check_arrays(columns: Mapping[Any, Any]) -> None:
    """Refuse columns that are not one number per example under a name.

    Raises:
        OptionError: a name that is not a string, or shapes other than (n,).
    """
    other = [name for name in columns if not isinstance(name, str)]
    if other:
        raise OptionError(f"a score column is named {other[0]!r}: name the columns with strings.")
    shapes = {shape_of(values) for values in columns.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise OptionError(
            f"score arrays of shapes {sorted(shapes)}: give one number per example, shape (n,), all the same n; "
            "vectors, of shape (n, d), are read from .npy."
        )


def array_of(values: Any, what: str) -> pa.Array:
    """Any (n,) values as one Arrow array.

    Raises:
        DataError: another shape, or values that Arrow does not know.
    """
    if isinstance(values, pa.ChunkedArray):
        wide = _WIDE.get(values.type) if values.nbytes > _NARROW else None
        values = (values if wide is None else values.cast(wide)).combine_chunks()
    if isinstance(values, pa.Array):
        return values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    if hasattr(values, "detach"):
        values = in_numpy(values, what, DataError)
    if hasattr(values, "sparse"):
        values = values.sparse.to_dense()
    try:
        if hasattr(values, "iloc") and not isinstance(values.dtype, np.dtype):
            return array_of(pa.array(values), what)  # categories, strings, and numbers of which some are missing
        masked = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
        values = values.data if masked is not None else values
        names = isinstance(values, (list, tuple)) and any(isinstance(value, str) for value in values)
        array = np.asarray(values, dtype=object if names else None)  # not the text "nan" for a missing name
        if array.ndim != 1:
            raise DataError(f"{what} has shape {array.shape}: give one number per example, shape (n,).")
        if array.dtype.kind == "c":
            raise DataError(f"{what} holds complex numbers: give real ones.")
        wide = array.dtype.kind == "f" and array.dtype.itemsize > 8
        array = array.astype(np.float64 if wide else array.dtype.newbyteorder("="), copy=False)
        return pa.array(without_nan_texts(array), mask=masked, from_pandas=array.dtype.kind in "OU")
    except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{what} cannot be read as one value per example ({first_line(error)}).") from None


def _of_table(table: pa.Table, what: str) -> dict[str, Any]:
    refuse_twice(table.column_names, what)
    return {name: table[name] for name in table.column_names}
