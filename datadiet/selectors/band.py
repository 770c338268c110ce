"""Keep a band of consecutive ranks: skip the hardest, or take the middle.

With `skip`, the offset rule of Data Diet (Paul et al. 2021, arXiv 2107.07075): the very hardest examples
are often mislabelled, so a share of them is passed over and the next k are kept. Without it, the median band of
Moderate (Xia et al., ICLR 2023): the k examples whose ranks surround the median.

Deviations: Moderate cuts at the rounded quantiles (1 - f)/2 and (1 + f)/2, which may miss k by one; here the band has
exactly k.

Cost: one sort.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.randomness import Keys
from datadiet.selectors.ordering import as_scores, choose_keys, first_k
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "band"]


@checked
def band(
    hardness: np.ndarray,
    k: int,
    *,
    skip: float | int | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> np.ndarray:
    """The k examples that follow the `skip` hardest, or the k in the middle.

    Args:
        hardness: (n,) numbers without NaN, higher = harder.
        k: how many to keep, 1..n.
        skip: the hardest examples passed over, a count (int) or a share of n (float in [0, 1)); None centres the
            band, (n - k) // 2.
        rng, keys: break ties, as in `top_k`.

    Returns:
        (k,) int64 positions, hardest first.

    Raises:
        OptionError: NaN, or fewer than k examples left after skipping.

    >>> band(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), 2, skip=1).tolist(), band(np.arange(5.0), 1).tolist()
    ([1, 2], [2])
    """
    values = as_scores(hardness, k)
    n = len(values)
    if isinstance(skip, float) and not 0 <= skip < 1:
        raise OptionError(f"skip={skip}: give a share in [0, 1) or a count of examples to pass over.")
    start = (n - k) // 2 if skip is None else int(skip * n + 0.5) if isinstance(skip, float) else skip
    if not 0 <= start <= n - k:
        raise OptionError(
            f"skip={skip} passes over {start} of {n} examples, and {k} of them are to be kept: skip at most {n - k}."
        )
    return first_k(-values, start + k, choose_keys(n, rng, keys))[start:]


SPEC = SelectorSpec(band, reference="Paul et al. 2021; Xia et al. 2023")
