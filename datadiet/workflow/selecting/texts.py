"""Texts to compare: a list of them, in any container, or data with a column of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.data.identity import check_identity, evenly_spaced
from datadiet.errors import DataError, OptionError
from datadiet.files import digest
from datadiet.table import Scores
from datadiet.table.examples import as_ids, check_places
from datadiet.table.frames import by_own_index

if TYPE_CHECKING:
    from datadiet.data import Source

__all__ = ["bare_table", "beside", "open_texts", "identity_of_texts", "texts_in"]

_PROBED = 64
_OF_DATA = ("column_names", "columns", "holds_texts")  # of Hugging Face data, of data frames, and of a Source


def texts_in(given: Any) -> list[str] | None:
    """The texts that a list, tuple, array, Series or column of texts holds; None for anything else.

    Raises:
        OptionError: the first item is a text, but a later one is not.

    >>> texts_in(np.array(["a", "b"])), texts_in([0.1, 0.2]), texts_in("jsonl:docs.jsonl")
    (['a', 'b'], None, None)
    """
    if isinstance(given, (str, bytes, Path, Mapping)) or any(hasattr(type(given), name) for name in _OF_DATA):
        return None
    if getattr(getattr(given, "dtype", None), "kind", "O") not in "OUT" or getattr(given, "ndim", 1) != 1:
        return None
    if hasattr(given, "to_pylist"):
        given = given.to_pylist()
    elif hasattr(given, "tolist"):
        given = given.tolist()
    elif not isinstance(given, Sequence):
        return None
    items = given if isinstance(given, list) else list(given)
    if not items or not isinstance(items[0], str):
        return None
    for number, item in enumerate(items):
        if not isinstance(item, str):
            raise OptionError(f"item {number} of the texts is a {type(item).__name__}: give a text for every example.")
    return items


def bare_table(n: int) -> Scores:
    """A table of n examples of which nothing else is known."""
    return Scores(np.arange(n), {}, meta={"data": {"n": n}, "columns": {}})


def open_texts(given: Any, text: str | None) -> tuple[Scores, list[str]]:
    """Texts to select from: a table without scores, and the texts.

    Raises:
        OptionError, DataError: no texts, or data that cannot be opened.
    """
    texts = texts_in(given)
    if texts is not None:
        return bare_table(len(texts)), texts
    source = _opened(given, text)
    meta = {"data": source.identity(), "columns": {}}
    return Scores(source.index, {}, source.ids, source.labels, meta), source.texts(np.arange(len(source)))


def beside(table: Scores, given: Any, text: str | None) -> tuple[Scores, list[str]]:
    """The texts of the examples of a table; if it has only their number, their identity is taken from the data.

    Args:
        table: n examples.
        given: n texts; or the data that was scored, as a spec or opened.
        text: the column of the texts, if data is named.

    Raises:
        OptionError: neither texts nor data, or data without its column of texts.
        DataError: texts of other examples.
    """
    texts = texts_in(by_own_index(given))
    if texts is not None:
        if text is not None:
            raise OptionError(f"text={text!r} names a column of data, but texts= are texts: leave text out.")
        if len(texts) != len(table):
            raise DataError(f"{len(texts)} texts and {len(table)} examples: give one text for each.")
        return table, texts
    if isinstance(given, (list, tuple, np.ndarray)) or not (
        isinstance(given, (str, Path)) or hasattr(given, "__len__")
    ):
        first = f" that begins with a {type(given[0]).__name__}" if isinstance(given, (list, tuple)) and given else ""
        raise OptionError(
            f"texts= is a {type(given).__name__}{first}: give a list of n str, or data and its column text=NAME."
        )
    source = _opened(given, text)
    table = table.placed(source)
    known = table.meta.get("data", {})
    if len(source) == len(table):
        check_places(table.ids, table.index, source, "the table to select from")
    if set(known) <= {"n"} and len(table) == known.get("n"):  # bare scores
        if len(source) != len(table):
            raise DataError(
                f"data of {len(source)} examples, but {len(table)} to select from: give the data that was scored."
            )
        labels = source.labels if table.labels is None else table.labels
        meta = {**table.meta, "data": source.identity()}
        return Scores(source.index, table.columns, source.ids, labels, meta), source.texts(np.arange(len(source)))
    return table, _of_the_same(table, source)


def identity_of_texts(texts: Sequence[str]) -> str:
    """A hash of their number and of 64 evenly spaced ones, which identifies them as the parent of a selection."""
    return digest([len(texts), *(texts[row] for row in evenly_spaced(len(texts), _PROBED).tolist())])


def _opened(given: Any, text: str | None) -> Source:
    from datadiet.data import Source, open_data

    if not isinstance(given, Source) and text is None:
        what = given if isinstance(given, (str, Path)) else f"a {type(given).__name__}"
        raise OptionError(f"{what} is data: name the column of its texts with text=NAME (--text NAME).")
    source = given if isinstance(given, Source) and text is None else open_data(given, text=text)
    if not source.holds_texts:
        raise OptionError(f"{source.spec} was opened without its texts: open it with text=NAME.")
    return source


def _of_the_same(table: Scores, source: Source) -> list[str]:
    """The texts of the examples of a table, from the data it was made from."""
    known, found = dict(table.meta.get("data", {})), source.identity()
    if known.get("positional_ids") != found.get("positional_ids"):
        known.pop("ids", None)  # one of the two was opened without naming its ids
    check_identity(known, found, "the table to select from", (as_ids(table.ids, table.index), source.ids))
    rows = np.searchsorted(source.index, table.index)
    if (rows == len(source)).any() or (source.index[rows] != table.index).any():
        raise DataError("the data with the texts lacks some examples to select from: give all data that was scored.")
    return source.texts(rows)
