"""Label columns as classes 0..C-1."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.errors import DataError

__all__ = ["Labels", "encode_labels", "names_in_schema"]


@dataclass(frozen=True, eq=False)
class Labels:
    """Encoded labels.

    Attributes:
        values: (n,) int64 in 0..C-1.
        names: the C class names.
    """

    values: np.ndarray
    names: tuple[str, ...]


def encode_labels(values: Any, ids: pa.Array, *, column: str = "label", names: tuple[str, ...] | None = None) -> Labels:
    """Encode labels as classes, in the order of `names` if given, else of the sorted distinct values.

    Args:
        values: (n,) Arrow or numpy array or list of integers, booleans, strings, or floats that are whole numbers.
        ids: (n,) ids, for naming an example in an error.
        column: what to call the labels in an error.
        names: class names that integer values index.

    Raises:
        DataError: a label is missing, fractional, or outside `names`; or the values are not of a label type.

    >>> encode_labels(["dog", "cat", "dog"], pa.array(["0", "1", "2"]))
    Labels(values=array([1, 0, 1]), names=('cat', 'dog'))
    """
    array = _flat(values, column)
    if len(array) != len(ids):
        raise DataError(f"there are {len(array)} labels ({column}) for {len(ids)} examples: give one for each.")
    if pa.types.is_floating(array.type):
        array = _whole(array, ids, column)
    _refuse(pc.is_null(array), ids, f"{column} is missing for")
    if pa.types.is_boolean(array.type):
        return Labels(*_sorted_classes(array.cast(pa.uint8()), ("False", "True")))
    if pa.types.is_integer(array.type):
        if names is None:
            return Labels(*_sorted_classes(array, None))
        codes = array.to_numpy(zero_copy_only=False).astype(np.int64)
        outside = pa.array((codes < 0) | (codes >= len(names)))
        _refuse(outside, ids, f"{column} points outside the {len(names)} class names for")
        return Labels(codes, names)
    if pa.types.is_string(array.type) or pa.types.is_large_string(array.type):
        return Labels(*_sorted_classes(array, None))
    raise DataError(f"{column} is of type {array.type}: give whole numbers, booleans or names.")


def names_in_schema(schema: pa.Schema, column: str) -> tuple[str, ...] | None:
    """Class names for a column in a table's metadata.

    It reads the features that the datasets library writes, and a plain JSON list under the key `class_names`.
    """
    metadata = schema.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        feature = features.get(column, {})
        names = feature.get("names") if isinstance(feature, dict) else None
        if names is None:
            names = json.loads(metadata.get(b"class_names", b"null"))
    except (ValueError, AttributeError):
        # Another program's metadata under these keys says nothing about class names.
        return None
    return tuple(map(str, names)) if isinstance(names, list) else None


def _flat(values: Any, column: str) -> pa.Array:
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if not isinstance(values, pa.Array | pa.ChunkedArray):
        try:
            values = pa.array(values)
        except (pa.ArrowException, TypeError) as error:
            raise DataError(f"{column} cannot be read as one label per example ({error}).") from error
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    return values


def _whole(array: pa.Array, ids: pa.Array, column: str) -> pa.Array:
    _refuse(pc.is_null(array, nan_is_null=True), ids, f"{column} is missing for")
    fraction = pc.not_equal(pc.floor(array), array)
    _refuse(fraction, ids, f"{column} is not a whole number, so not a class, for")
    return array.cast(pa.int64())


def _refuse(wrong: pa.Array, ids: pa.Array, problem: str) -> None:
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
