"""Rows as an Arrow table: chosen from a table, or made from the inputs of any other source."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from datadiet.data.decode import CHANNELS, encode_png
from datadiet.data.paths import is_utf8
from datadiet.data.rows import Encoded
from datadiet.errors import DataError

if TYPE_CHECKING:
    from datadiet.data.source import Source

__all__ = ["holds_images", "image_bytes", "rows_as_table", "select_rows"]

_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def select_rows(table: pa.Table, positions: np.ndarray) -> pa.Table:
    """The rows of a table at `positions` (k,) int64, in that order."""
    if len(positions) and (np.diff(positions) > 0).all():
        if len(positions) == table.num_rows:
            return table
        mask = np.zeros(table.num_rows, dtype=bool)
        mask[positions] = True
        # Unlike take, filter works chunk by chunk, so 2 GiB of images do not overflow 32-bit offsets.
        return table.filter(pa.array(mask))
    return table.take(pa.array(positions))


def rows_as_table(source: Source) -> pa.Table:
    """All examples of a source as a table, for sources that do not come from one.

    Returns:
        `text`, `image` (encoded bytes and path, as the datasets library stores them; arrays become PNG) or `x` (nested
        lists of float32), `label` if there are labels, and `id`. The schema metadata gives "image" and the class names
        in the format of the datasets library, which reads them back.

    Raises:
        DataError: an example cannot be read, or arrays that are not 8-bit images differ in shape.
    """
    arrays: dict[str, pa.Array] = {}
    features: dict[str, object] = {}
    if source.holds_texts:
        arrays["text"] = _text_column(source)
    elif holds_images(source):
        blobs = [{"bytes": image_bytes(source, i), "path": None} for i in range(len(source))]
        arrays["image"] = pa.array(blobs, _IMAGE)
        features["image"] = {"_type": "Image"}
    else:
        stored = source.inputs if source.inputs.size is None else replace(source.inputs, size=None)
        arrays["x"] = _nested(stored.take(source.index).numpy())
    if source.labels is not None:
        arrays["label"] = pa.array(source.labels)
        features["label"] = {"names": list(source.class_names), "_type": "ClassLabel"}
    arrays["id"] = source.ids
    table = pa.table(arrays)
    for name, field in zip(table.column_names, table.schema, strict=True):
        features.setdefault(name, _feature(field.type))
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def holds_images(source: Source) -> bool:
    """Whether each example is an encoded image or an array that PNG can hold."""
    rows = source.inputs.rows
    if isinstance(rows, Encoded):
        return True
    if source.holds_texts:
        return False
    first = rows.decode(int(source.index[0]))
    return first.dtype == np.uint8 and first.ndim == 3 and first.shape[0] in CHANNELS


def image_bytes(source: Source, position: int) -> bytes:
    """One example as an image file: its own bytes if it is one, else a PNG."""
    index = int(source.index[position])
    raw = source.inputs.raw(index)
    return raw if isinstance(raw, bytes) else encode_png(raw)


def _text_column(source: Source) -> pa.Array:
    texts = source.texts(np.arange(len(source)))
    for position, text in enumerate(texts):
        if not is_utf8(text):
            raise DataError(
                f"example {source.ids[position].as_py()!r} holds half of a surrogate pair, so it cannot be written as "
                "UTF-8: fix or drop it."
            )
    return pa.array(texts)


def _nested(array: np.ndarray) -> pa.Array:
    column = pa.array(array.reshape(-1))
    for size in array.shape[:0:-1]:
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def _feature(kind: pa.DataType) -> object:
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "List"}
    return {"dtype": "float32" if kind == pa.float32() else str(kind), "_type": "Value"}
