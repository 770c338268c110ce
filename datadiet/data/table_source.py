"""A source from an Arrow table, and from the files that hold one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa

from datadiet.data.blobs import Places
from datadiet.data.columns import table_ids, table_labels
from datadiet.data.ids import row_numbers
from datadiet.data.source import Source, make_source
from datadiet.data.table_inputs import table_inputs, table_texts
from datadiet.data.tables import Folders, read_tables
from datadiet.errors import DataError, first_line

__all__ = ["open_frame", "open_table_files", "source_from_table"]


def open_table_files(
    scheme: str,
    pattern: str,
    *,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    id: str | None = None,
    allow_paths: str | Path | None = None,
    on_error: str = "raise",
) -> Source:
    """Open Parquet, JSON lines or CSV files.

    Args:
        scheme: "parquet", "jsonl" or "csv".
        pattern: a path or a glob; several files are joined in sorted order.
        image: the input column; see `source_from_table`, also for the other options.
        text: the column of texts.
        label: the label column.
        id: the id column.
        allow_paths: the only folder that the rows may name files in.
        on_error: "raise" or "skip".

    Raises:
        DataError: see `read_tables` and `source_from_table`.
    """
    table, folders = read_tables(scheme, pattern)
    return source_from_table(
        table, folders, f"{scheme}:{pattern}", image=image, text=text, label=label, id=id, allow_paths=allow_paths,
        on_error=on_error
    )  # fmt: skip


def open_frame(
    frame: Any, spec: str, *, image: str | None = None, text: str | None = None, label: str | None = None,
    id: str | None = None, allow_paths: str | Path | None = None, on_error: str = "raise",
) -> Source:  # fmt: skip
    """Open a pandas DataFrame as a table, in the order of its rows; see `source_from_table` for the options.

    Raises:
        DataError: a column cannot be stored, or see `source_from_table`.
    """
    try:
        table = pa.Table.from_pandas(_named(frame.rename(columns=str)), preserve_index=False)
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise DataError(f"{spec} has a column that cannot be read ({first_line(error)}): convert or drop it.") from None
    return source_from_table(
        table, [], spec, image=image, text=text, label=label, id=id, allow_paths=allow_paths, on_error=on_error
    )


def _named(frame: Any) -> Any:
    """The same frame, with the text of categories that are intervals (of `pd.cut`), which Arrow does not know."""
    for place, kind in enumerate(frame.dtypes):
        if getattr(getattr(kind, "categories", None), "dtype", None) == "interval":
            name = frame.columns[place]
            frame = frame.assign(**{name: frame.iloc[:, place].cat.rename_categories(str)})
    return frame


def source_from_table(
    table: pa.Table,
    folders: Folders,
    spec: str,
    *,
    image: str | None = None,
    text: str | None = None,
    label: str | None = None,
    id: str | None = None,
    allow_paths: str | Path | None = None,
    on_error: str = "raise",
) -> Source:
    """Open a table.

    Args:
        table: (n rows).
        folders: the folders that relative paths in its rows start from; empty if they are absolute.
        spec: what to call it.
        image: the input column, or None to look for one (see `table_inputs`).
        text: the input column, if the inputs are texts.
        label: the label column, or None to look for one (see `table_labels`).
        id: the id column, or None for `id` if it is unique, else row numbers.
        allow_paths: the only folder that the rows may name files in, or None for all.
        on_error: "skip" leaves out rows whose input cannot be decoded.

    Raises:
        DataError: there are no rows, a named column does not exist, labels are not classes or ids not distinct.
    """
    names = table.column_names
    if table.num_rows == 0:
        raise DataError(f"{spec} holds no rows: give at least one.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{spec} has two columns named {twice!r}: rename one.")
    ids, id_name = table_ids(table, id)
    labels, label_name = table_labels(table, label, row_numbers(table.num_rows) if ids is None else ids)
    used = {name for name in (id_name, label_name) if name is not None}
    places = Places(folders, None if allow_paths is None else Path(allow_paths))
    rows = table_inputs(table, places, image, used) if text is None else table_texts(table, text, image)
    return make_source(spec, rows, ids=ids, labels=labels, origin=table, on_error=on_error)
