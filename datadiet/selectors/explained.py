"""A choice of examples together with its reasons."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Explained"]


@dataclass(frozen=True, eq=False)
class Explained:
    """Which k of n rows are kept, and why the others are not.

    Attributes:
        chosen: (k,) int64 positions, in rank order.
        weight: (k,) in the order of `chosen`, or None if all count the same.
        stratum: (n,) integers: the part of the data (interval of scores, cluster) each row belongs to, or None.
        witness: (n,) int64: for a row that is left out, the row because of which; -1 where there is none. None if the
            method has no such thing.
        similarity: (n,) float32: to the witness, NaN where there is none.
    """

    chosen: np.ndarray
    weight: np.ndarray | None = None
    stratum: np.ndarray | None = None
    witness: np.ndarray | None = None
    similarity: np.ndarray | None = None
