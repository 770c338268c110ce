"""How far do two selections, or two scores, keep the same examples?

For pruning, a score is what it keeps: two scores with a correlation of 0.9 may share half of their hardest tenth, and
two that differ everywhere else may share all of it. The overlap at the budget of interest says so directly. Compare it
with chance: an independent random choice of k out of n examples shares k/n on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.data.identity import check_identity
from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys
from datadiet.selectors.budget import parse_keep
from datadiet.selectors.ordering import Prefer, as_scores, smallest
from datadiet.table import Selection

__all__ = ["Overlap", "overlap_between_scores", "selection_overlap"]


@dataclass(frozen=True)
class Overlap:
    """What two selections A and B have in common.

    Attributes:
        shared: |A ∩ B|, the number of examples in both.
        share: |A ∩ B| / |A|, in [0, 1]; the same from either side if A and B have the same size.
        jaccard: |A ∩ B| / |A ∪ B|, in [0, 1].
        chance: |B| / n, the share that a random B would give; None if n is not known.
    """

    shared: int
    share: float
    jaccard: float
    chance: float | None


@checked
def selection_overlap(a: Selection | np.ndarray, b: Selection | np.ndarray, *, n: int | None = None) -> Overlap:
    """The overlap of two selections.

    Args:
        a: a `Selection`, or (k,) distinct positions.
        b: the same; of any size.
        n: the number of examples chosen from; a `Selection` knows it.

    Returns:
        Counts and shares; `share` is of a.

    Raises:
        OptionError: positions that are not distinct, or selections from different sets of examples.
        FingerprintMismatch: selections of different data sets.

    >>> selection_overlap(np.array([0, 1, 2, 3]), np.array([2, 3, 4, 5]), n=8)
    Overlap(shared=2, share=0.5, jaccard=0.3333333333333333, chance=0.5)
    """
    ours, theirs = _positions(a, "a"), _positions(b, "b")
    pool = _pool(a, b, n)
    size = len(pool) if isinstance(pool, np.ndarray) else pool
    for name, chosen in (("a", ours), ("b", theirs)):
        strays = _strays(chosen, pool)
        if len(strays):
            raise OptionError(
                f"{name} holds position {strays[0]}, which is not among the {size} examples chosen from: give "
                "positions in the same data set."
            )
    shared = len(np.intersect1d(ours, theirs, assume_unique=True))
    union = len(ours) + len(theirs) - shared
    return Overlap(shared, shared / len(ours), shared / union, None if size is None else len(theirs) / size)


@checked
def overlap_between_scores(
    hardness_a: np.ndarray,
    hardness_b: np.ndarray,
    keep: float | int | str,
    *,
    prefer: Prefer = "hardest",
    seed: int = 0,
) -> Overlap:
    """The overlap of the examples that two scores would keep.

    Ties at the cut are broken independently for each score, so two scores that rank nothing agree only by chance; for
    the same reason, a score with ties at the cut does not fully agree with itself.

    Args:
        hardness_a: (n,), higher = harder.
        hardness_b: (n,), for the same examples.
        keep: the budget, a fraction or a count.
        prefer: which end to keep.
        seed: for breaking ties.

    Returns:
        Counts and shares; `chance` is k/n.

    Raises:
        OptionError: different shapes, a NaN, a budget that cannot be met, or an unknown end.

    >>> overlap_between_scores(np.array([4.0, 3.0, 2.0, 1.0]), np.array([4.0, 1.0, 3.0, 2.0]), keep=0.5).share
    0.5
    """
    both = as_scores(hardness_a, 1, name="hardness_a"), as_scores(hardness_b, 1, name="hardness_b")
    n = len(both[0])
    if len(both[1]) != n:
        raise OptionError(f"hardness_a has {n} examples and hardness_b {len(both[1])}: give the same examples.")
    k, sign = parse_keep(keep, n), -1 if prefer == "hardest" else 1
    kept = [smallest(sign * values, k, Keys(seed, f"overlap {side}", n)) for side, values in enumerate(both)]
    return selection_overlap(kept[0], kept[1], n=n)


def _positions(given: Selection | np.ndarray, name: str) -> np.ndarray:
    if isinstance(given, Selection):
        return given.indices
    positions = np.asarray(in_numpy(given, name))
    if positions.ndim != 1 or positions.dtype.kind not in "iu" or not len(positions):
        raise OptionError(
            f"{name} is {positions.dtype} of shape {positions.shape}: give a Selection or integer positions of shape "
            "(k,), as numpy.flatnonzero makes from a mask."
        )
    if len(np.unique(positions)) < len(positions) or positions.min() < 0 or positions.max() >= 2**63:
        raise OptionError(
            f"{name} holds a position twice, below 0 or above 2^63: give each chosen position once, counted from 0."
        )
    return positions.astype(np.int64)


def _pool(a: Selection | np.ndarray, b: Selection | np.ndarray, n: int | None) -> np.ndarray | int | None:
    """The positions chosen from: those of a selection, or n for 0..n-1; None if nobody says."""
    pools = [given.index for given in (a, b) if isinstance(given, Selection)]
    if isinstance(a, Selection) and isinstance(b, Selection):
        check_identity(a.meta.get("data", {}), b.meta.get("data", {}), "selection a")
        if not np.array_equal(a.index, b.index):
            raise OptionError(
                f"a was selected from {len(a.index)} examples and b from {len(b.index)}, not the same ones: compare "
                "selections from the same examples."
            )
    if pools and n is not None and n != len(pools[0]):
        raise OptionError(f"n={n}, and the selection was made from {len(pools[0])} examples: leave out n.")
    return pools[0] if pools else None if n is None else check_whole("n", n)


def _strays(chosen: np.ndarray, pool: np.ndarray | int | None) -> np.ndarray:
    """The chosen positions that are not among those chosen from."""
    if pool is None:
        return chosen[:0]
    return chosen[~np.isin(chosen, pool)] if isinstance(pool, np.ndarray) else chosen[chosen >= pool]
