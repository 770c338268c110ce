"""Keep k examples at random: the baseline that every other method has to beat.

With labels the draw is stratified: each class keeps its share of the data, to the nearest whole example.

Cost: one draw per example.
"""

from __future__ import annotations

import numpy as np

from datadiet.arrays import class_numbers
from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys
from datadiet.selectors.by_class import per_class
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "random"]


_MOST = 1 << 48


@checked
def random(
    n: int,
    k: int,
    *,
    labels: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> np.ndarray:
    """A uniformly random subset.

    Args:
        n: number of examples.
        k: how many to keep, 1..n.
        labels: (n,) class numbers; when given, the subset is stratified by them.
        rng, keys: the source of randomness; the k smallest keys are kept.

    Returns:
        (k,) int64 positions in random order. Nested without labels: a smaller k with the same keys gives a prefix.

    Raises:
        OptionError: k outside 1..n, or labels that are not class numbers.

    >>> len(set(random(10, 4).tolist()))
    4
    """
    check_k(k, check_whole("n", n))
    if n >= _MOST:
        raise OptionError(f"n={n}: no data set has so many examples: give their number.")
    keys = choose_keys(n, rng, keys)
    if labels is not None:
        return per_class(
            class_numbers("labels", labels, n),
            k,
            lambda members, quota: random(len(members), quota, keys=keys.of(members)),
        )
    return keys.sort(np.zeros(n, dtype=np.uint32))[:k]


SPEC = SelectorSpec(random, nested=True, reference="baseline")
