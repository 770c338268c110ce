"""Run any selector within each class, so that every class keeps its share of the budget.

Scores differ between classes, so a global cut skews the class balance, and a small budget skews it most. Proportional
quotas (largest remainders) keep the balance of the full data, and no class vanishes that could keep an example.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datadiet.errors import OptionError
from datadiet.selectors.budget import allocate

__all__ = ["per_class", "proportional"]


def proportional(labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes that occur, and the whole number that each keeps: proportional to its size, summing to k.

    No class is left without an example as long as k is at least the number of classes.

    >>> proportional(np.array([7] * 99 + [9]), 10)[1].tolist(), proportional(np.array([7, 7, 7, 9]), 1)[1].tolist()
    ([9, 1], [1, 0])
    """
    classes, sizes = np.unique(labels, return_counts=True)
    return classes, allocate(sizes * (k / len(labels)), k, lower=int(k >= len(classes)), upper=sizes)


def per_class(
    labels: np.ndarray,
    k: int,
    pick: Callable[[np.ndarray, int], np.ndarray],
    quotas: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Select within each class.

    Args:
        labels: (n,) class numbers.
        k: how many to keep in all.
        pick: (members (m,) int64 positions, quota) -> (quota,) positions *within members*, in rank order.
        quotas: (classes, counts); proportional when not given.

    Returns:
        (k,) int64 positions; the first choice of every class comes before any second choice.
    """
    labels = np.asarray(labels)
    if len(labels) < k:
        raise OptionError(f"{len(labels)} labels, and {k} examples to keep: give one label per example.")
    classes, counts = quotas if quotas is not None else proportional(labels, k)
    picks, places = [], []
    for c, quota in zip(classes, counts, strict=True):
        if quota:
            members = np.flatnonzero(labels == c)
            picks.append(members[pick(members, int(quota))])
            places.append(np.arange(quota))
    return np.concatenate(picks)[np.argsort(np.concatenate(places), kind="stable")]
