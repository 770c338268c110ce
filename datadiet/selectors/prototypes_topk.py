"""Keep the examples that are farthest from, or nearest to, the centroids of the data.

Sorscher, Geirhos, Shekhar, Ganguli, Morcos: Beyond neural scaling laws, NeurIPS 2022 (arXiv 2206.14486),
self-supervised prototypes: k-means of unit embeddings, hardness = cosine distance to the nearest centroid; the
hardest are kept if data is plentiful, the easiest if it is scarce. With `balance` b in [0, 1], each group j, a cluster
or a class, first keeps min(n_j, floor(b k / m)) of its own, and the rest are taken regardless of their group.

Deviations: budgets are whole numbers, hence the floor.

Cost: k-means, a sort of n rows and one of their groups.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.arrays import class_numbers
from datadiet.errors import OptionError
from datadiet.geometry import Clusters
from datadiet.randomness import Keys
from datadiet.selectors.clustered import clustering_cost, even_share, open_to_cluster, prepare_clusters, rank_in_group
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import Prefer, sortable
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "prototypes_topk"]


@explained
def prototypes_topk(
    embeddings: Any,
    k: int,
    *,
    clusters: int | Clusters | None = None,
    prefer: Prefer = "hardest",
    balance: float = 0.0,
    labels: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """The k examples farthest from, or nearest to, their centroids.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped.
        k: how many to keep, 1..n.
        clusters: how many, or existing clusters; None = floor(sqrt(n)), at most 1000.
        prefer: "hardest" keeps the farthest, "easiest" the nearest.
        balance: the share of an even distribution that every group is guaranteed, in [0, 1]: at least
            floor(balance k / m) examples, or all it has.
        labels: (n,) class numbers; the groups are then the classes instead of the clusters.
        rng, keys: start k-means and break ties.

    Returns:
        (k,) int64 positions, the most preferred first. With balance=0 a smaller k gives a prefix; otherwise the
        selection is not nested, since the guaranteed numbers grow with k; `.explain` also gives `stratum`: the cluster.

    Raises:
        OptionError: k outside 1..n, balance outside [0, 1], or clusters or labels of the wrong length.
        BadVector: a vector that is not finite, or all zeros where cosines are needed.

    References:
        Sorscher et al. 2022.

    >>> at = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.5], [1.0, -0.1]])
    >>> prototypes_topk(at, 2, clusters=1).tolist()
    [2, 1]
    """
    if not 0 <= balance <= 1:
        raise OptionError(f"balance={balance}: give a share between 0 and 1 of an even distribution.")
    matrix = open_to_cluster(embeddings, clusters)
    classes = None if labels is None else class_numbers("labels", labels, len(matrix))
    found, keys, values = prepare_clusters(matrix, k, clusters, prefer, None, rng, keys)
    group = found.labels if classes is None else np.unique(classes, return_inverse=True)[1]
    sizes = np.bincount(group)
    rows = keys.sort(sortable(values))
    taken = rank_in_group(group[rows], len(sizes)) < even_share(balance, k, sizes)
    taken[np.flatnonzero(~taken)[: k - np.count_nonzero(taken)]] = True
    return Explained(rows[taken], stratum=found.labels)


SPEC = SelectorSpec(prototypes_topk, cost=clustering_cost, reference="Sorscher et al. 2022")
