"""Which of several duplicates to keep: the order of preference, and groups of equal items."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Literal

import numpy as np

from datadiet.errors import OptionError
from datadiet.randomness import Keys
from datadiet.selectors.ordering import as_scores

__all__ = ["Preference", "by_preference", "check_preference", "equal_groups", "firsts", "inverse_order"]

Preference = Literal["hardest", "easiest", "random"]


def check_preference(prefer: str, hardness: np.ndarray | None, n: int) -> np.ndarray | None:
    """The hardness as floats, if there is one.

    Raises:
        OptionError: hardness together with "random", the wrong number of values, or NaN.
    """
    if hardness is None:
        return None
    if prefer == "random":
        raise OptionError("prefer='random' reads no hardness: leave one of the two out.")
    return as_scores(hardness, n, n=n)


def by_preference(hardness: np.ndarray | None, prefer: Preference, keys: Keys) -> np.ndarray:
    """All rows, the most preferred first: (n,) int64. By hardness, ties by the smaller key; without it by key alone."""
    value = np.zeros(keys.n) if hardness is None or prefer == "random" else hardness
    return np.lexsort((keys.draw(), value if prefer == "easiest" else -value))


def inverse_order(order: np.ndarray) -> np.ndarray:
    """The place of every row in an order of all rows."""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place


def equal_groups(items: Iterable[Any]) -> np.ndarray:
    """Group numbers from 0, (n,) int64, the same for equal items; an item is bytes or a contiguous array.

    Two different items share a hash of 128 bits with a probability of 1e-21 among a billion.
    """
    digests = [hashlib.blake2b(item, digest_size=16).digest() for item in items]
    return np.unique(np.array(digests, dtype="S16"), return_inverse=True)[1].reshape(-1)


def firsts(group: np.ndarray, order: np.ndarray) -> np.ndarray:
    """For every row, the most preferred row of its group: (n,) int64.

    Args:
        group: (n,) numbers from 0.
        order: (n,) all rows, the most preferred first.
    """
    first = np.empty(group.max() + 1, dtype=np.int64)
    first[group[order[::-1]]] = order[::-1]  # of several writes to one entry the last stays
    return first[group]
