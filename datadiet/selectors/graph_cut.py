"""Graph cut: keep examples that are similar to all and not to each other.

f(S) = lambda sum_{i in V, j in S} s_ij - sum_{i, j in S} s_ij with s_ij = (1 + cos(x_i, x_j)) / 2 in [0, 1]; in the
form with lambda on the first sum, as DeepCore has it (Guo, Zhao, Bai, 2022, arXiv 2204.08499); submodlib (arXiv
2202.10680) has it on the second. f is submodular because s >= 0, and monotone if lambda >= 2, when greedy reaches
1 - 1/e of the best value (Nemhauser, Wolsey, Fisher, 1978); below that gains may become negative, and exactly k are
taken all the same. The gain of c is lambda sum_i s_ic - 2 sum_{j in S} s_jc - s_cc.

*Deviations*: similarities are rounded to 2^-20, and the first sum to as much (`greedy`). With `neighbours`, s_ij is 0
unless one of i and j is among the nearest of the other.

Cost: without `neighbours` n k d multiplications and the memory of `k_center`, since sum_i s_ic is
(n + <x_c, sum_i x_i>) / 2 and needs no pairs; with m of them n^2 d for the neighbours and about 48 n m bytes, then next
to nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.selectors.columns import Columns
from datadiet.selectors.greedy import Optimizer, maximise
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.similarities import SCALE, Graph, check_whole, lists

__all__ = ["graph_cut"]


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
    """Examples that are similar to all and not to each other, greedily.

    Args:
        embeddings: (n, d) finite floats, in memory or memory-mapped, or a `Matrix`; directions alone matter.
        k: how many to keep, 1..n.
        weight: lambda, at least 0: of being similar to all, against being different from what is kept. DeepCore: 1.
            With 2 k / n both weigh the same when k are kept.
        neighbours: count only pairs of which one is among so many nearest of the other (all where there are fewer).
            None = all pairs.
        optimizer: "lazy"; "naive", the same examples slowly; or "stochastic".
        epsilon: of "stochastic", in (0, 1): the smaller the more examples are compared.
        rng, keys: break ties, and draw for "stochastic".

    Returns:
        (k,) int64 positions, in the order in which they were taken. Nested, but for "stochastic", whose draws depend
        on k.

    Raises:
        OptionError: k outside 1..n or an option outside its range.
        BadVector: a vector that is not finite, or of zeros.

    >>> graph_cut(np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]]), 3).tolist()
    [1, 2, 0]
    """
    matrix = Matrix.open(embeddings, unit=True)
    check_k(k, len(matrix))
    keys = choose_keys(len(matrix), rng, keys)
    if not 0 <= weight < float("inf"):
        raise OptionError(f"weight={weight}: give a number of at least 0.")
    objective: _AllPairs | _Sparse
    if neighbours is None:
        objective = _AllPairs(matrix, weight)
    else:
        objective = _Sparse(matrix, weight, check_whole("neighbours", neighbours))
    return maximise(objective, k, keys, optimizer=optimizer, epsilon=epsilon)


class _AllPairs:
    """All gains, from which twice a column of similarities is taken off for each row that is added."""

    def __init__(self, matrix: Matrix, weight: float) -> None:
        self._columns = Columns(matrix)
        n = len(matrix)
        to_all = (n + n * self._columns.products(self._columns.mean()[None])[0]) / 2
        self._gain = np.rint(weight * to_all * SCALE).astype(np.int64) - SCALE
        self._likely = self._gain.astype(np.float64)

    def gain(self, rows: np.ndarray) -> np.ndarray:
        return self._gain[rows]

    def add(self, row: int) -> None:
        self._likely[row] = -np.inf
        cosine = self._columns.of(row, self._likely)
        cosine += 1
        cosine *= SCALE / 2
        lost = 2 * np.rint(cosine, out=cosine)
        self._gain -= lost.astype(np.int64)
        self._likely -= lost


class _Sparse:
    """All gains over the graph of nearest neighbours."""

    def __init__(self, matrix: Matrix, weight: float, neighbours: int) -> None:
        rows, value = lists(matrix, neighbours, "cosine")
        self._graph = Graph.of_lists(rows, value).undirected()
        to_all = self._graph.sums(self._graph.value.astype(np.int64))
        self._gain = np.rint(weight * to_all).astype(np.int64) - SCALE

    def gain(self, rows: np.ndarray) -> np.ndarray:
        return self._gain[rows]

    def add(self, row: int) -> None:
        rows, value = self._graph.edges(row)
        self._gain[rows] -= 2 * value.astype(np.int64)
