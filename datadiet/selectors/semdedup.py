"""SemDeDup: within clusters of embeddings, keep one of what is nearly the same.

Abbas, Tirumala, Simig, Ganguli, Morcos: SemDeDup: Data-efficient learning at web-scale through semantic deduplication,
2023 (arXiv 2303.09540). (1) Spherical k-means. (2) Order each cluster by preference; in the paper the least
prototypical first, the one with the largest 1 - cosine to its centroid. (3) With s_ij the cosine and i before j in that
order, go through the pairs of each cluster: row j is removed because of row i if s_ij > 1 - epsilon.

What "because of" means is `mode`. The paper keeps one of each group of duplicates; its code removes j because of any
i before it, removed or not ("chain"), so that of a, b, c with s_ab, s_bc > 1 - epsilon >= s_ac only a is left. "greedy"
asks kept rows only and leaves a and c: every row that goes is similar to one that stays. "components" keeps one row of
each connected component. The rows kept by components are among those of chain, and these among those of greedy.

With k instead of epsilon: chain keeps the k rows with the lowest max over i before j of s_ij; components joins the most
similar pairs, one after the other, until k components are left; greedy takes the highest similarity threshold at which
it keeps at most k and readmits the rows least similar to their witness. (Lowering the threshold may make greedy keep
more: what a removed row had removed comes back. So no threshold need give k.) If k is less than the number of clusters,
greedy and components keep the most preferred row of each of k clusters.

Deviations: equal vectors have similarity exactly 1, so any epsilon > 0 removes them, and 0 removes nothing. Ties in
preference go by key; the reference code takes them in file order. Up to 16,384 rows there is one cluster by default, so
that all pairs are compared.

Cost: k-means; a pass that orders; and with clusters of n_c rows, sum n_c (n_c + block) d operations for each pass over
pairs: one, but with k two for greedy, beside some on every eighth cluster. Memory: the vectors of one cluster in
float32 (at most 256 MiB; larger ones are read in blocks), a few block^2, some 60 bytes a row, and for greedy with k the
pairs of one cluster above its threshold, 60 bytes each; of a cluster with more than eight million of these, 32
thresholds are tried instead of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Clusters, cost
from datadiet.randomness import Keys
from datadiet.selectors.duplicates import Duplicates, Mode
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
        k: how many to keep, 1..n; or
        epsilon: rows of a cluster more similar than 1 - epsilon are duplicates: in [0, 2); larger removes more. Paper:
            0.00095 removes 30 % of LAION-440M and 0.03 half of it.
        clusters: how many, or Clusters of these vectors, or None for 1 up to 16,384 rows and sqrt(n / 50) above.
        mode: "chain" (the reference code), "greedy" or "components".
        prefer: which of duplicates to keep: "hardest", farthest from the centroid (paper), "easiest" or "random".
        hardness: (n,) numbers, higher = harder, to go by instead of that distance.
        block: rows in a matrix product. It changes memory and speed and no result.
        rng, keys: break ties, the smaller key being preferred, and start k-means.

    Returns:
        `chosen`: (k,) int64 positions, most preferred first; readmitted ones
        last, the least similar first. With chain by ascending similarity to an earlier row, so that there a smaller k
        is a prefix; with components it is a subset. `stratum` is the cluster. `witness` of a removed row: chain, the
        most similar earlier row, which may itself be removed; greedy, the most similar kept one before it (of equal
        vectors all have that of the first); components, the kept row of its component. `similarity` is the cosine to
        it, with components perhaps below 1 - epsilon.

    Raises:
        OptionError: both or neither of k and epsilon, one of them or `clusters` out of range, an unknown mode.
        BadVector: a vector of zeros or with NaN.

    >>> vectors = np.array([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0], [1.0, 0.0]])
    >>> sorted(semdedup(vectors, epsilon=0.01, hardness=np.array([2, 2, 3, 1])).tolist())
    [0, 2]
    """
    if (k is None) == (epsilon is None):
        raise OptionError(
            f"k={k} and epsilon={epsilon}: give one of the two, the number to keep or how far apart duplicates may be."
        )
    keys = choose_keys(len(embeddings), rng, keys)
    found = Duplicates.of(embeddings, clusters, prefer=prefer, hardness=hardness, block=block, keys=keys)
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
) -> list[cost.Step]:
    """k-means, a reading in order, and passes over the pairs within clusters."""
    number = default_clusters(n) if clusters is None else clusters
    passes = 1 if k is None else {"chain": 1, "components": 2, "greedy": 4}.get(mode, 1)
    held = 60 * n + 4 * d * min(n / number, 1e6)
    order = cost.Step("order, find copies", 1, moved=15 * n * d, calls=4 * n, memory=held)
    pairs = cost.pairs(n, d, number, passes, block)
    steps = [cost.opening(n, d), cost.kmeans_rounds(n, d, number), order, pairs]
    if mode == "greedy" and k is not None:
        steps.append(cost.Step("follow removals", calls=150 * (n - k), memory=60 * n))
    return [*steps, cost.witnesses(n, d)] if mode == "components" else steps


SPEC = SelectorSpec(semdedup, threshold="epsilon", cost=semdedup_cost, reference="Abbas et al. 2023")
