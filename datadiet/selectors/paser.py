"""Give the budget to the clusters that pruning the model hurt, and keep the examples that it hurt most for their cost.

He, Yin, Zhen, Zhang, Yuan, Ma: PASER: Post-Training Data Selection for Efficient Pruned Large Language Model Recovery,
ICLR 2026 (arXiv 2502.12594). With J_i the degradation of an example (the Jensen-Shannon divergence between the dense
and the pruned network: scorer `divergence`), the clusters c of the embeddings get budgets proportional to the mean of J
in them. Within a cluster the examples are scanned by J_i / cost_i, descending. An example is inconsistent, and passed
over, if two of its concepts both occurred in accepted examples, but never in the same one. The graph of concepts is one
for all clusters, as in the authors' code.

Deviations: k-means of unit vectors instead of a diffusion map and NMF, which take n x n matrices. Budgets sum to k by
largest remainders and are capped at the size of the cluster; the authors' code rounds down and loses what a small
cluster cannot use. The cost itself divides, where the paper takes the logarithm of a squared length: give the
logarithm of your cost for that. Clusters are scanned by descending mean degradation, not by number. If a cluster has
too few consistent examples, its best inconsistent ones fill it. The concepts of a classifier's example are its label
and the class that the dense network predicts; the authors' are phrases of a text.

Cost: k-means, a few sorts of n rows, and with concepts a step for each different set of them.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from datadiet.arrays import Range, as_array
from datadiet.errors import OptionError
from datadiet.geometry import Clusters
from datadiet.geometry import cost as costs
from datadiet.randomness import Keys
from datadiet.selectors.budget import allocate, in_proportion
from datadiet.selectors.clustered import clustered, clustering_cost, first_seen, open_to_cluster, rank_in_group
from datadiet.selectors.concept_graph import ConceptGraph
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import as_scores, check_k, choose_keys, sortable
from datadiet.selectors.spec import Column, Concepts, SelectorSpec

__all__ = ["SPEC", "paser", "paser_budgets"]

_log = logging.getLogger("datadiet")

_CLUSTERS = 10
_AMOUNT = Range(0, 1e150)


@explained
def paser(
    embeddings: Any,
    k: int,
    *,
    degradation: np.ndarray,
    cost: np.ndarray | None = None,
    concepts: np.ndarray | None = None,
    clusters: int | Clusters | None = None,
    consistent: bool | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """The examples that pruning hurt most, from the clusters that it hurt most.

    Args:
        embeddings: (n, d) finite floats, in memory or memory-mapped.
        k: how many to keep, 1..n.
        degradation: (n,) finite numbers of at least 0, higher = pruning hurt more.
        cost: (n,) finite numbers above 0, such as tokens or seconds; None = 1 each.
        concepts: (n, m) whole numbers, the concepts of each example; -1 = none.
        clusters: how many, or existing clusters; None = 10, or n if that is less. Authors' code: 10.
        consistent: whether inconsistent examples come last in their cluster; None = if there are concepts.
        rng, keys: start k-means and break ties.

    Returns:
        (k,) int64 positions by descending degradation per cost, then inconsistent ones, if some cluster had no others.
        Not nested; `.explain` also gives `stratum`: the cluster.

    Raises:
        OptionError: k outside 1..n, columns or clusters of the wrong length or range, or `consistent` without concepts.
        BadVector: a vector that is not finite or all zeros.

    References:
        He et al. 2026.

    >>> at = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> paser(at, 2, degradation=np.array([0.1, 0.1, 0.3, 0.5]), clusters=2).tolist()
    [3, 2]
    """
    matrix = open_to_cluster(embeddings, clusters)
    n = len(matrix)
    check_k(k, n)
    keys = choose_keys(n, rng, keys)
    hurt = _amounts("degradation", degradation, k, n).clip(0)
    efficiency = hurt if cost is None else _per_cost(hurt, _amounts("cost", cost, k, n))
    graph = _graph(concepts, consistent, n)
    found = clustered(matrix, clusters, keys, default=min(_CLUSTERS, n))
    order = first_seen(found.labels, len(found.centroids), keys)  # so that the numbering breaks no ties of budgets
    mean, budgets = _means(hurt, found), np.empty(len(order), dtype=np.int64)
    budgets[order] = paser_budgets(mean[order], found.sizes[order], k)
    rows = keys.sort(sortable(-efficiency))
    if graph is not None:
        by_damage = order[np.argsort(-mean[order], kind="stable")]
        rows = _inconsistent_last(graph, rows, found.labels, by_damage, budgets)
    taken = rank_in_group(found.labels[rows], len(budgets)) < budgets[found.labels[rows]]
    return Explained(rows[taken], stratum=found.labels)


def paser_budgets(degradation: np.ndarray, sizes: np.ndarray, k: int) -> np.ndarray:
    """How many examples each cluster keeps: in proportion to its degradation, at most all.

    What the clusters with degradation above 0 cannot use goes to the others in proportion to their sizes.

    Args:
        degradation: (m,) the mean in each cluster, at least 0.
        sizes: (m,) integers of at least 0, the members of each.
        k: how many to keep in all, 0..sum(sizes).

    Returns:
        (m,) int64 with sum k and 0 <= x <= sizes. Equal remainders go to the larger cluster, then to the later.

    Raises:
        OptionError: a k that the clusters cannot fill.

    >>> paser_budgets(np.array([0.3, 0.1, 0.0]), np.array([3, 50, 50]), 8).tolist()
    [3, 5, 0]
    """
    rest = max(0, k - int(sizes[degradation > 0].sum()))
    target = in_proportion(degradation, k - rest, sizes)
    target += in_proportion(np.where(degradation > 0, 0.0, sizes), rest, sizes)
    return allocate(target, k, upper=sizes)


def _amounts(name: str, values: np.ndarray, k: int, n: int) -> np.ndarray:
    """(n,) float64."""
    return as_scores(values, k, name=name, n=n, allowed=_AMOUNT).astype(np.float64)


def _per_cost(hurt: np.ndarray, cost: np.ndarray) -> np.ndarray:
    if not (cost > 0).all():
        raise OptionError(f"cost is {cost.min():g} at position {int(cost.argmin())}: give numbers above 0.")
    with np.errstate(over="ignore"):  # next to nothing costs as good as nothing
        return hurt / cost


def _graph(concepts: np.ndarray | None, consistent: bool | None, n: int) -> ConceptGraph | None:
    """The empty graph over these concepts; None if consistency does not count."""
    if consistent is False or (concepts is None and consistent is None):
        return None
    if concepts is None:
        raise OptionError(
            "consistent=True needs the concepts of the examples: score with divergence, which records the predicted "
            "classes of labelled data, or give concepts= of shape (n, m)."
        )
    codes = as_array("concepts", concepts, "n* m")
    whole = codes.dtype.kind in "iu" or (codes.dtype.kind == "f" and bool((codes == np.rint(codes)).all()))
    if len(codes) != n or not whole or codes.min() < -1 or codes.max() > 2**53:
        raise OptionError(
            f"concepts has shape {codes.shape} and dtype {codes.dtype} for {n} examples: give a row of whole numbers "
            "for each, from 0, and -1 for none."
        )
    return ConceptGraph(codes.astype(np.int64))


def _means(hurt: np.ndarray, clusters: Clusters) -> np.ndarray:
    """(m,) float64, 0 for clusters without members; the order of the rows changes no bit."""
    order = np.lexsort((hurt, clusters.labels))
    there = np.flatnonzero(clusters.sizes)
    starts = np.cumsum(clusters.sizes)[there] - clusters.sizes[there]
    means = np.zeros(len(clusters.sizes))
    means[there] = np.add.reduceat(hurt[order], starts) / clusters.sizes[there]
    return means


def _inconsistent_last(
    graph: ConceptGraph, rows: np.ndarray, labels: np.ndarray, clusters: np.ndarray, budgets: np.ndarray
) -> np.ndarray:
    """The rows, those last that are inconsistent with better ones; a note says how many there are.

    Args:
        graph: of concepts, empty.
        rows: (n,) the best first.
        labels: (n,) their clusters.
        clusters: (m,) in the order in which they are scanned.
        budgets: (m,) of the clusters.
    """
    ends = np.cumsum(np.bincount(labels, minlength=len(budgets)))
    of_each = np.split(rows[np.argsort(labels[rows], kind="stable")], ends[:-1])
    last, scanned, kept = np.zeros(len(rows), dtype=bool), 0, 0
    for cluster in clusters.tolist():
        members, budget = of_each[cluster], int(budgets[cluster])
        last[members], met = graph.scan(members, budget)
        rejected = int(np.count_nonzero(last[members]))
        scanned, kept = scanned + met, kept + max(0, budget - (len(members) - rejected))
    if last.any():
        _log.info(
            "paser: %d of the %d examples considered are inconsistent with better ones (%.3g %%), of which %d are kept",
            last.sum(), scanned, 100 * last.sum() / scanned, kept,
        )  # fmt: skip
    return np.concatenate([rows[~last[rows]], rows[last[rows]]])


def _cost(n: int, d: int, k: int | None, /, *, clusters: int | None = None, **parameters: Any) -> list[costs.Stage]:
    return clustering_cost(n, d, k, clusters=min(_CLUSTERS, n) if clusters is None else clusters)


SPEC = SelectorSpec(
    paser,
    reads={
        "degradation": Column("divergence"),
        "cost": Column("cost", as_hardness=False, optional=True),
        "concepts": Concepts("predicted"),
    },
    cost=_cost,
    reference="He et al. 2026",
)
