"""Scores, a selection and the data, brought to the same examples in the same order: by ids, where there are any.

The order of rows counts only where nothing has ids, and for arrays, which have no place for them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow.compute as pc

from datadiet.data.identity import check_identity
from datadiet.errors import FingerprintMismatch, OptionError
from datadiet.table import Scores, Selection
from datadiet.table.examples import as_ids, check_places
from datadiet.table.ids import Ids

if TYPE_CHECKING:
    from datadiet.data import Source

__all__ = ["matched"]


def matched(
    scores: Scores | None, selection: Selection | None, source: Source | None
) -> tuple[Scores | None, Selection | None]:
    """Scores and a selection of the same examples, row by row, at their positions in the data.

    Args:
        scores, selection, source: None = not at hand.

    Raises:
        FingerprintMismatch: they belong to different data sets, or the scores changed since the selection was made.
        DataError: an index and its id name different examples.
        OptionError: nothing says which row is which example.
    """
    placed = selection if selection is None or source is None else selection.placed(source)
    if scores is not None and source is not None:
        scores = _placed(scores, source)
    if scores is None or selection is None:
        return scores, placed
    scores = _by_ids(scores, selection)
    _check_made_from(selection, scores)  # whose columns it knows in its own order, which need not be that of the data
    return _as_selected(scores if source is None else scores.placed(source), selection), placed


def _placed(scores: Scores, source: Source) -> Scores:
    """The scores at their positions in the data, with its ids."""
    from datadiet.workflow.fitting.schedules import rows_of

    if not source.positional_ids:
        _refuse_unnamed(scores, "the data")
    scores = scores.placed(source)
    check_identity(_data(scores), source.identity(), "the table of scores")
    check_places(scores.ids, scores.index, source, "the table of scores")
    meta = {**scores.meta, "data": {**_data(scores), **source.identity()}}
    return replace(scores, ids=Ids(source.ids)[rows_of(scores.index, source)], meta=meta)


def _by_ids(scores: Scores, selection: Selection) -> Scores:
    """The scores of the examples of a selection, in its order."""
    if _has_ids(selection):
        _refuse_unnamed(scores, "the selection")
    if not (_data(scores).get("by_id") or _data(selection).get("by_id")):
        return scores  # both have positions in the data
    if not (_has_ids(scores) and _has_ids(selection)):
        one, other = ("scores", "selection") if _has_ids(scores) else ("selection", "scores")
        raise OptionError(
            f"the {one} and its examples are known by their ids, and those of the {other} by their positions in the "
            "data: name the data, data= (--data DATA)."
        )
    ids = as_ids(scores.ids, scores.index)
    wanted = as_ids(selection.ids, selection.index).cast(ids.type)
    rows = pc.index_in(wanted, value_set=ids)
    if rows.null_count or len(rows) != len(ids):
        some = wanted.filter(rows.is_null())
        lack = f"there is none of {some[0].as_py()!r}" if len(some) else f"{len(ids) - len(rows)} are of others"
        raise FingerprintMismatch(
            f"the selection is one of {len(rows)} examples and there are scores of {len(ids)}, not of the same ones "
            f"({lack}): give the scores that it was made from, scores= (--scores RUN)."
        )
    taken = rows.to_numpy(zero_copy_only=False)
    return replace(
        scores,
        index=selection.index,
        columns={name: values[taken] for name, values in scores.columns.items()},
        ids=selection.ids,
        labels=None if scores.labels is None else scores.labels[taken],
        meta={**scores.meta, "data": _data(selection)},
    )


def _refuse_unnamed(scores: Scores, what: str) -> None:
    """Refuse the table of another program whose rows have no names, where there are names to match."""
    if _data(scores).get("unplaced"):
        raise OptionError(
            f"no column of the table of scores says which example a row is, and the examples of {what} have ids: name "
            "its column of ids, scores_id= (--scores-id COLUMN), or number the examples from 0 in a column 'index'."
        )


def _has_ids(table: Scores | Selection) -> bool:
    """Whether its examples have ids other than their positions."""
    return table.ids is not None and _data(table).get("positional_ids") is False


def _data(table: Scores | Selection) -> Mapping[str, Any]:
    return table.meta.get("data", {})


def _check_made_from(selection: Selection, scores: Scores) -> None:
    """Refuse scores that the selection was not made from."""
    check_identity(_data(selection), _data(scores), "the selection")
    if not np.array_equal(selection.index, scores.index):
        raise FingerprintMismatch(
            f"the selection is one of {len(selection.index)} examples and there are scores of {len(scores)}, not of "
            "the same ones: give the scores that it was made from, scores= (--scores RUN)."
        )
    for column, digest in selection.meta.get("parents", {}).items():
        if column in scores.columns and scores.digest(column) != digest:
            raise FingerprintMismatch(
                f"the column {column} has changed since the selection was made: select again, or give the scores that "
                "it was made from, scores= (--scores RUN)."
            )


def _as_selected(scores: Scores, selection: Selection) -> Scores:
    """Columns from elsewhere mean what the selection took them to mean."""
    described = dict(scores.meta.get("columns", {}))
    for column, sign in selection.meta.get("hardness", {}).items():
        if described.get(column, {}).get("scorer") == "imported":
            described[column] = {**described[column], "hardness": sign}
    return replace(scores, meta={**scores.meta, "columns": described})
