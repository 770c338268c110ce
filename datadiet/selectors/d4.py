"""D4: remove near-duplicates, cluster the rest again, and keep the examples farthest from the centroids.

Tirumala, Simig, Aghajanyan, Morcos: D4: Improving LLM Pretraining via Document De-Duplication and Diversification,
NeurIPS 2023 (arXiv 2308.12284). (1) `semdedup` down to the share R_dedup. (2) k-means again, since duplicates had drawn
centroids to themselves. (3) `prototypes_topk` keeps a share R_proto of the rest: R = R_dedup R_proto in all.

Deviations: the budget is k, so R_proto follows from it. If more than R_dedup is to be kept, only duplicates are
removed.

Cost: that of `semdedup` plus that of `prototypes_topk`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Clusters, Matrix, cost
from datadiet.randomness import Keys
from datadiet.selectors.clustered import clustering_cost
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import Prefer, check_k, choose_keys
from datadiet.selectors.prototypes_topk import prototypes_topk
from datadiet.selectors.semdedup import semdedup, semdedup_cost
from datadiet.selectors.spec import FromBudget, SelectorSpec

__all__ = ["SPEC", "d4", "default_dedup", "how_many_left"]


def default_dedup(k: int, n: int) -> float:
    """The share of examples that is left after removing duplicates: 0.75, or k / n if that is more.

    >>> default_dedup(30, 100), default_dedup(90, 100)
    (0.75, 0.9)
    """
    return max(0.75, k / n)


def how_many_left(dedup: float | None, k: int, n: int) -> int:
    """How many examples remain after removing duplicates.

    Raises:
        OptionError: `dedup` is not a share of n, or leaves fewer than k.

    >>> how_many_left(0.9, 30, 100)
    90
    """
    share = default_dedup(k, n) if dedup is None else dedup
    left = int(share * n + 0.5) if 0 <= share <= 1 else 0
    if left < k:
        raise OptionError(
            f"dedup={dedup}: give the share of {n} examples that is left after removing duplicates, from {k / n:.4g} "
            "(the share kept) to 1."
        )
    return left


@explained
def d4(
    embeddings: Any,
    k: int,
    *,
    dedup: float | None = None,
    clusters: int | Clusters | None = None,
    prefer: Prefer = "hardest",
    balance: float = 0.0,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """A subset without near-duplicates and without the most typical examples.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped.
        k: how many to keep, 1..n.
        dedup: R_dedup, the share of n that is left after removing duplicates, in [k/n, 1]; None is
            `default_dedup(k, n)`.
        clusters: how many, both times; or existing clusters in which to find duplicates, and then as many new ones;
            None = the default of each method.
        prefer: which near-duplicate to keep, and which end of the distances to the centroids.
        balance: the share of an even distribution that every new cluster is guaranteed, as in `prototypes_topk`.
        rng, keys: start k-means and break ties.

    Returns:
        (k,) int64 positions, the most preferred first. Not nested; `.explain` also gives `stratum`: the new cluster, -1
        for removed duplicates, `witness` and `similarity`: those of `semdedup`.

    Raises:
        OptionError: k outside 1..n, dedup outside [k/n, 1], or anything that the two methods refuse.
        BadVector: a vector that is not finite, or all zeros.

    References:
        Tirumala et al. 2023.

    >>> at = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.3], [1.0, -0.1]])
    >>> d4(at, 2, clusters=1).tolist()
    [2, 3]
    """
    matrix = Matrix.open(embeddings, unit=True)
    n = len(matrix)
    check_k(k, n)
    keys = choose_keys(n, rng, keys)
    left = how_many_left(dedup, k, n)
    first = semdedup.explain(matrix, left, clusters=clusters, prefer=prefer, keys=keys)
    rows = np.sort(first.chosen)
    number = len(clusters.centroids) if isinstance(clusters, Clusters) else clusters
    second = prototypes_topk.explain(
        matrix.part(rows),
        k,
        clusters=None if number is None else min(number, left),
        prefer=prefer,
        balance=balance,
        keys=keys.of(rows),
    )
    stratum = np.full(n, -1, dtype=np.int32)
    stratum[rows] = second.stratum if second.stratum is not None else 0
    return Explained(
        rows[second.chosen],
        stratum=stratum,
        witness=first.witness,
        similarity=first.similarity,
    )


def _cost(n: int, d: int, k: int | None, /, *, dedup: float | None = None, **parameters: Any) -> list[cost.Stage]:
    """`semdedup`, then `prototypes_topk` of what it leaves."""
    left = how_many_left(dedup, k or n, n)
    first = semdedup_cost(n, d, left, clusters=parameters.get("clusters"))
    return first + clustering_cost(left, d, k, **parameters)[1:]


SPEC = SelectorSpec(d4, reads={"dedup": FromBudget(default_dedup)}, cost=_cost, reference="Tirumala et al. 2023")
