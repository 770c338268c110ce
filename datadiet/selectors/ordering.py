"""What every selector needs: checked input, keys for ties and draws, and the order from hardest to easiest.

Ties are broken by a per-example key, never by position: data sets are often stored class after class, and a
selection that breaks ties by position would keep whole classes and drop others.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from datadiet.arrays import Range, as_array
from datadiet.errors import OptionError
from datadiet.parameters import in_a_line
from datadiet.randomness import Keys

__all__ = ["Prefer", "all_but_largest", "check_k", "as_scores", "choose_keys", "first_k", "smallest", "sortable"]

Prefer = Literal["hardest", "easiest"]

_ANY_BUT_NAN = Range(-np.inf, np.inf)


def check_k(k: int, n: int) -> None:
    """Refuse a budget that n examples cannot fill exactly."""
    if not isinstance(k, (int, np.integer)) or isinstance(k, bool) or not 1 <= k <= n:
        raise OptionError(f"k={in_a_line(k)} of {n} examples: give a whole number between 1 and {n}.")


def as_scores(
    hardness: Any, k: int, *, name: str = "hardness", n: int | None = None, allowed: Range = _ANY_BUT_NAN
) -> np.ndarray:
    """The scores as one-dimensional floats, float32 or float64; NaN, and a k outside 1..n, are refused.

    Args:
        hardness: anything that `datadiet.arrays.as_array` reads.
        k: how many to keep.
        name: what an error calls the scores.
        n: the number of examples; None = of scores.
        allowed: what the scores may be; by default everything but NaN.

    Raises:
        OptionError: something other than numbers, wrong shape, a NaN (its first position is named), a score that is not
            allowed, whole numbers that a float cannot hold, or k not in 1..n.
    """
    values = as_array(name, hardness, "n*")
    if n is not None and len(values) != n:
        raise OptionError(f"{len(values)} values of {name} for {n} examples: give one per example.")
    check_k(k, len(values))
    if values.dtype.kind in "iu" and max(abs(int(values.min())), int(values.max())) > 2**53:
        raise OptionError(f"{name} has whole numbers above 2^53, which floats cannot tell apart: give their ranks.")
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    if allowed.holds(values):
        return values
    bad = np.isnan(values)
    if bad.any():
        raise OptionError(
            f"{name} is NaN for {int(bad.sum())} of {len(values)} examples, the first at position {int(bad.argmax())}: "
            "score them or drop them before selecting."
        )
    raise OptionError(f"{name} goes from {values.min():g} to {values.max():g}: give {allowed}.")


def choose_keys(n: int, rng: np.random.Generator | None, keys: Keys | None) -> Keys:
    """The keys given, else keys seeded from rng, else the fixed keys of seed 0."""
    if keys is None:
        return Keys(0, "select", n) if rng is None else Keys.from_rng(n, rng)
    if keys.n != n:
        raise OptionError(f"keys for {keys.n} rows and {n} examples: give as many keys as examples.")
    return keys


def sortable(values: np.ndarray) -> np.ndarray:
    """Unsigned 32-bit codes in the order of the values, equal for equal values."""
    if values.dtype == np.float32:
        bits = (values + np.float32(0)).view(np.uint32)  # + 0 turns -0 into 0
        flip = (bits.view(np.int32) >> 31).view(np.uint32)  # all bits of a negative number, the sign bit of others
        flip |= np.uint32(1 << 31)
        bits ^= flip
        return bits
    order = np.argsort(values)
    steps = np.empty(len(values), dtype=np.uint32)
    steps[:1] = 0
    np.not_equal(values[order[1:]], values[order[:-1]], out=steps[1:], casting="unsafe")
    codes = np.empty_like(steps)
    codes[order] = np.cumsum(steps, dtype=np.uint32)
    return codes


def smallest(values: np.ndarray, k: int, keys: Keys) -> np.ndarray:
    """The k rows with the smallest values, in no particular order; ties at the cut go by ascending key."""
    if not 0 < k < len(values):
        return np.arange(k)
    cut = np.partition(values, k - 1)[k - 1]
    below = np.flatnonzero(values < cut)
    at = np.flatnonzero(values == cut)
    if len(at) > k - len(below):
        at = keys.sort(np.zeros(len(at), dtype=np.uint32), at)[: k - len(below)]
    return np.concatenate([below, at])


def all_but_largest(values: np.ndarray, k: int, keys: Keys) -> np.ndarray:
    """(n,) bool: all rows but the k < n with the largest values; of ties at the cut, those with the smaller keys go."""
    if not k:
        return np.ones(len(values), dtype=bool)
    cut = np.partition(values, len(values) - k)[len(values) - k]
    rest = values < cut
    at = np.flatnonzero(values == cut)
    spare = len(values) - k - np.count_nonzero(rest)
    rest[keys.sort(np.zeros(len(at), dtype=np.uint32), at)[len(at) - spare :]] = True
    return rest


def first_k(values: np.ndarray, k: int, keys: Keys) -> np.ndarray:
    """The k rows with the smallest values in rank order, ties by key. A smaller k gives a prefix of a larger one."""
    rows = smallest(values, k, keys)
    return keys.sort(sortable(values[rows]), rows)
