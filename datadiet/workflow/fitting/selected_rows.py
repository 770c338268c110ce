"""The rows of a data set that a selection keeps."""

from __future__ import annotations

import numpy as np

from datadiet.data import Source, check_identity
from datadiet.errors import DataError
from datadiet.table import Selection

__all__ = ["rows_of", "selected_rows"]


def selected_rows(selection: Selection, source: Source) -> np.ndarray:
    """The rows of the source that the selection keeps, (k,) int64 ascending.

    Raises:
        FingerprintMismatch: the selection belongs to another data set.
        DataError: the source is a part of the data set and lacks some of them.
    """
    check_identity(selection.meta.get("data", {}), source.identity(), "the selection")
    return rows_of(selection.indices, source)


def rows_of(positions: np.ndarray, source: Source) -> np.ndarray:
    """The rows at which a source holds positions of the opened data, (m,) int64.

    Raises:
        DataError: it lacks some of them.
    """
    rows = np.searchsorted(source.index, positions)
    if (rows == len(source)).any() or (source.index[rows] != positions).any():
        raise DataError(
            "some examples to keep are held out or skipped here: use the same --eval and --on-error as for scoring."
        )
    return rows
