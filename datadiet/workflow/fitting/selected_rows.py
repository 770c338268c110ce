"""The rows of a data set that a selection keeps."""

from __future__ import annotations

import numpy as np

from datadiet.data import Source
from datadiet.errors import DataError

__all__ = ["rows_of"]


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
