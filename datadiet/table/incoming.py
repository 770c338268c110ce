"""Scores from elsewhere: arrays, data frames, and files that are not datadiet's, brought into the order of the data.

Whatever their form, they pass through one door, `incoming`: it finds the index, the ids and the labels, and takes every
other column of numbers as a score.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.arrow import from_arrow
from datadiet.data.identity import evenly_spaced
from datadiet.data.ids import RowNumbers, distinct_ids
from datadiet.data.labels import Labels, class_codes
from datadiet.errors import DataError
from datadiet.files.opening import load_array, load_arrays, open_file, parse_json, read_text
from datadiet.files.tables import parquet_table, read_csv, read_json_lines
from datadiet.parameters import in_words
from datadiet.table.frames import INDEX, array_of, is_index, order_of, own_order, stored_columns

__all__ = [
    "FOREIGN", "NOT_SCORES", "Incoming", "form_of", "incoming", "is_numeric", "read_columns", "score_values",
    "whole_numbers",
]  # fmt: skip

_log = logging.getLogger("datadiet")

FOREIGN = (".npy", ".npz", ".csv", ".json", ".jsonl")
_COMPRESSED = (".csv", ".jsonl")
NOT_SCORES = ("index", "id", "label", "cluster")  # what these columns of a score table hold is fixed
_BEYOND = 2.0**63  # int64 ends before it
_LOOKED_AT, _APART = 1 << 14, 0.99  # rows whose numbers are compared, and the share of them that has to stay apart


@dataclass(frozen=True, eq=False)
class Incoming:
    """Scores in the order of the data set.

    Attributes:
        columns: name -> (n,) float32 or bool.
        ids: n Arrow strings, or None.
        labels: the classes, or None.
        placed: whether an index says which example each row is; else rows are taken in order.
        by_id: whether nothing but the ids says it, so that they count where the data is at hand.
    """

    columns: dict[str, np.ndarray]
    ids: pa.Array | None
    labels: Labels | None
    placed: bool
    by_id: bool = False

    @property
    def unplaced(self) -> bool:
        """Whether nothing says which example a row is but its place in the table."""
        return self.ids is None and not self.placed

    def note_order(self, what: str) -> None:
        """Say how the rows are brought into the order of the data, if no index does it."""
        if self.by_id:
            _log.warning(
                "train, export and report match the rows of %s to the data by their ids; select takes them in the "
                "order of the %s", what, "file" if os.path.isfile(what) else "table",
            )  # fmt: skip
        elif self.unplaced:
            _log.warning("%s has no column 'index': its rows are taken in the order of the data set", what)


def incoming(columns: Mapping[str, Any], what: str, rows: np.ndarray | None = None) -> Incoming:
    """Bring columns into the order of the data set.

    Args:
        columns: name -> (n,) values. `index`, or an unnamed first column that is a permutation of 0..n-1, says which
            example a row is; `id` and `label` are what they say; other columns of numbers are scores. The index of a
            pandas series says the same of its values.
        what: what to call them in an error.
        rows: (n,) the places of the examples, for columns that do not say so themselves.

    Raises:
        DataError: columns of different lengths, an index that does not number the examples 0..n-1, ids that are not
            distinct, labels that are not classes, or nothing numeric.
    """
    arrays = {name: _placed(values, rows, f"{what}: column {name!r}") for name, values in columns.items()}
    lengths = {len(values) for values in arrays.values()}
    if len(lengths) != 1:
        raise DataError(f"{what} has columns of different lengths ({sorted(lengths)}): give one value per example.")
    (n,) = lengths
    order = _order(arrays, n, what)
    arrays = {name: values for name, values in arrays.items() if name != "index" and not is_index(name)}
    if order is not None and not np.array_equal(order, np.arange(n)):
        arrays = {name: values.take(pa.array(order)) for name, values in arrays.items()}
    ids = distinct_ids(arrays["id"], f"the column 'id' of {what}") if "id" in arrays else None
    names = RowNumbers(n) if ids is None else ids
    labels = class_codes(arrays["label"], names, column=f"{what}: the label") if "label" in arrays else None
    scores = {
        name: score_values(name, values, what)
        for name, values in arrays.items()
        if name not in NOT_SCORES and is_numeric(values.type)
    }
    if not scores:
        raise DataError(
            f"{what} holds no numbers (it has {', '.join(columns) or 'nothing'}): give one per example, in a column "
            f"with another name than {in_words(NOT_SCORES)}."
        )
    moved = [one for one in (order, rows) if one is not None and not np.array_equal(one, np.arange(n))]
    by_id = ids is not None and "index" not in columns and not moved  # the index of pandas is 0..n-1 if nobody sets it
    return Incoming(scores, ids, labels, order is not None or rows is not None, by_id)


def read_columns(path: Path) -> dict[str, Any]:
    """The columns of a .npy, .npz, .csv, .json, .jsonl or Parquet file; .csv and .jsonl may be compressed (.gz).

    An unnamed array becomes the column "score". JSON may hold a list of numbers, an object of lists, or a list of
    objects with the same keys.

    Raises:
        DataError: a missing or damaged file, or one of another form.
    """
    readers = {".npy": _npy, ".npz": load_arrays, ".csv": _csv, ".json": _json, ".jsonl": _json_lines}
    return readers.get(form_of(path), _parquet)(path)


def form_of(path: Path) -> str:
    """The suffix that says which form a file of scores has: one of FOREIGN or .parquet, whatever its name says.

    Raises:
        DataError: the name has another suffix, and the file is not Parquet.
    """
    name = path.name.lower()
    suffix = Path(name.removesuffix(".gz")).suffix
    if suffix in FOREIGN and (suffix in _COMPRESSED or not name.endswith(".gz")):
        return suffix
    if suffix not in (".parquet", ".pq", "") and os.path.isfile(path):
        with open_file(path, "a file of scores", "check the path") as file, file.open("rb") as opened:
            if opened.read(4) != b"PAR1":
                raise DataError(
                    f"{path} has the suffix {path.suffix}, and scores are read from .parquet, .npy, .npz, .json, .csv "
                    "and .jsonl, the last two also with .gz: write them in one of these forms."
                )
    return ".parquet"


def score_values(name: str, values: Any, what: str) -> np.ndarray:
    """A column of scores as (n,) float32 or bool.

    Raises:
        DataError: values that are not real numbers, or do not fit float32.
    """
    array = array_of(values, f"{what}: column {name!r}")
    if not is_numeric(array.type):
        raise DataError(f"{what}: column {name!r} holds {array.type}: give real numbers.")
    if array.null_count or pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())  # a missing score is NaN, which no method ranks by
    numbers = from_arrow(array)
    if numbers.dtype == bool:
        return numbers
    if numbers.dtype.itemsize <= 4 and numbers.dtype.kind == "f":
        return numbers.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        found = numbers.astype(np.float32)
    _check_rounding(numbers, found, f"{what}: column {name!r}")
    return found


def _check_rounding(numbers: np.ndarray, found: np.ndarray, what: str) -> None:
    """Refuse what float32 cannot hold, and say when numbers that differ become equal in it.

    Args:
        numbers: (n,) integers or float64.
        found: the same in float32.
    """
    if len(found) and not np.isfinite([found.min(), found.max()]).all():  # NaN if any is
        beyond = np.flatnonzero(np.isinf(found) & np.isfinite(numbers))
        if len(beyond):
            raise DataError(
                f"{what} holds {numbers[beyond[0]]:g} in row {beyond[0]}, which float32 cannot: scale the column, "
                "since only its order counts."
            )
    some = evenly_spaced(len(found), _LOOKED_AT)
    differ, kept = len(np.unique(numbers[some])), len(np.unique(found[some]))
    if kept < _APART * differ:
        _log.warning(
            "%s holds numbers that float32 cannot keep apart (%d different ones become %d): give their ranks, "
            "logarithms or differences", what, differ, kept,
        )  # fmt: skip


def _placed(values: Any, rows: np.ndarray | None, what: str) -> pa.Array:
    """A column in the order of its own index, else in that of `rows`."""
    own, array = own_order(values), array_of(values, what)
    order = rows if own is None else own
    return array if order is None or len(order) != len(array) else array.take(pa.array(order))


def _order(columns: Mapping[str, pa.Array], n: int, what: str) -> np.ndarray | None:
    """The rows in the order of the data; None if nothing says what it is."""
    if "index" in columns:
        index = whole_numbers(columns["index"], f"{what}: column 'index'")
        if not np.array_equal(np.sort(index), np.arange(n)):
            raise DataError(f"{what}: column 'index' does not number the examples 0 to {n - 1}: give one row for each.")
        return np.argsort(index)
    unnamed = (
        columns.get(INDEX, next(iter(columns.values()))) if INDEX in columns or is_index(next(iter(columns))) else None
    )
    return None if unnamed is None else order_of(unnamed.to_numpy(zero_copy_only=False))


def whole_numbers(values: Any, what: str) -> np.ndarray:
    """A column as int64 (n,).

    Raises:
        DataError: it holds anything but whole numbers.
    """
    array = array_of(values, what)
    if array.null_count:
        raise DataError(f"{what} holds nothing in row {pc.index(array.is_null(), True)}: give whole numbers, int64.")
    if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type)):
        raise DataError(f"{what} holds {array.type}: give whole numbers, int64.")
    numbers = from_arrow(array)
    wrong = np.zeros(len(numbers), dtype=bool)
    if numbers.dtype.kind == "f":
        wrong = ~((np.abs(numbers) < _BEYOND) & (numbers == np.rint(numbers)))
    elif numbers.dtype == np.uint64:
        wrong = numbers >= np.uint64(_BEYOND)
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{what} holds {numbers[row]:.15g} in row {row}: give whole numbers, int64.")
    return numbers.astype(np.int64, copy=False)


def is_numeric(kind: pa.DataType) -> bool:
    """Whether values of this type can be scores."""
    return bool(
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )


def _npy(path: Path) -> dict[str, Any]:
    return {"score": load_array(path)}


def _parquet(path: Path) -> dict[str, Any]:
    return stored_columns(parquet_table(path), str(path))


def _csv(path: Path) -> dict[str, Any]:
    table = read_csv(path)
    if any(map(_is_number, table.column_names)):
        raise DataError(f"{path} begins with numbers instead of a header: name the columns in the first line.")
    if len(set(table.column_names)) < len(table.column_names):
        raise DataError(f"{path} has two columns of the same name: rename one.")
    return {name: table[name] for name in table.column_names}


def _json_lines(path: Path) -> dict[str, Any]:
    table = read_json_lines(path)
    return {name: table[name] for name in table.column_names}


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _json(path: Path) -> dict[str, Any]:
    with open_file(path, "a JSON file of scores", "give numbers, one per example"):
        value = parse_json(read_text(path), once=True)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            value = {key: [row[key] for row in value] for key in value[0]}
        return dict(value) if isinstance(value, dict) else {"score": value}
