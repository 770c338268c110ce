"""What selectors of clustered vectors share: checked input, the clusters, and ranks within a cluster.

Whatever the number of clusters, a selection takes a few sorts of n rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Clusters, Matrix, cost, kmeans
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.kmeans import usual_clusters
from datadiet.parameters import in_a_line
from datadiet.randomness import Keys
from datadiet.selectors.ordering import Prefer, as_scores, check_k, choose_keys

__all__ = [
    "clustered",
    "clustering_cost",
    "even_share",
    "first_seen",
    "open_to_cluster",
    "rank_in_group",
    "prepare_clusters",
]


def prepare_clusters(
    embeddings: Any,
    k: int,
    clusters: int | Clusters | None,
    prefer: Prefer,
    hardness: np.ndarray | None,
    rng: np.random.Generator | None,
    keys: Keys | None,
) -> tuple[Clusters, Keys, np.ndarray]:
    """Check the arguments of a selector of clustered vectors, then cluster.

    Returns:
        The clusters; the keys; and (n,) floats, smaller = kept first: from hardness if it is given, else from the
        distance to the centroid.
    """
    matrix = open_to_cluster(embeddings, clusters)
    n = len(matrix)
    check_k(k, n)
    keys = choose_keys(n, rng, keys)
    if hardness is not None:
        hardness = as_scores(hardness, k, n=n)
    found = clustered(matrix, clusters, keys)
    values = found.distance if hardness is None else hardness
    return found, keys, -values if prefer == "hardest" else values


def open_to_cluster(embeddings: Any, clusters: int | Clusters | None) -> Matrix:
    """The vectors, of length 1 unless the clusters given are Euclidean."""
    return Matrix.open(embeddings, unit=clusters.spherical if isinstance(clusters, Clusters) else True)


def clustered(
    matrix: Matrix | DeviceVectors, clusters: int | Clusters | None, keys: Keys, default: int | None = None
) -> Clusters:
    """The clusters given, or those that spherical k-means finds.

    Args:
        matrix: the vectors, which may be on a device already.
        clusters: how many; or existing clusters, which are returned as they are; None = `default`.
        keys: start k-means and break its ties.
        default: how many if `clusters` is None; None = floor(sqrt(n)), at most 1000.

    Raises:
        OptionError: a number outside 1..n, or clusters of vectors of another number or width.
    """
    n, dim = len(matrix), matrix.dim
    if isinstance(clusters, Clusters):
        if len(clusters.labels) != n or clusters.centroids.shape[1] != dim:
            raise OptionError(
                f"clusters of {len(clusters.labels)} vectors with {clusters.centroids.shape[1]} numbers, and {n} "
                f"embeddings with {dim}: cluster these, or give the number of clusters."
            )
        return clusters
    if clusters is None:
        clusters = usual_clusters(n) if default is None else default
    elif isinstance(clusters, bool) or not isinstance(clusters, (int, np.integer)) or not 1 <= clusters <= n:
        raise OptionError(
            f"clusters={in_a_line(clusters)} of {n} embeddings: give a whole number from 1 to {n}, or the Clusters "
            "from kmeans."
        )
    # A stream of its own: the rows that start k-means would otherwise win all ties.
    apart = Keys(keys.seed, f"{keys.stream}.clusters", keys.n, keys.index)
    return kmeans(matrix, int(clusters), keys=apart, progress=True)


def clustering_cost(
    n: int, d: int, k: int | None, /, *, clusters: int | None = None, **parameters: Any
) -> list[cost.Stage]:
    """The cost of a method that clusters and sorts: k-means and a sort."""
    number = usual_clusters(n) if clusters is None else clusters
    return [cost.opening(n, d), cost.kmeans_rounds(n, d, number), cost.rows(n)]


def even_share(share: float, k: int, sizes: np.ndarray) -> int:
    """`share` of what every group with members would get if k were shared out evenly, rounded down.

    >>> even_share(0.5, 12, np.array([9, 0, 9, 9]))
    2
    """
    return int(share * k / max(1, int(np.count_nonzero(sizes))) + 1e-9)  # 0.29 * 100 is 28.999999999999996


def rank_in_group(group: np.ndarray, groups: int) -> np.ndarray:
    """How many entries of the same group come before each entry: (m,) int64.

    >>> rank_in_group(np.array([1, 0, 1, 1, 0]), 2).tolist()
    [0, 0, 1, 2, 1]
    """
    order = np.argsort(group, kind="stable")
    sizes = np.bincount(group, minlength=groups)
    out = np.empty(len(group), dtype=np.int64)
    out[order] = np.arange(len(group)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return out


def first_seen(group: np.ndarray, groups: int, keys: Keys) -> np.ndarray:
    """The groups in the order of the smallest key among their members, empty groups last: (groups,) int64.

    This order does not depend on how the groups were numbered.
    """
    first = np.full(groups, 2**32, dtype=np.uint64)
    np.minimum.at(first, group, keys.draw().astype(np.uint64))
    return np.argsort(first, kind="stable")
