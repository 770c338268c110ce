"""Which rows of a data set a selection means."""

from __future__ import annotations

import numpy as np

from datadiet.data import Source, check_identity
from datadiet.errors import DataError
from datadiet.table import Selection

__all__ = ["selected_rows"]


def selected_rows(selection: Selection, source: Source) -> np.ndarray:
    """The rows of the source that the selection keeps, (k,) int64 ascending.

    Raises:
        FingerprintMismatch: the selection is of another data set.
        DataError: the source is a part of the data set and lacks some of them.
    """
    check_identity(selection.meta.get("data", {}), source.identity(), "the selection")
    rows = np.searchsorted(source.index, selection.indices)
    inside = rows < len(source)
    if not inside.all() or (source.index[rows] != selection.indices).any():
        raise DataError(
            "the selection keeps examples that are held out or skipped here: use the same --eval, --seed and "
            "--on-error for "
            "scoring and for this."
        )
    return rows
