"""A table of anybody's, by the names of its columns: which hold the ids, the positions, the labels and the scores."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.errors import DataError, OptionError, unknown_name
from datadiet.files import parquet_identity
from datadiet.parameters import in_words
from datadiet.table.frames import array_of, check_arrays, frame_columns, is_index, own_order
from datadiet.table.incoming import NOT_SCORES, Incoming, form_of, incoming, is_numeric, read_columns, whole_numbers

__all__ = ["named_incoming"]

_PLACES = ("index", "id")


def named_incoming(
    table: Any, roles: Mapping[str, str | None], scores: Mapping[str, str] | Iterable[str] | None
) -> tuple[Incoming, dict[str, str]]:
    """The scores of a table in the order of the data, as far as its columns say what that is.

    Args:
        table: a data frame of any library, an Arrow table, a dict of name -> (n,) values, or a file of these.
        roles: "id", "index" and "label" -> name in the table, or None. The index of pandas, and columns that happen to
            be named so, count only where no column is named that says which example a row is.
        scores: name of a score -> its name in the table, or a list of names; None = every other column of numbers.

    Returns:
        The scores, and name of each -> its name in the table.

    Raises:
        OptionError: a column is not there, or the table is one that datadiet wrote.
        DataError: as `incoming`; ids that are missing or fractional, or a named score that is not numbers.
    """
    columns, order, what = _columns(table)
    named = _score_names(columns, scores)
    taken = {role: _present(name, columns) for role, name in roles.items() if name is not None}
    placed = not taken.keys().isdisjoint(_PLACES)
    if placed:
        columns, order = {name: array_of(values, f"{what}: column {name!r}") for name, values in columns.items()}, None
    kept = {} if placed else {name: columns[name] for name in columns if name in _PLACES or is_index(name)}
    kept |= {name: columns[name] for name in columns if name == "label"}
    kept |= {role: columns[name] for role, name in taken.items()}
    if "id" in taken:
        kept["id"] = _as_ids(kept["id"], f"{what}: column {taken['id']!r}")
    if named is None:
        used = {*taken.values(), *NOT_SCORES}
        named = {name: name for name in columns if name not in used and not is_index(name)}
    chosen = {name: columns[given] for name, given in named.items()}
    for name, values in chosen.items() if scores is not None else ():
        kind = array_of(values, f"{what}: column {named[name]!r}").type
        if not is_numeric(kind):
            raise DataError(
                f"{what}: column {named[name]!r} holds {kind}, so it is not a score: name columns of numbers."
            )
    found = incoming(kept | chosen, what, order)
    found.note_order(what)
    return found, {name: named[name] for name in found.columns}


def _columns(table: Any) -> tuple[dict[str, Any], np.ndarray | None, str]:
    """The columns of a table, the order that the index of pandas says, or None, and what to call it in an error."""
    if not isinstance(table, (str, Path)):
        if isinstance(table, Mapping):
            check_arrays(table)
            return dict(table), None, "this table"
        return frame_columns(table, "this table"), own_order(table), "this table"
    path = Path(table)
    if os.path.isdir(path) or (form_of(path) == ".parquet" and parquet_identity(path)[0] is not None):
        raise OptionError(
            f"{path} was written by datadiet, so its columns say what they are: open it with Scores.read, and leave "
            "out id=, index=, label= and higher_is= (--id, --index, --label, --higher-is)."
        )
    return read_columns(path), None, str(path)


def _score_names(columns: Mapping[str, Any], scores: Mapping[str, str] | Iterable[str] | None) -> dict[str, str] | None:
    """Name of each score -> its name in the table; None = whatever holds numbers."""
    if scores is None:
        return None
    if isinstance(scores, str):
        raise OptionError(f"columns={scores!r} is one text: give a list of names, [{scores!r}].")
    named = dict(scores) if isinstance(scores, Mapping) else {name: name for name in scores}
    if not named:
        raise OptionError("columns= names no column: name one, or leave it out for every column of numbers.")
    for name, given in named.items():
        _present(given, columns)
        if name in NOT_SCORES:
            raise OptionError(
                f"a score cannot be named {name!r} (nor any of {in_words(NOT_SCORES)}): rename it, as in "
                f"columns={{'my_{name}': {given!r}}}."
            )
    return named


def _present(name: str, columns: Mapping[str, Any]) -> str:
    if name not in columns:
        raise unknown_name("column of this table", name, columns)
    return name


def _as_ids(values: pa.Array, what: str) -> pa.Array:
    """Ids that pandas made fractional, as it does to whole numbers of which some are missing, as whole numbers."""
    if not pa.types.is_floating(values.type):
        return values
    try:
        return pa.array(whole_numbers(values, what))
    except DataError as error:
        raise DataError(f"{error} (Ids are texts or whole numbers, one for every row.)") from None
