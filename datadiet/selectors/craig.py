"""CRAIG: medoids of the gradients, each weighted by how many gradients it stands for.

Mirzasoleiman, Bilmes, Leskovec: Coresets for Data-efficient Training of Machine Learning Models, ICML 2020 (arXiv
1906.01827). The error of replacing the sum of all gradients by the weighted sum over S is at most
sum_i min_{j in S} ||g_i - g_j||, which facility location with s_ij = D - ||g_i - g_j|| makes small, D being the largest
distance. The weight of j in S is the number of i whose nearest member of S is j.

Deviations: with labels, quotas are proportional to the sizes of the classes, in whole numbers, and at least 1.
Similarities are s_ij / D rounded to 2^-20. Above 4096 examples (in a class), only the `neighbours` nearest count, and
all others are treated as being as far away as the farthest in any list; a row without a kept example in its list counts
for the nearest kept example overall. Every kept example counts for itself, so that kept duplicates have a weight too.

Cost: that of `facility_location`, for each class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.arrays import class_numbers
from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost
from datadiet.parameters import checked
from datadiet.randomness import Keys
from datadiet.selectors.budget import allocate
from datadiet.selectors.by_class import per_class
from datadiet.selectors.facility_location import facility_location_cost, nearest_kept, representatives
from datadiet.selectors.greedy import Optimizer
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.spec import ByClass, SelectorSpec

__all__ = ["SPEC", "craig"]


@checked
def craig(
    embeddings: Any,
    k: int,
    *,
    labels: np.ndarray | None = None,
    neighbours: int | None = None,
    optimizer: Optimizer = "lazy",
    epsilon: float = 0.01,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Medoids and the sizes of their clusters.

    Args:
        embeddings: (n, d) finite floats: gradients, of the last layer or projected, or a substitute; in memory,
            memory-mapped or a `Matrix`. Distances are Euclidean, so lengths matter.
        k: how many to keep, 1..n, and at least one for each class.
        labels: (n,) class numbers: medoids are chosen within each class, as in the paper. None = all together.
        neighbours: how many nearest examples, besides itself, can represent an example (all if there are fewer).
            None = all up to 4096 examples, 64 above.
        optimizer: "lazy"; "naive", which takes the same examples but is slow; or "stochastic".
        epsilon: for "stochastic", in (0, 1): the smaller, the more examples are compared.
        rng, keys: break ties, and draw for "stochastic".

    Returns:
        (k,) int64 positions in the order in which they were taken (with labels, the first of every class before any
        second); and (k,) float64 weights, whole numbers of at least 1 that sum to n. Not nested: the weights depend on
        k, and so do the quotas of classes.

    Raises:
        OptionError: k outside 1..n or less than the number of classes, or an option outside its range.
        BadVector: a vector that is not finite.

    >>> positions, weights = craig(np.array([[0.0], [0.1], [5.0]]), 2)
    >>> positions.tolist(), weights.tolist()
    ([1, 2], [2.0, 1.0])
    """
    matrix = Matrix.open(embeddings)
    n = len(matrix)
    check_k(k, n)
    keys = choose_keys(n, rng, keys)
    weight = np.zeros(n)

    def medoids(members: np.ndarray, quota: int) -> np.ndarray:
        part = matrix if labels is None else matrix.part(members)
        chosen, witness = representatives(part, quota, neighbours, "euclidean", keys.of(members), optimizer, epsilon)
        witness = nearest_kept(part, chosen, witness, "euclidean")
        witness[chosen] = chosen
        weight[members] = np.bincount(witness, minlength=len(members))
        return chosen

    if labels is None:
        positions = medoids(np.arange(n), k)
    else:
        classes = class_numbers("labels", labels, n)
        positions = per_class(classes, k, medoids, _quotas(classes, k, n))
    return positions, weight[positions]


def _quotas(labels: np.ndarray, k: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    classes, sizes = np.unique(labels, return_counts=True)
    if k < len(classes):
        raise OptionError(f"k={k} for {len(classes)} classes: keep at least one of each, or leave labels out.")
    return classes, allocate(sizes * (k / n), k, lower=1, upper=sizes)


def _cost(n: int, d: int, k: int | None, /, **parameters: Any) -> list[cost.Stage]:
    """`facility_location` without witnesses, as if all examples were one class."""
    return [cost.opening(n, d, 1), *facility_location_cost(n, d, k, **parameters)[1:-1]]


SPEC = SelectorSpec(craig, reads={"labels": ByClass()}, cost=_cost, reference="Mirzasoleiman et al. 2020")
