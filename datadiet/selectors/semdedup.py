"""SemDeDup: within clusters of embeddings, keep one of each set of near-duplicates.

Abbas, Tirumala, Simig, Ganguli, Morcos: SemDeDup: Data-efficient learning at web-scale through semantic deduplication,
2023 (arXiv 2303.09540). (1) Spherical k-means. (2) Order each cluster by preference; in the paper the least
prototypical first, the one with the largest 1 - cosine to its centroid. (3) With s_ij the cosine and i before j in that
order, go through the pairs of each cluster: row j is removed because of row i if s_ij > 1 - epsilon.

`mode` says which i count. The paper keeps one of each group of duplicates; its code removes j because of any i before
it, removed or not ("chain"), so that of a, b, c with s_ab, s_bc > 1 - epsilon >= s_ac only a is left. "greedy" counts
only kept rows and leaves a and c: every removed row is similar to a kept one. "components" keeps one row of each
connected component. Chain keeps every row that components keeps, and greedy every row that chain keeps.

With k instead of epsilon: chain keeps the k rows with the lowest max over i before j of s_ij; components joins the most
similar pairs, one after another, until k components are left; greedy takes the highest similarity threshold at which it
keeps at most k and readmits the rows least similar to their witness. (A lower threshold may make greedy keep more,
because rows that a removed row had removed come back. So there need not be a threshold that gives k.) If k is at most
the number of clusters, greedy and components keep the most preferred row of each of k clusters.

Deviations: equal vectors have similarity exactly 1, so any epsilon > 0 removes them, and 0 removes nothing. Ties in
preference go by key; the authors' code takes them in file order. Up to 16,384 rows there is one cluster by default, so
that all pairs are compared.

Cost: k-means; a pass that orders; and, with clusters of n_c rows, sum n_c (n_c + block) d operations for each pass over
pairs. With epsilon there is one such pass, and with k one for chain and components and two for greedy. With k,
components first makes one pass, and greedy two, over a sample of clusters to find where to start: 8 to 12 of them, or
all if there are fewer than 16, which makes 2 and 4 passes in all. Memory: the vectors of one cluster in float32 (at
most 256 MiB; larger ones are read in blocks), a few block^2, about 60 bytes per row, and for greedy with k the pairs of
one cluster above its threshold, 60 bytes each; in a cluster with more than eight million of these, 32 thresholds are
tried instead of all, which takes two more passes over it. If the sample suggests too strict a threshold, the passes
over all clusters are repeated with a lower one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from datadiet.geometry import Clusters, Matrix, cost
from datadiet.randomness import Keys
from datadiet.selectors.duplicates import Duplicates, Mode, check_limit
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordered_clusters import default_clusters
from datadiet.selectors.ordering import choose_keys
from datadiet.selectors.preference import Preference
from datadiet.selectors.similar_pairs import BLOCK
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "semdedup", "semdedup_sweep"]


@explained
def semdedup(
    embeddings: Any,
    k: int | None = None,
    epsilon: float | None = None,
    clusters: int | Clusters | None = None,
    mode: Mode = "greedy",
    prefer: Preference = "hardest",
    *,
    hardness: np.ndarray | None = None,
    block: int = BLOCK,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """Remove semantic duplicates, by a threshold or down to a number.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped, or a `Matrix`; no row of zeros.
        k: how many to keep, 1..n; give either k or epsilon.
        epsilon: in [0, 2): rows of a cluster more similar than 1 - epsilon are duplicates; larger removes more. Paper:
            0.00095 removes 30 % of LAION-440M and 0.03 half of it.
        clusters: how many, or Clusters of these vectors; None = 1 up to 16,384 rows and sqrt(n / 50) above.
        mode: "chain" (the authors' code), "greedy" or "components".
        prefer: which duplicate to keep: "hardest", farthest from the centroid (paper), "easiest" or "random".
        hardness: (n,) numbers, higher = harder, to use instead of that distance.
        block: rows per matrix product, on a GPU at least 4,096; affects memory and speed, not the result.
        rng, keys: break ties (the smaller key is preferred) and start k-means.

    Returns:
        (k,) int64 positions, most preferred first; readmitted rows last, the least similar first. Chain orders by
        ascending similarity to an earlier row, so that a smaller k gives a prefix; with components it gives a subset.
        `.explain` also gives `stratum`: the cluster; `witness` of a removed row: the most similar earlier row, which
        may itself be removed (chain), the most similar kept row before it (greedy; equal vectors all have that of the
        first), or the kept row of its component (components); `similarity`: the cosine with it, which may be below
        1 - epsilon with components.

    Raises:
        OptionError: both or neither of k and epsilon, one of them or `clusters` out of range, or an unknown mode.
        BadVector: a vector that is not finite, or all zeros.

    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [1.0, 0.0]])
    >>> sorted(semdedup(vectors, epsilon=0.01, hardness=np.array([2, 2, 3, 1])).tolist())
    [0, 2]
    """
    check_limit(k, epsilon)
    matrix = Matrix.open(embeddings, unit=True)
    keys = choose_keys(len(matrix), rng, keys)
    found = Duplicates.of(matrix, clusters, prefer=prefer, hardness=hardness, block=block, keys=keys)
    return found.keep(k, mode) if epsilon is None else found.kept(epsilon, mode)  # type: ignore[arg-type]


def semdedup_sweep(
    embeddings: Any,
    epsilons: Sequence[float],
    *,
    clusters: int | Clusters | None = None,
    mode: Mode = "greedy",
    prefer: Preference = "hardest",
    hardness: np.ndarray | None = None,
    block: int = BLOCK,
    keys: Keys | None = None,
) -> list[Explained]:
    """`semdedup.explain` for several epsilons; clusters and similarities are computed once.

    >>> vectors = np.array([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0]])
    >>> [len(found.chosen) for found in semdedup_sweep(vectors, [0.001, 0.1, 1.5])]
    [3, 2, 1]
    """
    found = Duplicates.of(embeddings, clusters, prefer=prefer, hardness=hardness, block=block, keys=keys)
    return found.sweep(epsilons, mode)


def semdedup_cost(
    n: int,
    d: int,
    k: int | None,
    /,
    *,
    clusters: int | None = None,
    mode: Mode = "greedy",
    block: int = BLOCK,
    **parameters: Any,
) -> list[cost.Stage]:
    """k-means, a reading in order, and passes over the pairs within clusters.

    With k some passes go over a sample of the clusters; they are counted as if over all, an upper bound.
    """
    number = default_clusters(n) if clusters is None else clusters
    passes = 1 if k is None else {"chain": 1, "components": 2, "greedy": 4}.get(mode, 1)
    held = 60 * n + 4 * d * min(n / number, 1e6)
    order = cost.Stage("order, find copies", 1, moved=15 * n * d, calls=4 * n, memory=held)
    pairs = cost.pairs(n, d, number, passes, block)
    steps = [cost.opening(n, d), cost.kmeans_rounds(n, d, number), order, pairs]
    if mode == "greedy" and k is not None:
        steps.append(cost.Stage("follow removals", calls=150 * (n - k), memory=60 * n))
    return [*steps, cost.witnesses(n, d)] if mode == "components" else steps


SPEC = SelectorSpec(semdedup, threshold="epsilon", cost=semdedup_cost, reference="Abbas et al. 2023")
