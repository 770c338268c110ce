"""D2 pruning: keep examples that are hard, or stand for hard ones, and pass over the neighbours of kept examples.

Maharana, Yadav, Bansal: D2 Pruning: Message Passing for Balancing Diversity and Difficulty in Data Pruning, ICLR 2024
(arXiv 2310.07931). On the undirected graph that joins every example with its nearest neighbours (i and j are neighbours
if either is among the nearest of the other), with Euclidean distances d_ij, not squared:
forward:  s_i <- s_i + sum_{j in N(i)} exp(-gamma_f d_ij) s_j, once, from the hardness s >= 0;
then k times: take i = argmax s, and every j in N(i) loses: s_j <- s_j - exp(-gamma_r d_ij) s_i.
A message goes to all neighbours of i in the undirected graph, as in the authors' code for graphs built by it (for
precomputed lists of neighbours their code sends it along the list of i alone).

Deviations: a hardness with negative values is shifted to start at 0. Scores and messages are rounded to 2^-32 of a
power of two above the hardest, so that sums do not depend on their order; ties go by key. The authors search the whole
array for each example taken and build the graph from all n^2 pairs; here a heap is used, and changed scores are pushed
again.

Cost: the nearest neighbours (n^2 d); then O(n m log n) with m neighbours, and 120 n m bytes.
"""

from __future__ import annotations

import heapq
from math import frexp
from typing import Any

import numpy as np

from datadiet.arrays import Range
from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost, nearest
from datadiet.parameters import check_whole
from datadiet.progress import steps
from datadiet.randomness import Keys
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import as_scores, check_k, choose_keys
from datadiet.selectors.similarities import Graph, witness_cosines
from datadiet.selectors.spec import Column, SelectorSpec

__all__ = ["SPEC", "d2"]

_BITS = 32
_FINITE = Range(-1e150, 1e150)


@explained
def d2(
    embeddings: Any,
    k: int,
    *,
    hardness: np.ndarray | None = None,
    neighbours: int = 5,
    gamma_f: float = 1.0,
    gamma_r: float = 0.1,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """Examples that are hard and differ from each other.

    Args:
        embeddings: (n, d) finite floats, in memory or memory-mapped, or a `Matrix`. Distances are used as they are,
            so the gammas mean something else on vectors of length 1 than on raw features.
        k: how many to keep, 1..n.
        hardness: (n,) finite numbers, higher = harder; None = the same for all, so that density decides.
        neighbours: edges from each example to its nearest (all others if there are fewer). Paper: 1 to 15.
        gamma_f: at least 0, how fast forward messages fade with distance. Authors' code: 1.
        gamma_r: at least 0, how fast the deduction from neighbours fades with distance; smaller = more diverse. Paper:
            0 to 1.
        rng, keys: break ties.

    Returns:
        (k,) int64 positions, in the order in which they were taken. Nested: a smaller k gives a prefix; `.explain` also
        gives `witness`: the kept neighbour that took most from a row's score, `similarity`: the cosine with it.

    Raises:
        OptionError: hardness that is not finite, k outside 1..n, or an option outside its range.
        BadVector: a vector that is not finite.

    >>> d2(np.array([[0.0], [0.1], [9.0]]), 2, hardness=np.array([3.0, 2.0, 1.0]), neighbours=1).tolist()
    [0, 2]
    """
    matrix = Matrix.open(embeddings)
    n = len(matrix)
    check_k(k, n)
    for name, gamma in (("gamma_f", gamma_f), ("gamma_r", gamma_r)):
        if not 0 <= gamma < float("inf"):
            raise OptionError(f"{name}={gamma}: give a number of at least 0.")
    start = _start(hardness, k, n)
    draws = choose_keys(n, rng, keys).draw()
    graph = _graph(matrix, check_whole("neighbours", neighbours), draws)
    with np.errstate(over="ignore"):  # infinitely far is weight 0
        ahead, back = np.exp(-gamma_f * graph.value), np.exp(-gamma_r * graph.value)
    forward = np.rint(ahead * start[graph.row]).astype(np.int64)
    score = start.astype(np.int64) + graph.sums(forward)
    chosen, witness = _take(score, graph, back, k, draws)
    return Explained(chosen, witness=witness, similarity=witness_cosines(matrix, witness))


def _start(hardness: np.ndarray | None, k: int, n: int) -> np.ndarray:
    """(n,) whole numbers in float64: the hardness in steps of 2^-32 of a power of two above the largest."""
    values = as_scores(np.ones(n) if hardness is None else hardness, k, n=n, allowed=_FINITE).astype(np.float64)
    values = values - min(float(values.min()), 0.0)
    return np.rint(np.ldexp(values, _BITS - frexp(float(values.max()))[1]))


def _graph(matrix: Matrix, neighbours: int, draws: np.ndarray) -> Graph:
    """Every row joined with its nearest (ties go to the smaller draw), both ways; values are distances."""
    n = len(matrix)
    if n == 1:
        return Graph(np.zeros(2, dtype=np.int64), np.zeros(0, dtype=np.int32), np.zeros(0))
    rows, distance = nearest(matrix, min(neighbours, n - 1), metric="euclidean", ties=draws, progress=True)
    return Graph.of_lists(rows, distance.astype(np.float64)).undirected()


def _take(
    score: np.ndarray, graph: Graph, fade: np.ndarray, k: int, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The k rows taken, and for each other row the one that took most from it, -1 if none did."""
    n = len(score)
    chosen = np.empty(k, dtype=np.int64)
    witness, most, left = np.full(n, -1, dtype=np.int64), np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
    heap = list(zip((-score).tolist(), draws.tolist(), range(n), strict=True))
    heapq.heapify(heap)
    for place in steps("take", range(k)):
        while True:
            value, _, row = heapq.heappop(heap)
            if left[row] and -value == score[row]:  # otherwise pushed before its score changed
                break
        chosen[place], left[row] = row, False
        span = slice(graph.start[row], graph.start[row + 1])
        open_ = left[graph.row[span]]
        rows = graph.row[span][open_]
        lost = np.rint(fade[span][open_] * score[row]).astype(np.int64)
        score[rows] -= lost
        more = lost > most[rows]
        most[rows[more]], witness[rows[more]] = lost[more], row
        for entry in zip((-score[rows]).tolist(), draws[rows].tolist(), rows.tolist(), strict=True):
            heapq.heappush(heap, entry)
    witness[chosen] = -1
    return chosen, witness


def _cost(n: int, d: int, k: int | None, /, *, neighbours: int = 5, **parameters: Any) -> list[cost.Stage]:
    """The nearest neighbours, then a heap."""
    calls, held = n + (k or n) * (40 + 4 * neighbours), 112 * n * neighbours + 300 * n
    taking = cost.Stage("pass messages, take", moved=100.0 * n * neighbours, calls=calls, memory=held)
    return [cost.opening(n, d, 1), cost.nearest_neighbours(n, d, neighbours), taking, cost.witnesses(n, d)]


SPEC = SelectorSpec(d2, reads={"hardness": Column()}, nested=True, cost=_cost, reference="Maharana et al. 2024")
