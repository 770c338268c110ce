"""Which columns of a table are the label and the id."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from datadiet.data.ids import distinct_ids
from datadiet.data.labels import Labels, encode_labels, names_in_schema
from datadiet.errors import DataError, unknown_name

__all__ = ["LABEL_NAMES", "known_name", "table_ids", "table_labels"]

LABEL_NAMES = ("label", "labels", "target", "y", "class", "fine_label")


def known_name(name: str, names: Iterable[str], what: str) -> str:
    """`name` if it is among `names`; else a DataError that lists near names."""
    names = list(names)
    if name not in names:
        raise DataError(str(unknown_name(what, name, names)))
    return name


def table_ids(table: pa.Table, wanted: str | None) -> tuple[pa.Array | None, str | None]:
    """The ids of a table, and their column.

    Args:
        table: (n rows).
        wanted: the column to use, "row" for row numbers, or None for the column `id` if there is one.

    Returns:
        (n,) strings and the column name; (None, None) for row numbers.

    Raises:
        DataError: the wanted column does not exist, or its ids are not complete and distinct.
    """
    if wanted == "row" and wanted not in table.column_names:
        return None, None
    if wanted is not None:
        return distinct_ids(
            table[known_name(wanted, table.column_names, "column")], f"the id column {wanted!r}"
        ), wanted
    if "id" in table.column_names:
        return distinct_ids(table["id"], "the id column 'id'"), "id"
    return None, None


def table_labels(table: pa.Table, wanted: str | None, ids: pa.Array) -> tuple[Labels | None, str | None]:
    """The labels of a table, and their column.

    Args:
        table: (n rows); its class names are read from its metadata.
        wanted: the column to use, or None for the first of LABEL_NAMES that exists.
        ids: (n,), for naming an example in an error.

    Returns:
        The labels and the column name; (None, None) if there is no such column.

    Raises:
        DataError: the wanted column does not exist, or its values are not classes.
    """
    names = table.column_names
    if wanted is None:
        wanted = next((name for name in LABEL_NAMES if name in names), None)
        if wanted is None:
            return None, None
    column = table[known_name(wanted, names, "column")]
    class_names = names_in_schema(table.schema, wanted)
    return encode_labels(column, ids, column=f"the label column {wanted!r}", names=class_names), wanted
