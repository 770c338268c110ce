"""What every selector needs: checked input, keys for ties and draws, and the order from hardest to easiest.

Ties are broken by a per-example key, never by position: data sets are often stored class after class, and a
selection that breaks ties by position would keep whole classes and drop others.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from datadiet.errors import OptionError
from datadiet.randomness import Keys

__all__ = ["Prefer", "check_k", "checked", "draw_keys", "first_k", "rank", "smallest"]

Prefer = Literal["hardest", "easiest"]


def check_k(k: int, n: int) -> None:
    """Refuse a budget that n examples cannot fill exactly."""
    if not 1 <= k <= n:
        raise OptionError(f"k={k} of {n} examples: give a k between 1 and {n}.")


def checked(hardness: np.ndarray, k: int, *, name: str = "hardness") -> np.ndarray:
    """The scores as a one-dimensional array without NaN, and k within its length.

    Raises:
        OptionError: wrong shape, a NaN (its first position is named), or k not in 1..n.
    """
    values = np.asarray(hardness)
    if values.ndim != 1:
        raise OptionError(f"{name} has shape {values.shape}: a selector takes one number per example, shape (n,).")
    check_k(k, len(values))
    bad = np.isnan(values)
    if bad.any():
        raise OptionError(
            f"{name} is NaN for {int(bad.sum())} of {len(values)} examples, the first at position {int(bad.argmax())}: "
            "score them or drop them before selecting."
        )
    return values


def draw_keys(
    n: int, rng: np.random.Generator | None, keys: np.ndarray | Keys | None
) -> np.ndarray | Keys:
    """One 64-bit key per example: those given, else drawn from rng, else the fixed keys of seed 0."""
    if keys is None:
        return Keys(0, "select", np.arange(n)) if rng is None else rng.integers(0, 2**64, n, dtype=np.uint64)
    if len(keys) != n:
        raise OptionError(f"{len(keys)} keys for {n} examples: give one key per example.")
    return keys


def rank(values: np.ndarray, positions: np.ndarray, keys: np.ndarray | Keys) -> np.ndarray:
    """Positions by ascending value, ties by ascending key.

    Args:
        values: (n,) numbers.
        positions: (m,) int64, the examples to order.
        keys: one per example; only those of tied examples are computed.
    """
    chosen = values[positions]
    order = np.argsort(chosen)
    positions, chosen = positions[order], chosen[order]
    tied = np.zeros(len(chosen) + 1, dtype=bool)
    np.equal(chosen[1:], chosen[:-1], out=tied[1:-1])
    runs = np.flatnonzero(tied[1:] | tied[:-1])
    if len(runs):
        positions[runs] = positions[runs][np.lexsort((keys[positions[runs]], chosen[runs]))]
    return positions


def smallest(values: np.ndarray, k: int, keys: np.ndarray | Keys) -> np.ndarray:
    """The k positions with the smallest values, in no particular order; ties at the cut go by ascending key."""
    if not 0 < k < len(values):
        return np.arange(k)
    cut = np.partition(values, k - 1)[k - 1]
    below = np.flatnonzero(values < cut)
    at = np.flatnonzero(values == cut)
    if len(at) > k - len(below):
        at = at[np.argsort(keys[at])][: k - len(below)]
    return np.concatenate([below, at])


def first_k(values: np.ndarray, k: int, keys: np.ndarray | Keys) -> np.ndarray:
    """The k positions with the smallest values in rank order. A smaller k gives a prefix of a larger one."""
    return rank(values, smallest(values, k, keys), keys)
