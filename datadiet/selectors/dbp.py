"""Density-based pruning: more examples from complex clusters, the hardest of each.

Abbas, Rusak, Tirumala, Brendel, Chaudhuri, Morcos: Effective pruning of web-scale datasets based on complexity of
concept clusters, ICLR 2024 (arXiv 2401.04578). With clusters j = 1..m of n_j vectors and centroids c_j,
C_j = d_inter(j) * d_intra(j): the mean distance of c_j to the l nearest other centroids, times the mean distance of the
members to c_j; p = softmax(C / tau). The budgets x minimise |x - k p|^2 subject to sum x = k and b_j <= x_j <= n_j.
Each cluster keeps its x_j hardest members: those farthest from the centroid.

Deviations: the optimum is a projection and is computed as one, without a solver and its m x m matrix. Budgets become
whole numbers by largest remainders, where the authors' code rounds and misses k. b_j is min(b, n_j); their code has
min(b, n_j - 1), which lets clusters of one member vanish. A single member is at distance 0 from its centroid, and a
single cluster has no neighbours: the complexity is then 0. Clusters without members are ignored.

Cost: k-means, m^2 d operations for the neighbours of the centroids, a few sorts of n rows. The budgets alone take
O(m log m).
"""

from __future__ import annotations

import numbers
from typing import Any, Literal

import numpy as np

from datadiet.arrays import as_array
from datadiet.errors import OptionError
from datadiet.geometry import Clusters, nearest
from datadiet.parameters import check_whole
from datadiet.randomness import Keys
from datadiet.selectors.budget import allocate
from datadiet.selectors.clustered import clustering_cost, even_share, first_seen, prepare_clusters, rank_in_group
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import Prefer, sortable
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "dbp", "dbp_budgets"]


@explained
def dbp(
    embeddings: Any,
    k: int,
    *,
    clusters: int | Clusters | None = None,
    temperature: float = 0.1,
    neighbours: int = 20,
    min_per_cluster: int | float | None = None,
    prefer: Prefer = "hardest",
    hardness: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """A subset in which complex clusters get larger budgets.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped. Remove duplicates first (`semdedup`): they make clusters
            look simple.
        k: how many to keep, 1..n.
        clusters: how many, or existing clusters; None = floor(sqrt(n)), at most 1000. Paper: 500 for 280
            million images, 100 for DataComp medium.
        temperature: tau > 0; low gives nearly all to the most complex clusters, high gives the same to each. The
            authors' code: 0.5.
        neighbours: l, how many nearest centroids count, at least 1 (all others if there are fewer). Authors' code: 20.
        min_per_cluster: the least that every cluster keeps, as in `dbp_budgets`.
        prefer: which end of each cluster to keep, "hardest" or "easiest".
        hardness: (n,) numbers, higher = harder, instead of the distance to the centroid.
        rng, keys: start k-means and break ties.

    Returns:
        (k,) int64 positions, the first choice of every cluster before any second choice. Not nested; `.explain` also
        gives `stratum`: the cluster.

    Raises:
        OptionError: k outside 1..n, a parameter out of its range, or clusters or hardness of the wrong length.
        BadVector: a vector that is not finite, or all zeros where cosines are needed.

    References:
        Abbas et al. 2024.

    >>> at = np.array([[1.0, 0.0], [1.0, 0.1], [1.0, -0.5], [1.0, -0.1]])
    >>> dbp(at, 2, clusters=1).tolist()
    [2, 1]
    """
    check_whole("neighbours", neighbours)
    found, keys, values = prepare_clusters(embeddings, k, clusters, prefer, hardness, rng, keys)
    order = first_seen(found.labels, len(found.centroids), keys)  # so that the numbering breaks no ties of budgets
    budgets = np.empty(len(order), dtype=np.int64)
    budgets[order] = dbp_budgets(
        _complexity(found, neighbours)[order], found.sizes[order], k, temperature, min_per_cluster
    )
    rows = keys.sort(sortable(values))
    place = rank_in_group(found.labels[rows], len(budgets))
    taken = place < budgets[found.labels[rows]]
    return Explained(rows[taken][np.argsort(place[taken], kind="stable")], stratum=found.labels)


def dbp_budgets(
    complexity: np.ndarray,
    sizes: np.ndarray,
    k: int,
    temperature: float = 0.1,
    min_per_cluster: int | float | None = None,
) -> np.ndarray:
    """How many examples each cluster keeps.

    Args:
        complexity: (m,) finite numbers, higher = more complex.
        sizes: (m,) integers of at least 0, the members of each cluster.
        k: how many to keep in all, 1..sum(sizes).
        temperature: tau > 0 of the softmax.
        min_per_cluster: the least that each cluster keeps, or all it has if that is less. An int is a number, a float
            in [0, 1] a share of k / m rounded down (the authors' code: 0.5); None is 1, or 0 if k is less than the
            number of clusters.

    Returns:
        (m,) int64 with sum k and min(min_per_cluster, sizes) <= x <= sizes. Equal remainders go to the larger cluster,
        then to the later.

    Raises:
        OptionError: shapes that do not fit, NaN, infinity, a parameter out of its range, or a minimum that adds up to
            more than k.

    >>> dbp_budgets(np.array([0.1, 0.1, 0.2]), np.array([50, 50, 2]), 20).tolist()
    [9, 9, 2]
    """
    target, lower, upper = _problem(complexity, sizes, k, temperature, min_per_cluster)
    return allocate(target, k, lower=lower, upper=upper)


def _problem(
    complexity: np.ndarray, sizes: np.ndarray, k: int, temperature: float, min_per_cluster: int | float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The desired amounts k p, (m,) float64, and the lower and upper bounds, (m,) int64 each."""
    values, most = (as_array(*given, "m* ...") for given in (("complexity", complexity), ("sizes", sizes)))
    values = values.astype(np.float64)
    if values.ndim != 1 or values.shape != most.shape or most.dtype.kind not in "iu" or (most < 0).any():
        raise OptionError(
            f"complexity has shape {values.shape} and sizes shape {most.shape} and dtype {most.dtype}: give one number "
            "and one count of members for each cluster."
        )
    most = most.astype(np.int64)
    if not 1 <= k <= most.sum():
        raise OptionError(f"k={k} of {most.sum()} examples: give a k between 1 and {most.sum()}.")
    if not np.isfinite(values[most > 0]).all():
        raise OptionError("the complexity of a cluster with members is NaN or infinite: give a number for each.")
    if not (np.isfinite(temperature) and temperature > 0):
        raise OptionError(f"temperature={temperature}: give a number above 0, such as 0.1.")
    weight = np.zeros(len(values))
    weight[most > 0] = np.exp((values[most > 0] - values[most > 0].max()) / temperature)
    return k * (weight / weight.sum()), _lower(min_per_cluster, most, k), most


def _lower(min_per_cluster: int | float | None, sizes: np.ndarray, k: int) -> np.ndarray:
    """(m,) int64: the least that each cluster keeps."""
    if min_per_cluster is None:
        return np.minimum(sizes, 1 if np.count_nonzero(sizes) <= k else 0)
    share = not isinstance(min_per_cluster, numbers.Integral)
    number = isinstance(min_per_cluster, numbers.Real) and not isinstance(min_per_cluster, bool)
    if not number or not 0 <= min_per_cluster <= (1 if share else np.inf):
        raise OptionError(
            f"min_per_cluster={min_per_cluster!r}: give a count, or a share of k / m between 0.0 and 1.0."
        )
    lower = np.minimum(sizes, even_share(min_per_cluster, k, sizes) if share else int(min_per_cluster))
    if lower.sum() > k:
        raise OptionError(
            f"min_per_cluster={min_per_cluster} keeps at least {lower.sum()} examples and k is {k}: give "
            f"{even_share(1.0, k, sizes)} or less, or use fewer clusters."
        )
    return lower


def _complexity(clusters: Clusters, neighbours: int) -> np.ndarray:
    """(m,) float64: d_inter * d_intra; 0 for clusters without members."""
    m = len(clusters.centroids)
    intra = np.bincount(clusters.labels, weights=clusters.distance, minlength=m) / np.maximum(clusters.sizes, 1)
    there, inter = np.flatnonzero(clusters.sizes), np.zeros(m)
    if len(there) > 1:
        metric: Literal["cosine", "euclidean"] = "cosine" if clusters.spherical else "euclidean"
        _, far = nearest(clusters.centroids[there], min(neighbours, len(there) - 1), metric=metric)
        inter[there] = far.mean(axis=1, dtype=np.float64)
    return inter * intra


# The neighbours of the centroids cost little in comparison.
SPEC = SelectorSpec(dbp, cost=clustering_cost, reference="Abbas et al. 2024")
