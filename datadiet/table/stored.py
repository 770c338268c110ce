"""The columns of score and selection files, checked."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.data.labels import Labels, class_codes
from datadiet.errors import DataError
from datadiet.table.incoming import NOT_SCORES, score_values, whole_numbers

__all__ = ["stored_scores", "stored_selection"]

_log = logging.getLogger("datadiet")
_OFF = 0.01  # rounding to float32 moves a mean less


def stored_scores(table: pa.Table, path: Path) -> tuple[dict[str, np.ndarray], Labels | None]:
    """The scores, name -> (n,) float32 or bool, and the labels, or None, of a score file.

    Raises:
        DataError: columns that are not numbers, or labels that are not classes.
    """
    names = [name for name in table.column_names if name not in NOT_SCORES]
    columns = {name: score_values(name, table[name], str(path)) for name in names}
    if "label" not in table.column_names:
        return columns, None
    return columns, class_codes(table["label"], table["id"], column=f"{path}: the label")


def stored_selection(table: pa.Table, path: Path) -> dict[str, Any]:
    """The attributes of a Selection that the columns of its file hold.

    Args:
        table: n rows in the order of their index.
        path: the file, for an error.

    Raises:
        DataError: a column is missing or holds something else, or `keep` and `rank` contradict each other.
    """
    missing = [name for name in ("keep", "rank", "weight", "stratum") if name not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}, so it is not a selection file: make one with select.")
    keep = _booleans(table["keep"], f"{path}: column 'keep'")
    rank, stratum = (whole_numbers(table[name], f"{path}: column {name!r}") for name in ("rank", "stratum"))
    weight = score_values("weight", table["weight"], str(path))
    if len(stratum) and (stratum.min() < -(1 << 31) or stratum.max() >= 1 << 31):
        raise DataError(f"{path}: column 'stratum' holds numbers beyond int32: number the strata from 0.")
    kept = np.flatnonzero(keep)
    if not np.array_equal(np.sort(rank[kept]), np.arange(len(kept))) or (rank[~keep] != -1).any():
        raise DataError(f"{path}: columns 'keep' and 'rank' contradict each other: make the file again with select.")
    chosen = kept[np.argsort(rank[kept])]
    chosen_weight = weight[chosen].astype(np.float32)
    if len(chosen) and abs((mean := chosen_weight.mean()) - 1) > _OFF:
        _log.warning("the weights in %s have mean %.3g, not 1: losses, and so steps, are multiplied by it", path, mean)
    found: dict[str, Any] = {"chosen": chosen, "ids": table["id"]}
    found["weight"] = None if (chosen_weight == 1).all() else chosen_weight
    found["stratum"] = None if (stratum == -1).all() else stratum.astype(np.int32)
    if "witness" in table.column_names:
        found["witness"] = _texts(table["witness"], f"{path}: column 'witness'")
    if "similarity" in table.column_names:
        found["similarity"] = score_values("similarity", table["similarity"], str(path))
    return found


def _booleans(column: pa.ChunkedArray, what: str) -> np.ndarray:
    """A column of booleans, or of the numbers 0 and 1."""
    values = column.combine_chunks()
    if pa.types.is_boolean(values.type) and not values.null_count:
        return np.asarray(values.to_numpy(zero_copy_only=False))
    numbers = whole_numbers(values, what)
    if ((numbers != 0) & (numbers != 1)).any():
        raise DataError(f"{what} holds numbers other than 0 and 1: give booleans.")
    return numbers == 1


def _texts(column: pa.ChunkedArray, what: str) -> pa.ChunkedArray:
    try:
        return column if pa.types.is_large_string(column.type) else column.cast(pa.string())
    except pa.ArrowException as error:
        raise DataError(f"{what} does not hold ids ({error}): make the file again with select.") from None
