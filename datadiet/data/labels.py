"""Labels as classes 0..C-1: the one door for the labels of data, of scores and of recordings."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.arrays import in_numpy
from datadiet.data.ids import RowNumbers
from datadiet.errors import DataError, first_line
from datadiet.files.opening import json_of

__all__ = [
    "Labels",
    "class_codes",
    "encode_labels",
    "missing_labels",
    "names_in_schema",
    "refuse_unlabelled",
    "without_nan_texts",
]

_log = logging.getLogger("datadiet")

UNLABELLED = -1
"""The code of an example without a label, which many test splits on the Hugging Face hub use."""

_LARGEST = 1 << 31  # above this a number is not a class number: counting classes by it would exhaust the memory


_MISSING = ("NaN", "nan", "NA", "N/A", "null", "None")

_NUMBER = np.dtype("U32")  # what numpy stores names and floats in together


@dataclass(frozen=True, eq=False)
class Labels:
    """Encoded labels.

    Attributes:
        values: (n,) int64 in 0..C-1; -1 = unlabelled.
        names: the C class names; empty if the numbers have none.
    """

    values: np.ndarray
    names: tuple[str, ...]


def encode_labels(
    values: Any, ids: pa.Array | RowNumbers, *, column: str = "label", names: tuple[str, ...] | None = None
) -> Labels:
    """Encode labels as classes, in the order of `names` if given, else of the sorted distinct values.

    Args:
        values: (n,) Arrow or numpy array or list of integers, booleans, strings, or floats that are whole numbers.
            White space around strings does not count. -1 means unlabelled: see `refuse_unlabelled`.
        ids: (n,) ids, for naming an example in an error.
        column: what to call the labels in an error.
        names: class names that integer values index.

    Raises:
        DataError: a label is missing, empty, fractional, infinite, below -1 or outside `names`; or the values are not
            of a label type.

    >>> encode_labels(["dog", "cat", "dog"], pa.array(["0", "1", "2"]))
    Labels(values=array([1, 0, 1]), names=('cat', 'dog'))
    """
    array = _checked(values, ids, column)
    if pa.types.is_boolean(array.type):
        return Labels(*_sorted_classes(array.cast(pa.uint8()), ("False", "True")))
    if not pa.types.is_integer(array.type):
        _note_words_for_missing(array, column)
        return Labels(*_sorted_classes(array, None))
    if names is not None:
        _refuse(pc.greater_equal(array, len(names)), ids, f"{column} points outside the {len(names)} class names for")
        return Labels(array.to_numpy(zero_copy_only=False).astype(np.int64), names)
    if pc.all(pc.greater_equal(array, 0)).as_py():
        return Labels(*_sorted_classes(array, None))
    known = pc.greater_equal(array, 0)
    codes = np.full(len(array), UNLABELLED, dtype=np.int64)
    codes[known.to_numpy(zero_copy_only=False)], found = _sorted_classes(array.filter(known), None)
    return Labels(codes, found)


def class_codes(values: Any, ids: pa.Array | RowNumbers, *, column: str = "label") -> Labels:
    """Labels that come with scores or a recording: numbers stay and have no names, names are numbered as in data.

    Raises:
        DataError: as in `encode_labels`, or a number of 2^31 or more.

    >>> class_codes([3.0, 1.0], pa.array(["0", "1"])), class_codes(["b", "a"], pa.array(["0", "1"]))
    (Labels(values=array([3, 1]), names=()), Labels(values=array([1, 0]), names=('a', 'b')))
    """
    array = _checked(values, ids, column)
    if not pa.types.is_integer(array.type):
        return encode_labels(array, ids, column=column)
    _refuse(pc.greater_equal(array, _LARGEST), ids, f"{column} is 2^31 or more, so not the number of a class, for")
    return Labels(array.to_numpy(zero_copy_only=False).astype(np.int64), ())


def missing_labels(spec: str) -> DataError:
    """The error for data without labels: what to do depends on what the data is."""
    how = "name their column with open_data(…, label=COLUMN) (--label COLUMN)"
    if spec.startswith(("object:", "py:")):
        how = f"give arrays (X, y) or items (input, label), or {how}"
    return DataError(f"{spec} has no labels, but a classifier needs them: {how}.")


def refuse_unlabelled(labels: np.ndarray, ids: pa.Array | pa.ChunkedArray, what: str) -> None:
    """Refuse -1 where classes are needed.

    Args:
        labels: (n,) codes.
        ids: (n,).
        what: whose labels these are.

    Raises:
        DataError: it names the first example.
    """
    missing = np.flatnonzero(labels < 0)
    if len(missing):
        raise DataError(
            f"{what}: example {ids[int(missing[0])].as_py()!r} has the label {UNLABELLED}, which means unlabelled "
            f"({len(missing)} in all): leave such examples out, or number the classes from 0."
        )


def names_in_schema(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Class names for a column in a table's metadata.

    It reads the features that the datasets library writes, and a plain JSON list under the key `class_names`.
    """
    metadata = schema.metadata or {}
    names = json_of(metadata.get(b"class_names"))
    declared: Any = json_of(metadata.get(b"huggingface"))
    for key in ("info", "features", column, "names"):
        declared = declared.get(key) if isinstance(declared, dict) else None
    names = names if declared is None else declared
    return tuple(map(str, names)) if isinstance(names, list) else None


def _checked(values: Any, ids: pa.Array | RowNumbers, column: str) -> pa.Array:
    """The labels as an Arrow array of integers, booleans or strings without gaps."""
    array = _flat(values, column)
    if len(array) != len(ids):
        raise DataError(f"there are {len(array)} labels ({column}) for {len(ids)} examples: give one for each.")
    if pa.types.is_floating(array.type):
        array = _whole(array, ids, column)
    if pa.types.is_string(array.type):
        array = _trimmed(array, column)
    _refuse(pc.is_null(array), ids, f"{column} is missing for")
    if array.type == pa.uint64():
        wide = array.to_numpy(zero_copy_only=False) > np.iinfo(np.int64).max
        _refuse(pa.array(wide), ids, f"{column} is 2^63 or more, so not the number of a class, for")
        array = array.cast(pa.int64())
    if pa.types.is_signed_integer(array.type):
        _refuse(pc.less(array, UNLABELLED), ids, f"{column} is negative, so not a class, for")
    elif not any(fits(array.type) for fits in (pa.types.is_integer, pa.types.is_string, pa.types.is_boolean)):
        raise DataError(f"{column} is of type {array.type}: give whole numbers, booleans or names.")
    return array


def _one_array(values: pa.ChunkedArray, column: str) -> pa.Array:
    try:
        return values.combine_chunks()
    except pa.ArrowException as error:  # texts of more than 2 GiB
        raise DataError(f"{column} cannot be read as one label per example ({first_line(error)}).") from error


def _flat(values: Any, column: str) -> pa.Array:
    if hasattr(values, "detach"):
        values = in_numpy(values, column, DataError)
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        values = values.astype(values.dtype.newbyteorder("="))
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        try:
            masked = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
            values = values if masked is None else values.filled()
            # NaN among names is a missing one, which pyarrow says of lists and arrays of objects.
            values = pa.array(without_nan_texts(values), mask=masked, from_pandas=True)
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            raise DataError(f"{column} cannot be read as one label per example ({first_line(error)}).") from error
    if isinstance(values, pa.ChunkedArray):
        values = _one_array(values, column)
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if pa.types.is_large_string(values.type) or pa.types.is_string_view(values.type):
        values = values.cast(pa.string())
    return values


def without_nan_texts(values: Any) -> Any:
    """The values, with None for the texts "nan" that numpy made from missing names: np.array(["a", math.nan])."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "U" or values.dtype.itemsize < _NUMBER.itemsize:
        return values
    if not len(values) or np.char.str_len(values).max() * 4 == values.dtype.itemsize:
        return values
    found = values.astype(object)
    found[values == "nan"] = None
    return found


def _whole(array: pa.Array, ids: pa.Array | RowNumbers, column: str) -> pa.Array:
    array = array.cast(pa.float64())
    _refuse(pc.is_null(array, nan_is_null=True), ids, f"{column} is missing for")
    _refuse(pc.greater_equal(pc.abs(array), float(1 << 53)), ids, f"{column} is too large to be a class for")
    _refuse(pc.not_equal(pc.floor(array), array), ids, f"{column} is not a whole number, so not a class, for")
    return array.cast(pa.int64())


def _trimmed(array: pa.Array, column: str) -> pa.Array:
    """Names without white space around them; an empty one is missing."""
    trimmed = pc.utf8_trim_whitespace(array)
    changed = pc.sum(pc.not_equal(trimmed, array)).as_py()
    if changed:
        _log.warning("%s: white space around %d names was removed", column, changed)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def _note_words_for_missing(array: pa.Array, column: str) -> None:
    """A note on names that often stand for a missing value; a class may be called so."""
    counts = {text: pc.sum(pc.equal(array, text)).as_py() or 0 for text in _MISSING}
    found = [text for text in _MISSING if counts[text]]
    if found:
        texts = " or ".join(map(repr, found))
        _log.warning(
            "%s: %d labels are the text %s: if they are missing, leave those examples out",
            column, sum(counts.values()), texts,
        )  # fmt: skip


def _refuse(wrong: pa.Array, ids: pa.Array | RowNumbers, problem: str) -> None:
    count = pc.sum(wrong).as_py()
    if count:
        first = ids[pc.index(wrong, True).as_py()].as_py()
        raise DataError(f"{problem} example {first!r} ({count} in all): fix the data or name another label column.")


def _sorted_classes(array: pa.Array, names: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    encoded = array.dictionary_encode()
    order = pc.sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    classes = encoded.dictionary.take(pa.array(order)).to_pylist()
    texts = tuple(names[c] for c in classes) if names is not None else tuple(map(str, classes))
    return rank[encoded.indices.to_numpy()], texts
