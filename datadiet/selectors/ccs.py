"""Coverage-centric coreset selection: drop the hardest few, then cover the whole range of scores.

Zheng, Liu, Lai, Prakash: Coverage-centric Coreset Selection for High Pruning Rates, ICLR 2023 (arXiv 2210.15809),
Algorithm 1. (1) Drop the floor(beta n) hardest examples by `cutoff_scores` (in the paper always AUM: low AUM is a sign
of a wrong label). (2) Cut the range of the remaining scores into `strata` intervals of equal width. (3) Share k out
evenly over the strata; a stratum with fewer examples gives all it has, and the others share the rest. (4) Draw
uniformly within each stratum.

Deviations: the paper tunes beta per data set and budget by grid search; our default depends only on the budget and was
fixed beforehand (`default_beta`). The last interval is closed, so that it contains the largest score even when scores
are negative. If fewer than k examples remain after the cutoff, that is an error, not a smaller subset.

Cost: one sort by stratum, O(n).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.randomness import Keys, blocks
from datadiet.selectors.budget import allocate
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import all_but_largest, as_scores, choose_keys
from datadiet.selectors.spec import Column, FromBudget, SelectorSpec

__all__ = ["SPEC", "ccs", "default_beta"]

_NARROWEST = 1e-300  # a range; the inverse of a smaller one is infinite


def default_beta(k: int, n: int) -> float:
    """The share of hardest examples dropped first: 0 when at least 50 % are kept, 0.1 from 20 %, 0.3 below.

    >>> [default_beta(k, 10) for k in (5, 2, 1)]
    [0.0, 0.1, 0.3]
    """
    return 0.0 if 2 * k >= n else 0.1 if 5 * k >= n else 0.3


@explained
def ccs(
    hardness: np.ndarray,
    k: int,
    *,
    cutoff_scores: np.ndarray | None = None,
    beta: float | None = None,
    strata: int = 50,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """A subset that covers all degrees of hardness.

    Args:
        hardness: (n,) finite numbers, higher = harder; the strata are cut along it.
        k: how many to keep, 1..n.
        cutoff_scores: (n,) numbers, higher = harder; the floor(beta n) highest are dropped first. Default: hardness.
        beta: share dropped first, in [0, 1 - k/n]; None is `default_beta(k, n)`. The authors' README uses 0.3 for
            CIFAR-10 at 10 % kept, and 0.2 and 0.3 for ImageNet at 20 and 10 %.
        strata: number of intervals, 1..65535. Paper: 50.
        rng, keys: the source of randomness; in each stratum the smallest keys are kept.

    Returns:
        (k,) int64 positions, from the hardest stratum to the easiest, in random order within each. Not nested;
        `.explain` also gives `stratum`: (n,) int32, 1 for the easiest, 0 for examples that the cutoff drops.

    Raises:
        OptionError: NaN or infinite scores, k outside 1..n, or beta that leaves fewer than k.

    >>> sorted(ccs(np.array([0.0, 0.1, 0.2, 0.9, 1.0]), 3, beta=0.2, strata=2).tolist())[-1]
    3
    """
    values = as_scores(hardness, k)
    keys = choose_keys(len(values), rng, keys)
    cutoff = values if cutoff_scores is None else as_scores(cutoff_scores, k, name="cutoff_scores", n=len(values))
    beta = default_beta(k, len(values)) if beta is None else beta
    stratum = _strata(values, k, cutoff, beta, strata, keys)
    highest = int(stratum.max())

    def quotas(sizes: np.ndarray) -> np.ndarray:
        """As even as the sizes allow, and none of stratum 0."""
        return np.append(0, allocate(np.full(highest, k / highest), k, upper=sizes[1:]))

    return Explained(np.concatenate(keys.draw_groups(stratum, highest + 1, quotas)[::-1]), stratum=stratum)


def _strata(values: np.ndarray, k: int, cutoff: np.ndarray, beta: float, strata: int, keys: Keys) -> np.ndarray:
    if not np.isfinite(float(values.max()) - float(values.min())):
        raise OptionError(
            "the scores contain infinities, or their range is infinite, and ccs cuts it into equal parts: cap them "
            "first."
        )
    if not 1 <= strata < 2**16:
        raise OptionError(f"strata={strata}: give a number from 1 to 65535.")
    n = len(values)
    dropped = int(beta * n + 1e-9) if 0 <= beta < 1 else n
    if dropped > n - k:
        raise OptionError(
            f"beta={beta} drops {dropped} of {n} examples, and {k} are to be kept: give at most {1 - k / n:.4g}."
        )
    return _cut(values, all_but_largest(cutoff, dropped, keys), strata)


def _cut(values: np.ndarray, kept: np.ndarray, strata: int) -> np.ndarray:
    """The interval, from 1, of every kept value among `strata` of equal width over their range; 0 for the others."""
    low, high = _end(values, kept, np.argmin, np.min), _end(values, kept, np.argmax, np.max)
    width = high - low if high - low > _NARROWEST else 1.0
    stratum = np.empty(len(values), dtype=np.int32)
    with np.errstate(over="ignore"):  # of values that are not kept
        for span in blocks(len(values)):
            place = values[span].astype(np.float64)
            place -= low
            place *= strata / width
            np.clip(place, 0, strata - 1, out=place)
            place += 1
            place *= kept[span]
            stratum[span] = place
    return stratum


def _end(values: np.ndarray, kept: np.ndarray, where: Callable[..., Any], end: Callable[..., Any]) -> float:
    """The smallest (argmin, min) or largest kept value; usually that of all values, which is faster to find."""
    whole = where(values)
    if kept[whole]:
        return float(values[whole])
    parts = (values[span][kept[span]] for span in blocks(len(values)))
    return float(end([end(part) for part in parts if len(part)]))


SPEC = SelectorSpec(
    ccs,
    reads={"hardness": Column("aum"), "cutoff_scores": Column("aum"), "beta": FromBudget(default_beta)},
    reference="Zheng et al. 2023",
)
