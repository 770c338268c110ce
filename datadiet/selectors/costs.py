"""What selecting by vectors costs: the steps of each method, as its file describes them, for `datadiet plan`.

Every function takes n vectors of d numbers, k (None where a threshold decides) and the parameters of the method, of
which it reads those that change the cost. Clusters are taken to be of the same size; where they are not, pairs within
them cost n sum (n_c / n)^2 m times as much.
"""

from __future__ import annotations

from math import ceil, isqrt, log, sqrt
from typing import Any

from datadiet.geometry import cost
from datadiet.geometry.cost import CostOf, Step
from datadiet.selectors.d4 import how_many_left
from datadiet.selectors.facility_location import DENSE, NEIGHBOURS
from datadiet.selectors.greedy import check_optimizer
from datadiet.selectors.ordered_clusters import default_clusters

__all__ = ["COSTS"]

_PASSES = {"chain": 1, "components": 1, "greedy": 1}
_PASSES_WITH_K = {"chain": 1, "components": 2, "greedy": 4}


def _sorting(n: int, d: int, k: int | None, **parameters: Any) -> list[Step]:
    """Methods that read scores and sort them."""
    return [cost.rows(n)]


def _semdedup(
    n: int, d: int, k: int | None, *, clusters: int | None = None, mode: str = "greedy", block: int = 1024, **rest: Any
) -> list[Step]:
    """k-means, a reading in order, and passes over the pairs within clusters."""
    number = default_clusters(n) if clusters is None else clusters
    times = (_PASSES if k is None else _PASSES_WITH_K).get(mode, 1)
    order = Step("order, find copies", 1, moved=15 * n * d, calls=4 * n, memory=60 * n + 4 * d * min(n / number, 1e6))
    steps = [cost.opening(n, d), cost.kmeans(n, d, number), order, cost.pairs(n, d, number, times, block)]
    if mode == "greedy" and k is not None:
        steps.append(Step("follow removals", calls=150 * (n - k), memory=60 * n))
    return [*steps, cost.witnesses(n, d)] if mode == "components" else steps


def _prototypes_topk(n: int, d: int, k: int | None, *, clusters: int | None = None, **rest: Any) -> list[Step]:
    """k-means and a sort."""
    number = min(isqrt(n), 1000) if clusters is None else clusters
    return [cost.opening(n, d), cost.kmeans(n, d, number), cost.rows(n)]


def _dbp(n: int, d: int, k: int | None, **rest: Any) -> list[Step]:
    """k-means, budgets and sorts; the neighbours of the centroids cost little beside it."""
    return _prototypes_topk(n, d, k, **rest)


def _d4(n: int, d: int, k: int | None, *, dedup: float | None = None, **rest: Any) -> list[Step]:
    """`semdedup`, then `prototypes_topk` of what it leaves."""
    left = how_many_left(dedup, k or n, n)
    return _semdedup(n, d, left, clusters=rest.get("clusters")) + _prototypes_topk(left, d, k, **rest)[1:]


def _k_center(n: int, d: int, k: int | None, **rest: Any) -> list[Step]:
    """k columns of distances."""
    return [cost.opening(n, d), cost.columns(n, d, k or n, "farthest first"), cost.witnesses(n, d)]


def _herding(n: int, d: int, k: int | None, **rest: Any) -> list[Step]:
    """k products with one direction."""
    return [cost.opening(n, d), cost.directions(n, d, k or n, "follow the mean")]


def _graph_cut(n: int, d: int, k: int | None, *, neighbours: int | None = None, **rest: Any) -> list[Step]:
    """k products with one direction, or the nearest neighbours and a heap."""
    if neighbours is None:
        return [cost.opening(n, d), cost.directions(n, d, k or n, "greedy")]
    return [cost.opening(n, d), cost.nearest(n, d, neighbours),
            Step("greedy", moved=60 * n * neighbours, calls=10 * n, memory=94 * n * neighbours + 300 * n)]  # fmt: skip


def _facility_location(
    n: int, d: int, k: int | None, *, neighbours: int | None = None, optimizer: str = "lazy", epsilon: float = 0.01,
    **rest: Any,
) -> list[Step]:  # fmt: skip
    """All pairs of up to 4096 examples, the nearest neighbours of more; then greedy."""
    k = k or n
    check_optimizer(optimizer, epsilon)
    gains = {"naive": n * k, "stochastic": n * log(1 / epsilon)}.get(optimizer, 40 * n + 4 * k)
    if neighbours is None and n <= DENSE:
        alike = Step("all similarities", 1, 4.0 * n * n * d, 40.0 * n * n, memory=4 * n * n + 8 * n * d + 40 * 1024 * n)
        greedy = Step("greedy", moved=1.5 * gains * n, calls=10 * gains, memory=4 * n * n)
        return [cost.opening(n, d), alike, greedy, cost.witnesses(n, d)]
    m = NEIGHBOURS if neighbours is None else neighbours
    greedy = Step(
        "greedy", moved=20.0 * n * m + 40.0 * k * m * m, calls=6 * n + 40 * k + 3 * gains, memory=41 * n * m + 300 * n
    )
    return [cost.opening(n, d), cost.nearest(n, d, m), greedy, cost.witnesses(n, d)]


def _craig(n: int, d: int, k: int | None, **rest: Any) -> list[Step]:
    """`facility_location` without witnesses; by class it costs as much for each."""
    return [cost.opening(n, d, 1), *_facility_location(n, d, k, **rest)[1:-1]]


def _d2(n: int, d: int, k: int | None, *, neighbours: int = 5, **rest: Any) -> list[Step]:
    """The nearest neighbours, then a heap."""
    k = k or n
    taking = Step("pass messages, take", moved=100.0 * n * neighbours, calls=n + k * (40 + 4 * neighbours),
                  memory=112 * n * neighbours + 300 * n)  # fmt: skip
    return [cost.opening(n, d, 1), cost.nearest(n, d, neighbours), taking, cost.witnesses(n, d)]


def _sensitivity(
    n: int, d: int, k: int | None, *, kind: str = "leverage", clusters: int | None = None, **rest: Any
) -> list[Step]:
    """Leverage: two passes and an eigendecomposition. Clustering: k-means."""
    if kind == "clustering":
        number = ceil(sqrt(n)) if clusters is None else clusters
        return [cost.opening(n, d, 1), cost.kmeans(n, d, number), cost.rows(n)]
    leverage = Step("leverage", 2, 8.0 * n * d * d + 40.0 * d**3, 6 * n * d, memory=8 * d * (4 * d + 3 * 4096) + 40 * n)
    return [cost.opening(n, d, 1), leverage, cost.rows(n)]


def _decontaminate(n: int, d: int, k: int | None, *, reference: int = 0, **rest: Any) -> list[Step]:
    """The most similar of so many reference vectors for each."""
    held = min(4 * reference * d, 1 << 28) + 40e6 + 20 * n
    compare = Step("against the reference", 1, 2.0 * n * reference * d, 6.0 * n * reference, n, held)
    return [cost.opening(n, d), compare]


COSTS: dict[str, CostOf] = {
    **dict.fromkeys(("random", "top_k", "band", "ccs", "beta", "class_quota"), _sorting),
    "semdedup": _semdedup,
    "dbp": _dbp,
    "prototypes_topk": _prototypes_topk,
    "d4": _d4,
    "k_center": _k_center,
    "herding": _herding,
    "facility_location": _facility_location,
    "graph_cut": _graph_cut,
    "craig": _craig,
    "d2": _d2,
    "sensitivity": _sensitivity,
    "decontaminate": _decontaminate,
}
