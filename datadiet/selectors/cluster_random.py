"""Random within clusters: every cluster of the embeddings keeps its share, drawn at random.

Stratified sampling with proportional allocation (Cochran: Sampling Techniques, 3rd edition, 1977, chapter 5) with the
clusters of spherical k-means as strata: of n_j members, k n_j / n are kept. Beside `random` it is the fair baseline for
methods that cluster, since it has their clusters and no idea of what is worth keeping.

Deviations: whole numbers by largest remainders, so that exactly k are kept.

Cost: k-means and a sort.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.geometry import Clusters, cost
from datadiet.geometry.kmeans import usual_clusters
from datadiet.randomness import Keys
from datadiet.selectors.budget import allocate
from datadiet.selectors.clustered import prepare_clusters, rank_in_group
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "cluster_random"]


@explained
def cluster_random(
    embeddings: Any,
    k: int,
    *,
    clusters: int | Clusters | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """A random subset in which every cluster has its share.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped, or a `Matrix`.
        k: how many to keep, 1..n.
        clusters: how many, or existing clusters; None = floor(sqrt(n)), at most 1000.
        rng, keys: start k-means and draw.

    Returns:
        (k,) int64 positions in random order. Not nested: shares are rounded to whole numbers. `.explain` also gives
        `stratum`: the cluster.

    Raises:
        OptionError: k outside 1..n, or clusters of another number or width.
        BadVector: a vector that is not finite, or of zeros.

    References:
        Cochran 1977.

    >>> at = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> sorted((cluster_random(at, 2, clusters=2) // 2).tolist())
    [0, 1]
    """
    found, keys, _ = prepare_clusters(embeddings, k, clusters, "hardest", None, rng, keys)
    sizes = np.bincount(found.labels, minlength=len(found.centroids))
    quotas = allocate(sizes * (k / len(found.labels)), k, upper=sizes)
    order = keys.sort(np.zeros(len(found.labels), dtype=np.uint32))
    group = found.labels[order]
    return Explained(order[rank_in_group(group, len(sizes)) < quotas[group]], stratum=found.labels)


def _cost(n: int, d: int, k: int | None, /, *, clusters: int | None = None, **parameters: Any) -> list[cost.Stage]:
    """k-means and a sort."""
    number = usual_clusters(n) if clusters is None else clusters
    return [cost.opening(n, d), cost.kmeans_rounds(n, d, number), cost.rows(n)]


SPEC = SelectorSpec(cluster_random, cost=_cost, reference="Cochran 1977")
