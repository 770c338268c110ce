"""Which column of a table is the input, and how to read its values."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.data.blobs import Blobs, Places
from datadiet.data.columns import known_name
from datadiet.data.decode import as_batch
from datadiet.data.identity import evenly_spaced
from datadiet.data.rows import Dense, Encoded, Items, Rows, Texts, Unusable
from datadiet.data.scheme import IMAGE_SUFFIXES
from datadiet.errors import DataError, OptionError
from datadiet.files.opening import json_of

_log = logging.getLogger("datadiet")

__all__ = ["INPUT_NAMES", "table_inputs", "table_texts"]

INPUT_NAMES = ("image", "images", "img", "x", "pixel_values", "data", "features", "inputs")
_NO_FEATURES = frozenset({"id", "index", "idx", "__index_level_0__", "Unnamed: 0", ""})


def table_inputs(table: pa.Table, places: Places, wanted: str | None, used: set[str]) -> Rows:
    """The inputs of a table.

    Without `wanted`, the first that exists of: an image column of the datasets library, a struct of bytes and path,
    a binary column, a column of paths of image files, a column of (nested) lists of numbers; else all numeric
    columns together as one vector. Among several of a kind, names in INPUT_NAMES come first.

    Args:
        table: (n rows).
        places: where the files are that it names.
        wanted: the column to use, or None.
        used: the columns that are label or id.

    Returns:
        The rows to decode; `Unusable` if nothing fits, since such a table still has ids and labels.

    Raises:
        DataError: the wanted column does not exist or cannot be an input.
    """
    if wanted is not None:
        column = table[known_name(wanted, table.column_names, "column")]
        for fits, reader in _KINDS:
            if fits(column, places):
                return _in_mode(reader(column, places), table.schema, wanted)
        if _is_number(column.type):
            return _feature_matrix(table, [wanted])
        raise DataError(
            f"the column {wanted!r} of type {column.type} holds neither images nor numbers{_or_text(column)}."
        )
    names = [name for name in table.column_names if name not in used]
    for fits, reader in _KINDS:
        found = [name for name in names if fits(table[name], places)]
        found = _declared_images(table.schema, found) or [n for n in INPUT_NAMES if n in found][:1] or found
        if len(found) > 1:
            which = ", ".join(map(repr, found))
            return _unusable(table, used, f"each of the columns {which} could be the input")
        if found:
            return _in_mode(reader(table[found[0]], places), table.schema, found[0])
    numeric = [name for name in names if name not in _NO_FEATURES and _is_number(table[name].type)]
    if numeric:
        dropped = [name for name in names if name not in numeric and name not in _NO_FEATURES]
        if dropped:
            _log.warning("not numbers, so not among the features: %s", ", ".join(map(repr, dropped)))
        return _feature_matrix(table, numeric)
    return _unusable(table, used, f"none of the columns {', '.join(map(repr, names)) or '(none)'} can be an input")


def table_texts(table: pa.Table, text: str, image: str | None = None) -> Texts:
    """The inputs of a table, if they are texts.

    Args:
        table: (n rows).
        text: the column.
        image: another column named as the input; it must be None.

    Raises:
        OptionError: two columns are named.
        DataError: the column does not exist or holds something else.
    """
    if image is not None:
        raise OptionError(f"image={image!r} and text={text!r}: an example has one input, so name only one of them.")
    column = table[known_name(text, table.column_names, "column")]
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if not _is_text(kind):
        found = [name for name in table.column_names if _is_text(table[name].type)]
        rest = f"columns of texts are {', '.join(map(repr, found))}" if found else "no column of this data does"
        raise DataError(f"the column {text!r} of type {column.type} does not hold texts: {rest}.")
    return Texts(column.cast(kind))


@dataclass(frozen=True, eq=False)
class Lists:
    """A column of (nested) lists of numbers; `shape` comes from an extension type."""

    column: pa.ChunkedArray
    shape: tuple[int, ...] | None

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, i: int) -> np.ndarray:
        values = self.column[i].values
        if values is None:
            raise DataError("the array is missing.")
        shape = [len(values)]
        while _is_list(values.type):
            sizes = pc.list_value_length(values).unique().to_pylist()
            if len(sizes) != 1 or sizes[0] is None:
                raise DataError("the nested lists are ragged.")
            shape += sizes
            values = values.flatten()
        flat: np.ndarray = values.to_numpy(zero_copy_only=False)
        return flat.reshape(self.shape or shape)


def _is_struct(column: pa.ChunkedArray, places: Places) -> bool:
    return bool(pa.types.is_struct(column.type)) and {"bytes", "path"} <= {field.name for field in column.type}


def _is_binary(column: pa.ChunkedArray, places: Places) -> bool:
    return bool(pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _or_text(column: pa.ChunkedArray) -> str:
    return ", but texts: name it with --text (text=)" if _is_text(column.type) else ""


def _is_path(column: pa.ChunkedArray, places: Places) -> bool:
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or not len(column):
        return False
    rows = {row: column[row].as_py() for row in evenly_spaced(len(column), 64).tolist()}
    named = {row: text for row, text in rows.items() if text and Path(text).suffix.lower() in IMAGE_SUFFIXES}
    return any(os.path.isfile(places.find(text, row)) for row, text in named.items())


def _is_numbers(column: pa.ChunkedArray, places: Places) -> bool:
    kind = column.type.storage_type if isinstance(column.type, pa.BaseExtensionType) else column.type
    if not _is_list(kind):
        return False
    while _is_list(kind):
        kind = kind.value_type
    return _is_number(kind)


def _struct_rows(column: pa.ChunkedArray, places: Places) -> Rows:
    return Encoded(Blobs(pc.struct_field(column, "bytes"), pc.struct_field(column, "path"), places))


def _binary_rows(column: pa.ChunkedArray, places: Places) -> Rows:
    return Encoded(Blobs(column, None, places))


def _path_rows(column: pa.ChunkedArray, places: Places) -> Rows:
    return Encoded(Blobs(None, column, places))


def _list_rows(column: pa.ChunkedArray, places: Places) -> Rows:
    shape: Any = None
    if isinstance(column.type, pa.BaseExtensionType):
        shape = getattr(column.type, "shape", None)
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], column.type.storage_type)
    shape = tuple(shape) if shape and None not in shape else None
    array = _as_one_array(column, shape)
    return Items(Lists(column, shape)) if array is None else Dense(as_batch(array))


def _as_one_array(column: pa.ChunkedArray, shape: tuple[int, ...] | None) -> np.ndarray | None:
    """A column of lists as (n, …), if all have one length; else they are read one by one, and errors name the row."""
    values, sizes = column.combine_chunks(), [len(column)]
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    while _is_list(values.type):
        lengths = pc.list_value_length(values).unique()
        if len(lengths) != 1 or not lengths[0].as_py():
            return None
        sizes.append(lengths[0].as_py())
        values = values.flatten()
    if values.null_count or not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return None
    flat: np.ndarray = values.to_numpy(zero_copy_only=False)
    return flat.reshape(sizes if shape is None else (sizes[0], *shape))


def _feature_matrix(table: pa.Table, names: list[str]) -> Rows:
    columns = [table[name].cast(pa.float64(), safe=False).to_numpy() for name in names]
    with np.errstate(over="ignore"):  # infinite values are refused, by example, when inputs are read
        return Dense(np.stack(columns, axis=1).astype(np.float32))


def _unusable(table: pa.Table, used: set[str], problem: str) -> Rows:
    rest = table.drop_columns(sorted(used))
    how = "name one that holds images or numbers with --image COLUMN (image=), or texts with --text COLUMN (text=)."
    return Unusable(rest, f"{problem}: {how}")


def _in_mode(rows: Rows, schema: pa.Schema, name: str) -> Rows:
    """The rows, read in the mode that the datasets library would give."""
    mode = _declared(schema, name).get("mode")
    if mode is None or not isinstance(rows, Encoded):
        return rows
    if mode not in ("L", "RGB"):
        raise DataError(f"the column {name!r} declares images of mode {mode}: cast it to Image(mode='L') or 'RGB'.")
    return replace(rows, mode=mode)


def _declared_images(schema: pa.Schema, names: list[str]) -> list[str]:
    return [name for name in names if _declared(schema, name).get("_type") == "Image"][:1]


def _declared(schema: pa.Schema, name: str) -> dict[str, Any]:
    """What the datasets library says about a column; empty if it says nothing."""
    found: Any = json_of((schema.metadata or {}).get(b"huggingface"))
    for key in ("info", "features", name):
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return bool(numeric or pa.types.is_decimal(kind))


_KINDS: tuple[tuple[Callable[[pa.ChunkedArray, Places], bool], Callable[[pa.ChunkedArray, Places], Rows]], ...] = (
    (_is_struct, _struct_rows),
    (_is_binary, _binary_rows),
    (_is_path, _path_rows),
    (_is_numbers, _list_rows),
)
