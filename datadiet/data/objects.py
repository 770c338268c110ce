"""Data sets that are Python objects: anything with `len` and `[i]`, given directly or as py:module:attr."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.arrays import is_sparse
from datadiet.data.columns import LABEL_NAMES, known_name
from datadiet.data.identity import evenly_spaced
from datadiet.data.ids import distinct_ids, row_numbers
from datadiet.data.labels import Labels, encode_labels
from datadiet.data.rows import Items, Rows, Texts
from datadiet.data.source import Source, make_source
from datadiet.data.table_inputs import INPUT_NAMES
from datadiet.errors import DataError, OptionError

__all__ = ["are_arrays", "has_positions", "is_map_style", "is_stream", "open_object"]

_UNREADABLE = object()


@dataclass(frozen=True, eq=False)
class Field:
    """One field of the items of a data set: a key of a dict, a place in a tuple, or the whole item for None."""

    dataset: Any
    key: str | int | None

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, i: int) -> Any:
        item = self.dataset[i]
        return item if self.key is None else item[self.key]


def open_object(
    dataset: Any,
    spec: str,
    *,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    on_error: str = "raise",
) -> Source:
    """Open a map-style data set whose items are (x, y) tuples, dicts, or inputs alone.

    Labels come from its `targets` or `labels` if these agree with the items, else from reading every item once; class
    names come from `classes`; ids from `ids`, else row numbers.

    Args:
        dataset: has `len` and `[i]` for i from 0.
        spec: what to call it.
        image: the key of the input in a dict.
        text: the same, for texts; inputs that are texts are recognised without it.
        label: the key of the label in a dict.
        on_error: see `open_data`.

    Raises:
        DataError: it is empty, or an item differs between two readings, as under random augmentation.
        OptionError: a key is given and the items are not dicts.
    """
    n = len(dataset)
    if n == 0:
        raise DataError(f"{spec} holds no examples: give at least one.")
    given = getattr(dataset, "ids", None)
    ids = None if given is None or callable(given) else distinct_ids(given, f"{spec}.ids")
    if ids is not None and len(ids) != n:
        raise DataError(f"{spec} has {n} examples but {len(ids)} ids: give one id for each.")
    first, item = _first_readable(dataset, spec, on_error)
    if image is not None and text is not None:
        raise OptionError(f"image={image!r} and text={text!r}: an example has one input, so name only one of them.")
    x_key, y_key = _keys(item, image or text, label)
    rows: Rows = Items(Field(dataset, x_key))
    if isinstance(item if x_key is None else item[x_key], str):
        rows = Texts(Field(dataset, x_key))
    elif text is not None:
        raise DataError(f"the key {text!r} of the items of {spec} does not hold texts: name the key of the texts.")
    _refuse_random(rows, first, spec)
    known = row_numbers(n) if ids is None else ids
    labels = None if y_key is None else _labels(Items(Field(dataset, y_key)), dataset, known, on_error)
    return make_source(spec, rows, ids=ids, labels=labels, on_error=on_error)


def is_map_style(value: object) -> bool:
    """Whether an object can be read by position: it has `len` and `[i]`, and is not a text, mapping, class or table."""
    frame = hasattr(value, "iloc") and hasattr(value, "columns")
    if frame or isinstance(value, type | str | bytes | Mapping | pa.Table) or is_stream(value):
        return False
    return hasattr(value, "__len__") and hasattr(value, "__getitem__")


def are_arrays(value: object) -> bool:
    """Whether this is (X, y); a tuple of arrays of one shape is a data set of so many examples."""
    if not isinstance(value, tuple) or len(value) < 2 or not (hasattr(value[0], "__array__") or is_sparse(value[0])):
        return False
    if len(value) == 2:
        return hasattr(value[1], "__array__") or isinstance(value[1], list)
    if all(hasattr(part, "__array__") for part in value) and len({np.shape(part) for part in value}) > 1:
        raise OptionError(
            f"these are {len(value)} arrays of different shapes: give (X, y), the inputs and their labels."
        )
    return False


def has_positions(value: object) -> bool:
    """Whether the positions of an object are those of its examples, unlike those of (X, y)."""
    return is_map_style(value) and not are_arrays(value)


def is_stream(value: object) -> bool:
    """Whether a data set can only be read from front to back, also if it says how long it is."""
    return any(kind.__name__ in ("IterableDataset", "IterableDatasetDict") for kind in type(value).__mro__)


def _first_readable(dataset: Any, spec: str, on_error: str) -> tuple[int, Any]:
    whole = Items(dataset)
    for i in range(len(dataset)):
        try:
            return i, whole.value(i)
        except DataError as error:
            if on_error == "raise":
                raise DataError(f"{spec}, item {i}: {error}") from error
    raise DataError(f"{spec}: none of the {len(dataset)} examples can be read.")


def _keys(item: Any, image: str | None, label: str | None) -> tuple[str | int | None, str | int | None]:
    """The keys of input and label in an item."""
    if isinstance(item, Mapping):
        x = image or next((name for name in INPUT_NAMES if name in item), None)
        y = label or next((name for name in LABEL_NAMES if name in item), None)
        if x is None:
            raise DataError(
                f"no key of the items ({', '.join(map(str, item))}) can be the input: give image= or text=."
            )
        return known_name(x, item, "key of the items"), None if y is None else known_name(y, item, "key of the items")
    if image or label:
        raise OptionError(
            f"image=, text= and label= name keys, but the items are {type(item).__name__}, not dicts: leave them out."
        )
    numbers = isinstance(item, list) and all(isinstance(value, int | float) for value in item)
    if isinstance(item, tuple | list) and not numbers:
        return 0, 1 if len(item) > 1 else None
    return None, None


def _refuse_random(rows: Rows, i: int, spec: str) -> None:
    try:
        once, again = rows.raw(i), rows.raw(i)
    except DataError:
        # Not an input at all: the error comes when inputs are read.
        return
    same = once == again if isinstance(once, bytes) else np.array_equal(once, np.asarray(again))
    if not same:
        raise DataError(
            f"item {i} of {spec} differs between two readings, as under random augmentation: give the un-augmented "
            "view as clean=, in datadiet.open_data(dataset, clean=plain) or selection.subset(dataset, clean=plain)."
        )


def _labels(rows: Items, dataset: Any, ids: pa.Array, on_error: str) -> Labels:
    values = _declared_labels(rows, dataset)
    if values is None:
        values = [_label(rows, i, ids, on_error) for i in range(len(rows))]
        # Unreadable examples will be skipped; until then they need some class.
        readable = next((value for value in values if value is not _UNREADABLE and not _is_missing(value)), 0)
        values = [readable if value is _UNREADABLE else value for value in values]
    labels = encode_labels(values, ids, column="the label")
    classes = getattr(dataset, "classes", None)
    numbers = labels.names and all(name.isdigit() for name in labels.names)
    if isinstance(classes, list | tuple) and numbers and max(map(int, labels.names)) < len(classes):
        return encode_labels(values, ids, column="the label", names=tuple(map(str, classes)))
    return labels


def _is_missing(value: Any) -> bool:
    return value is None or bool(value != value)


def _label(rows: Items, i: int, ids: pa.Array, on_error: str) -> Any:
    try:
        value = rows.value(i)
        if np.ma.is_masked(value):
            return None
        return value.item() if hasattr(value, "item") else value
    except (DataError, ValueError, RuntimeError) as error:
        if isinstance(error, DataError) and on_error == "skip":
            return _UNREADABLE
        raise DataError(f"example {ids[i].as_py()!r} has no single label ({error})") from error


def _declared_labels(rows: Items, dataset: Any) -> Any:
    """The `targets` or `labels` of a data set, if a few items agree with them."""
    for name in ("targets", "labels"):
        values = getattr(dataset, name, None)
        if values is None or not is_map_style(values) or len(values) != len(rows):
            continue
        try:
            probes = [(rows.value(i), values[i]) for i in evenly_spaced(len(rows), 8).tolist()]
            probes = [(item, value) for item, value in probes if not np.ma.is_masked(value)]  # refused later, by row
        except DataError:
            return None
        if all(np.array_equal(np.asarray(item), np.asarray(value)) for item, value in probes):
            return values
    return None
