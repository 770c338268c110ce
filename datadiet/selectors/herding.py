"""Herding: take examples whose running mean follows the mean of all.

Welling, ICML 2009 (Herding Dynamical Weights to Learn); for choosing examples in the space of features: Rebuffi et al.,
iCaRL, CVPR 2017 (arXiv 1611.07725), Algorithm 4. With mu the mean of all vectors and S the sum of the t taken, the next
is
argmin_x ||(t + 1) mu - S - x||  =  argmax_x <x, (t + 1) mu - S> - ||x||^2 / 2,
and for vectors of length 1 the largest inner product with w = (t + 1) mu - S, which is Welling's w <- w + mu - x.

Deviations: without replacement. Values that differ only by rounding are ties (`inner_products`), which go by key.

Cost: n k d multiplications. Vectors of up to 1 GiB in float32 are held in memory; larger ones are read again for each
example taken. In addition, a few numbers per example.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.geometry import Matrix, cost
from datadiet.parameters import checked
from datadiet.progress import steps
from datadiet.randomness import Keys
from datadiet.selectors.inner_products import InnerProducts
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "herding"]


@checked
def herding(
    embeddings: Any,
    k: int,
    *,
    normalise: bool = True,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> np.ndarray:
    """A subset whose mean is close to the mean of all, at every size.

    Args:
        embeddings: (n, d) finite floats, in memory or memory-mapped, or a `Matrix`.
        k: how many to keep, 1..n.
        normalise: scale vectors to length 1 first, as iCaRL does; zero vectors are then refused.
        rng, keys: break ties.

    Returns:
        (k,) int64 positions, in the order in which they were taken. Nested: a smaller k gives a prefix.

    Raises:
        OptionError: k outside 1..n.
        BadVector: a vector that is not finite, or all zeros if normalise=True.

    >>> herding(np.array([[0.0], [2.0], [3.0], [7.0]]), 3, normalise=False).tolist()
    [2, 1, 3]
    """
    matrix = Matrix.open(embeddings, unit=normalise)
    n = len(matrix)
    check_k(k, n)
    draws = choose_keys(n, rng, keys).draw()
    products = InnerProducts(matrix, k)
    less = np.zeros(n) if normalise else products.square / 2
    chosen = np.empty(k, dtype=np.int64)
    for place in steps("herding", range(k)):
        row = products.best(place + 1, less, draws)
        chosen[place], less[row] = row, np.inf
        products.take(row)
    return chosen


def _cost(n: int, d: int, k: int | None, /, **parameters: Any) -> list[cost.Stage]:
    """k products with one direction."""
    return [cost.opening(n, d), cost.directions(n, d, k or n, "follow the mean")]


SPEC = SelectorSpec(herding, nested=True, cost=_cost, reference="Welling 2009")
