"""Sensitivity sampling: draw examples in proportion to how much they can matter, and weight them by the inverse.

With inclusion probabilities q_i and weights 1/q_i, the weighted sum of anything over the kept is right on average
(Horvitz and Thompson, 1952); sensitivities keep its variance low for a whole family of losses (Langberg and Schulman,
SODA 2010). q_i = min(1, C sigma_i), sum_i q_i = k, with sigma_i
leverage:    a_i^T (A^T A)^+ a_i, the statistical leverage of row i, for least squares and similar losses;
clustering:  l(c_i) + Lambda ||e_i - c_i||^z, c_i the centroid of the cluster of i and l its loss: Axiotis et al., ICML
             2024 (arXiv 2402.17327), for any loss that changes little between near examples.

Deviations: k different examples, drawn by systematic sampling (Madow, 1949) along a random order, which has exactly
these inclusion probabilities; Axiotis et al. draw with replacement. l(c) is the hardness of the member nearest to c, or
0 without hardness. Without `slope` (their Lambda, a Hoelder constant, unknown in practice) both terms have the same
sum. Rows with sigma = 0 are drawn, with equal probability, only if the others do not suffice.

Cost: n d^2 + d^3 operations for leverage, k-means for clustering; one sort.
"""

from __future__ import annotations

from math import ceil, sqrt
from typing import Any, Literal

import numpy as np

from datadiet.arrays import Range
from datadiet.errors import OptionError
from datadiet.geometry import Clusters, Matrix, cost, kmeans
from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys, generator
from datadiet.selectors.budget import allocate, in_proportion
from datadiet.selectors.ordering import as_scores, check_k, choose_keys
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "STEPS", "inclusion", "leverage", "sensitivity", "systematic"]

STEPS = 1 << 28  # of a probability
_BLOCK = 4096
_RANK = 1e-10  # eigenvalues of A^T A below this share of the largest are rounding errors


@checked
def sensitivity(
    embeddings: Any,
    k: int,
    *,
    kind: Literal["leverage", "clustering"] = "leverage",
    hardness: np.ndarray | None = None,
    clusters: int | Clusters | None = None,
    slope: float | None = None,
    power: float | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A random subset whose weighted sums are right on average.

    Args:
        embeddings: (n, d) finite floats, in memory or memory-mapped, or a `Matrix`.
        k: how many to keep, 1..n.
        kind: "leverage" or "clustering".
        hardness: (n,) losses of at least 0, for "clustering"; only those of the members nearest to the centroids
            are read. None = 0.
        clusters: for "clustering": how many, or existing clusters; None = ceil(sqrt(n)). Clusters made here are
            Euclidean.
        slope: Lambda, at least 0, for "clustering"; None = the value that gives both terms the same sum.
        power: z, above 0, for "clustering"; None = 2, that of k-means.
        rng, keys: the source of randomness.

    Returns:
        (k,) int64 positions in random order, and (k,) float64 weights 1/q, whose sum is n on average. Not nested: the
        probabilities depend on k.

    Raises:
        OptionError: k outside 1..n, negative losses, or an option that belongs to the other kind.
        BadVector: a vector that is not finite.

    >>> positions, weights = sensitivity(np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 9.0]]), 2)
    >>> sorted(positions.tolist())[-1], sorted(weights.tolist())
    (2, [1.0, 2.0])
    """
    matrix = Matrix.open(embeddings)
    check_k(k, len(matrix))
    keys = choose_keys(len(matrix), rng, keys)
    if kind == "leverage":
        for name, value in (("hardness", hardness), ("clusters", clusters), ("slope", slope), ("power", power)):
            if value is not None:
                raise OptionError(f"{name} goes with kind='clustering': leave it out, or choose that kind.")
        sigma = leverage(matrix)
    else:
        sigma = _by_cluster(matrix, hardness, clusters, slope, 2.0 if power is None else power, keys)
    order = keys.sort(np.zeros(len(matrix), dtype=np.uint32))
    q = inclusion(sigma[order], k)
    drawn = systematic(q, int(generator(keys.seed, keys.stream, "systematic").integers(STEPS)))
    return order[drawn], STEPS / q[drawn]


def leverage(matrix: Matrix) -> np.ndarray:
    """a_i^T (A^T A)^+ a_i: (n,) float64 in [0, 1], summing to the rank of A."""
    gram = np.zeros((matrix.dim, matrix.dim))
    for _, block in matrix.blocks(_BLOCK):
        rows = block.astype(np.float64)
        gram += rows.T @ rows
    size, direction = np.linalg.eigh(gram)
    real = size > _RANK * max(size[-1], 0.0)
    whiten = direction[:, real] / np.sqrt(size[real])
    return np.concatenate([np.square(block @ whiten).sum(axis=1) for _, block in matrix.blocks(_BLOCK)])


def inclusion(sigma: np.ndarray, k: int) -> np.ndarray:
    """min(1, C sigma_i), summing to k; if that is not enough, rows with sigma = 0 share the rest evenly.

    Args:
        sigma: (n,) at least 0.
        k: 1..n.

    Returns:
        (n,) int64 in steps of 2^-28, so that the sum is exactly k; at least one step where sigma > 0.

    >>> (inclusion(np.array([1.0, 1.0, 6.0, 0.0]), 2) / STEPS).tolist()
    [0.5, 0.5, 1.0, 0.0]
    """
    q = in_proportion(sigma, float(k), np.ones(len(sigma)))
    zero = sigma <= 0
    some = len(sigma) - np.count_nonzero(zero)
    if k > some:
        q[zero] = (k - some) / (len(sigma) - some)
    return allocate(q * STEPS, k * STEPS, lower=~zero, upper=STEPS)


def systematic(q: np.ndarray, offset: int) -> np.ndarray:
    """Rows at which the running sum of q passes offset, offset + STEPS, offset + 2 STEPS, ...: int64.

    Under a uniform offset in 0..STEPS-1, every row is drawn with probability q / STEPS, and none twice, as q <= STEPS.

    >>> systematic(np.array([STEPS // 2, STEPS // 2, STEPS]), STEPS - 1).tolist()
    [1, 2]
    """
    passed = (np.cumsum(q) - offset + STEPS - 1) // STEPS
    return np.flatnonzero(np.diff(passed, prepend=0))


def _by_cluster(
    matrix: Matrix,
    hardness: np.ndarray | None,
    clusters: int | Clusters | None,
    slope: float | None,
    power: float,
    keys: Keys,
) -> np.ndarray:
    n = len(matrix)
    if not 0 < power < float("inf") or (slope is not None and not 0 <= slope < float("inf")):
        raise OptionError(f"power={power}, slope={slope}: give a power above 0 and a slope of at least 0.")
    if not isinstance(clusters, Clusters):
        count = ceil(sqrt(n)) if clusters is None else check_whole("clusters", clusters)
        clusters = kmeans(matrix, count, spherical=False, keys=keys, progress=True)
    if len(clusters.labels) != n:
        raise OptionError(f"clusters of {len(clusters.labels)} vectors and {n} examples: cluster these examples.")
    away = clusters.distance.astype(np.float64)
    spread = (np.sqrt(2 * away) if clusters.spherical else away) ** power  # chords of the sphere, if spherical
    loss = np.zeros(n)
    if hardness is not None:
        values = as_scores(hardness, 1, n=n, allowed=Range(0, 1e150, rounding=0)).astype(np.float64)
        loss = values[_nearest_members(clusters, keys)][clusters.labels]
    if slope is None:
        slope = float(loss.sum() / spread.sum()) if loss.any() and spread.any() else 1.0
    return loss + slope * spread


def _nearest_members(clusters: Clusters, keys: Keys) -> np.ndarray:
    """For each cluster, the row nearest to its centroid; of ties, the one with the smallest key."""
    order = np.lexsort((keys.draw(), clusters.distance, clusters.labels))
    rows = np.zeros(len(clusters.centroids), dtype=np.int64)
    found, first = np.unique(clusters.labels[order], return_index=True)
    rows[found] = order[first]
    return rows


def _cost(
    n: int, d: int, k: int | None, /, *, kind: str = "leverage", clusters: int | None = None, **parameters: Any
) -> list[cost.Stage]:
    """Leverage: two passes and an eigendecomposition. Clustering: k-means."""
    if kind == "clustering":
        number = ceil(sqrt(n)) if clusters is None else clusters
        return [cost.opening(n, d, 1), cost.kmeans_rounds(n, d, number), cost.rows(n)]
    flops, held = 8.0 * n * d * d + 40.0 * d**3, 8 * d * (4 * d + 3 * 4096) + 40 * n
    return [cost.opening(n, d, 1), cost.Stage("leverage", 2, flops, 6 * n * d, memory=held), cost.rows(n)]


SPEC = SelectorSpec(sensitivity, cost=_cost, reference="Axiotis et al. 2024")
