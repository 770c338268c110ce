"""Graph cut: keep examples that are similar to all others but not to each other.

f(S) = lambda sum_{i in V, j in S} s_ij - sum_{i, j in S} s_ij with s_ij = (1 + cos(x_i, x_j)) / 2 in [0, 1]. Lambda
is on the first sum, as in DeepCore (Guo, Zhao, Bai, 2022, arXiv 2204.08499); in submodlib (arXiv 2202.10680) it is on
the second. f is submodular because s >= 0, and monotone if lambda >= 2; greedy then reaches 1 - 1/e of the best value
(Nemhauser, Wolsey, Fisher, 1978). With a smaller lambda, gains may become negative, and exactly k are taken all the
same. The gain of c is lambda sum_i s_ic - 2 sum_{j in S} s_jc - s_cc.

Deviations: values that differ only by rounding are ties (`inner_products`), which go by key. With `neighbours`, s_ij is
0 unless one of i and j is among the nearest of the other, and similarities are rounded to 2^-20 (`greedy`).

Cost: without `neighbours`, n k d multiplications and the memory of `herding`: sum_i s_ic = (n + <x_c, sum_i x_i>) / 2
needs no pairs, and the next example is the one with the largest <x_c, lambda/2 sum_i x_i - sum_{j in S} x_j>. With m
neighbours: n^2 d to find them and about 100 n m bytes, then next to nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost
from datadiet.parameters import check_whole, checked
from datadiet.progress import steps
from datadiet.randomness import Keys
from datadiet.selectors.greedy import Optimizer, check_optimizer, is_deterministic, maximise
from datadiet.selectors.inner_products import InnerProducts
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.similarities import SCALE, Graph, lists
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "graph_cut"]

_STEPS = 2.0**30

_LARGEST = 1e30  # of a weight: sums of similarities times it stay finite


@checked
def graph_cut(
    embeddings: Any,
    k: int,
    *,
    weight: float = 1.0,
    neighbours: int | None = None,
    optimizer: Optimizer = "lazy",
    epsilon: float = 0.01,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> np.ndarray:
    """Examples that are similar to all others but not to each other, greedily.

    Args:
        embeddings: (n, d) finite floats, in memory or memory-mapped, or a `Matrix`; only directions matter.
        k: how many to keep, 1..n.
        weight: lambda, at least 0: how much similarity to all counts against difference from kept examples. DeepCore:
            1. With 2 k / n both count the same when k are kept.
        neighbours: count a pair only if one is among this many nearest of the other (all if there are fewer). None =
            all pairs.
        optimizer: "lazy" or "naive", which take the same examples (over all pairs, by the same algorithm); or
            "stochastic".
        epsilon: for "stochastic", in (0, 1): the smaller, the more examples are compared.
        rng, keys: break ties, and draw for "stochastic".

    Returns:
        (k,) int64 positions, in the order in which they were taken. Nested, except for "stochastic", whose draws depend
        on k.

    Raises:
        OptionError: k outside 1..n or an option outside its range.
        BadVector: a vector that is not finite, or all zeros.

    >>> graph_cut(np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]]), 3).tolist()
    [1, 2, 0]
    """
    matrix = Matrix.open(embeddings, unit=True)
    check_k(k, len(matrix))
    keys = choose_keys(len(matrix), rng, keys)
    if not 0 <= weight <= _LARGEST:
        raise OptionError(f"weight={weight}: give a number from 0 to {_LARGEST:g}.")
    if neighbours is not None:
        sparse = _Sparse(matrix, weight, check_whole("neighbours", neighbours), keys.draw())
        return maximise(sparse, k, keys, optimizer=optimizer, epsilon=epsilon)
    check_optimizer(optimizer, epsilon)
    objective = _AllPairs(matrix, weight, k)
    if optimizer == "stochastic":
        return maximise(objective, k, keys, optimizer=optimizer, epsilon=epsilon)
    return objective.take_largest(k, keys.draw())


class _AllPairs:
    """f over all pairs, by one direction in the space of the vectors."""

    def __init__(self, matrix: Matrix, weight: float, k: int) -> None:
        self._half = weight / 2 * len(matrix)
        self._products = InnerProducts(matrix, k)

    def gain(self, rows: np.ndarray) -> np.ndarray:
        products, same = self._products, self._half - self._products.taken - 1
        found = products.of(rows, products.direction(self._half))
        return np.rint((found + same) * _STEPS).astype(np.int64)

    def add(self, row: int) -> None:
        self._products.take(row)

    def take_largest(self, k: int, draws: np.ndarray) -> np.ndarray:
        """Greedy: one product with a direction gives all gains, so a heap of old ones would not help."""
        out = np.zeros(len(draws))
        chosen = np.empty(k, dtype=np.int64)
        for place in steps("graph cut", range(k)):
            row = self._products.best(self._half, out, draws)
            chosen[place], out[row] = row, np.inf
            self.add(row)
        return chosen


class _Sparse:
    """All gains over the graph of nearest neighbours."""

    def __init__(self, matrix: Matrix, weight: float, neighbours: int, draws: np.ndarray) -> None:
        rows, value = lists(matrix, neighbours, "cosine", draws)
        self._graph = Graph.of_lists(rows, value).undirected()
        to_all = self._graph.sums(self._graph.value.astype(np.int64))
        self._gain = np.rint(weight * to_all).astype(np.int64) - SCALE

    def gain(self, rows: np.ndarray) -> np.ndarray:
        return self._gain[rows]

    def add(self, row: int) -> None:
        rows, value = self._graph.edges(row)
        self._gain[rows] -= 2 * value.astype(np.int64)


def _cost(n: int, d: int, k: int | None, /, *, neighbours: int | None = None, **parameters: Any) -> list[cost.Stage]:
    """k products with one direction, or the nearest neighbours and a heap."""
    if neighbours is None:
        return [cost.opening(n, d), cost.directions(n, d, k or n, "greedy")]
    held = 94 * n * neighbours + 300 * n
    greedy = cost.Stage("greedy", moved=60 * n * neighbours, calls=10 * n, memory=held)
    return [cost.opening(n, d), cost.nearest_neighbours(n, d, neighbours), greedy]


SPEC = SelectorSpec(graph_cut, nested=is_deterministic, cost=_cost, reference="Guo et al. 2022")
