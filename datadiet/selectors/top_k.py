"""Keep the k hardest, or the k easiest, examples.

The oldest rule of data pruning, and the one on which papers disagree: EL2N, GraNd and forgetting keep the hardest
(Paul et al. 2021, arXiv 2107.07075; Toneva et al. 2019, arXiv 1812.05159), self-supervised prototypes keep the
hardest when data is plentiful and the easiest when it is scarce (Sorscher et al. 2022, arXiv 2206.14486). Hence
`prefer` has no default.

Deviations: ties at the cut are broken by key, where published code takes whatever its sort puts first.

Cost: one partition of n scores and a sort of the k kept.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.randomness import Keys
from datadiet.selectors.ordering import Prefer, as_scores, choose_keys, first_k
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "top_k"]


@checked
def top_k(
    hardness: np.ndarray,
    k: int,
    *,
    prefer: Prefer,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> np.ndarray:
    """The k hardest or easiest examples.

    Args:
        hardness: (n,) numbers without NaN, higher = harder.
        k: how many to keep, 1..n.
        prefer: "hardest" or "easiest": which end to keep.
        rng: seeds the keys, when `keys` is not given.
        keys: break ties, the smaller first.

    Returns:
        (k,) int64 positions, the most preferred first. Nested: a smaller k gives a prefix.

    Raises:
        OptionError: NaN, k outside 1..n, or an unknown `prefer`.

    >>> top_k(np.array([0.1, 0.9, 0.5]), 2, prefer="hardest").tolist()
    [1, 2]
    """
    values = as_scores(hardness, k)
    return first_k(-values if prefer == "hardest" else values, k, choose_keys(len(values), rng, keys))


SPEC = SelectorSpec(top_k, nested=True, reference="Paul et al. 2021; Toneva et al. 2019")
