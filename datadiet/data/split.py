"""A held-out part with the class proportions of the whole."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import numpy as np

from datadiet.errors import OptionError
from datadiet.randomness import mix64
from datadiet.selectors.budget import allocate

__all__ = ["stratified_split"]


def stratified_split(
    labels: np.ndarray | None, index: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split examples in two, class by class.

    The held-out part has round-half-up(fraction·n) examples; classes share them by largest remainder. Which examples
    of a class are held out depends only on the seed and their index.

    Args:
        labels: (n,) integers, or None for one stratum.
        index: (n,) distinct positions in the source, the keys of the draw.
        fraction: between 0 and 1, exclusive.
        seed: a whole number of at least 0.

    Returns:
        Positions in range(n) of the rest and of the held-out part, both ascending int64.

    Raises:
        OptionError: the fraction is out of range or leaves one of the parts empty.
    """
    n = len(index)
    if not 0 < fraction < 1:
        raise OptionError(f"cannot hold out {fraction} of the data: give a fraction between 0 and 1, such as 0.1.")
    total = int((Decimal(str(fraction)) * n).to_integral_value(ROUND_HALF_UP))
    if not 0 < total < n:
        raise OptionError(f"holding out {fraction} of {n} examples leaves one part empty: give another fraction.")
    strata = np.zeros(n, dtype=np.int64) if labels is None else np.unique(labels, return_inverse=True)[1]
    sizes = np.bincount(strata)
    quota = allocate(sizes * (total / n), total, upper=sizes)
    order = np.lexsort((mix64(seed, "split", index), strata))
    starts = np.concatenate([[0], np.cumsum(sizes)])
    rank = np.arange(n) - starts[strata[order]]
    held_out = np.zeros(n, dtype=bool)
    held_out[order] = rank < quota[strata[order]]
    return np.flatnonzero(~held_out), np.flatnonzero(held_out)
