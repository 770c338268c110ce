"""Ranks and correlations along the first axis, and checks of the inputs of all measures.

Ties get their average rank (mid-rank), as in Spearman's coefficient and the area under the ROC curve.
"""

from __future__ import annotations

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.errors import OptionError
from datadiet.selectors.budget import parse_keep

__all__ = ["average_ranks", "constant", "correlation", "as_finite", "how_many"]


def as_finite(values: np.ndarray, name: str, axes: tuple[int, ...]) -> np.ndarray:
    """The values as float64, checked to have one of these numbers of axes, none of them empty.

    Raises:
        OptionError: the wrong shape, an empty axis, or an entry that is NaN or infinite.
    """
    array = np.asarray(in_numpy(values, name))
    if array.ndim not in axes or 0 in array.shape or array.dtype.kind not in "biuf":
        raise OptionError(
            f"{name} is an array of {array.dtype} of shape {array.shape}: give numbers, ndim "
            f"{' or '.join(map(str, axes))}, and no axis of length 0."
        )
    array = array.astype(np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        raise OptionError(
            f"{name} is NaN or infinite in {int(bad.sum())} places, the first at {_first(bad)}: give finite numbers, "
            "such as margins computed from logits instead of rounded probabilities."
        )
    return array


def _first(bad: np.ndarray) -> str:
    return ", ".join(map(str, np.argwhere(bad)[0].tolist()))


def how_many(name: str, share: float | int | str, n: int) -> int:
    """The number of examples that a fraction or a count of n asks for, like `keep` of a selection.

    Raises:
        OptionError: it is neither, or asks for none or for more than n; the message uses `name`.
    """
    try:
        return parse_keep(share, n)
    except OptionError:
        raise OptionError(
            f"{name}={share!r} of {n} examples: give a fraction above 0 and at most 1.0 that makes at least one "
            "example, or an integer where counts are allowed."
        ) from None


def constant(values: np.ndarray) -> np.ndarray:
    """Whether all entries along the first axis are equal: a bool, or (m,) bool for (s, m)."""
    return np.asarray(values.max(axis=0) == values.min(axis=0))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks 1..s along the first axis, the mean rank for ties.

    Args:
        values: (s,) or (s, m), without NaN; infinities rank like other numbers.

    Returns:
        float64 of the same shape.

    >>> average_ranks(np.array([3.0, 1.0, 3.0])).tolist()
    [2.5, 1.0, 2.5]
    """
    if values.ndim == 2:
        return np.stack([average_ranks(column) for column in values.T], axis=1)
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Pearson's correlation along the first axis; of ranks it is Spearman's.

    Args:
        a: (s,) or (s, m) float64, finite and not constant.
        b: the same shape.

    Returns:
        A scalar or (m,), in [-1, 1].

    >>> float(correlation(np.array([1.0, 2.0, 3.0]), np.array([5.0, 3.0, 1.0])))
    -1.0
    """
    product = (_unit(a) * _unit(b)).sum(axis=0)
    return np.asarray(np.clip(product, -1, 1))  # beyond 1 by rounding only


def _unit(values: np.ndarray) -> np.ndarray:
    """Centred, with length 1; scaled before squaring so that tiny and huge values keep their digits."""
    scaled = values / np.abs(values).max(axis=0)
    scaled = scaled - scaled.mean(axis=0)
    scaled = scaled / np.abs(scaled).max(axis=0)
    return scaled / np.sqrt((scaled**2).sum(axis=0))
