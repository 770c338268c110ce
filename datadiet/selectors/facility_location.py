"""Facility location: keep the examples that represent all others best.

f(S) = sum_i max_{j in S} s_ij with similarities s >= 0: monotone and submodular, so greedy reaches 1 - 1/e of the best
value (Nemhauser, Wolsey, Fisher, 1978). For data subsets: Wei, Iyer, Bilmes, ICML 2015; as implemented in submodlib
(arXiv 2202.10680). s_ij = (1 + cos(x_i, x_j)) / 2; with metric="euclidean" 1 - d_ij / D, D the largest distance.

Deviations: similarities are rounded to 2^-20, which makes gains exact (`greedy`). Above 4096 examples, only the
`neighbours` nearest of each example (and itself) count, and all other similarities are 0: an example can then be
represented only by those in its list. The witness of a row that no kept example represents is the nearest kept example
overall.

Cost: all pairs: n^2 d multiplications, 4 n^2 bytes. Sparse with m neighbours: n^2 d for the neighbours, about 40 n m
bytes, and for the greedy steps about m^2 additions per example taken.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from datadiet.geometry import Matrix, cost, nearest
from datadiet.geometry.matrix import Metric, is_cosine
from datadiet.parameters import check_whole
from datadiet.randomness import Keys
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.greedy import Optimizer, check_optimizer, is_deterministic, maximise
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.similarities import Graph, dense, lists, witness_cosines
from datadiet.selectors.spec import SelectorSpec

__all__ = ["DENSE", "NEIGHBOURS", "SPEC", "facility_location", "representatives"]

DENSE = 4096  # up to this many examples, all pairs are compared if `neighbours` is not given
NEIGHBOURS = 64


@explained
def facility_location(
    embeddings: Any,
    k: int,
    *,
    neighbours: int | None = None,
    metric: Metric = "cosine",
    optimizer: Optimizer = "lazy",
    epsilon: float = 0.01,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """The examples that represent all others best, greedily.

    Args:
        embeddings: (n, d) finite floats, in memory or memory-mapped, or a `Matrix`.
        k: how many to keep, 1..n.
        neighbours: how many nearest examples, besides itself, can represent an example (all if there are fewer).
            None = all up to 4096 examples, 64 above.
        metric: "cosine" or "euclidean": how similarity is measured.
        optimizer: "lazy"; "naive", which takes the same examples but is slow; or "stochastic".
        epsilon: for "stochastic", in (0, 1): the smaller, the more examples are compared.
        rng, keys: break ties, and draw for "stochastic". Once everything is represented, the rest is taken by key.

    Returns:
        (k,) int64 positions, in the order in which they were taken. Nested, except for "stochastic", whose draws depend
        on k; `.explain` also gives `witness`: the kept example that represents a row, `similarity`: the cosine with it.

    Raises:
        OptionError: k outside 1..n or an option outside its range.
        BadVector: a vector that is not finite, or all zeros with metric="cosine".

    >>> facility_location(np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]]), 2).tolist()
    [1, 2]
    """
    matrix = Matrix.open(embeddings, unit=is_cosine(metric))
    check_k(k, len(matrix))
    keys = choose_keys(len(matrix), rng, keys)
    chosen, witness = representatives(matrix, k, neighbours, metric, keys, optimizer, epsilon)
    witness = nearest_kept(matrix, chosen, witness, metric)
    witness[chosen] = -1
    return Explained(chosen, witness=witness, similarity=witness_cosines(matrix, witness))


def representatives(
    matrix: Matrix,
    k: int,
    neighbours: int | None,
    metric: Metric,
    keys: Keys,
    optimizer: Optimizer = "lazy",
    epsilon: float = 0.01,
) -> tuple[np.ndarray, np.ndarray]:
    """The kept rows (k,), and for every row the kept one that represents it, -1 where no similarity is above 0."""
    if neighbours is None and len(matrix) <= DENSE:
        objective: _AllPairs | _Sparse = _AllPairs(dense(matrix, metric))
    else:
        m = NEIGHBOURS if neighbours is None else check_whole("neighbours", neighbours)
        objective = _Sparse(*lists(matrix, m, metric, keys.draw()))
    return maximise(objective, k, keys, optimizer=optimizer, epsilon=epsilon), objective.witness


def nearest_kept(matrix: Matrix, chosen: np.ndarray, witness: np.ndarray, metric: Metric) -> np.ndarray:
    """The witnesses, with the nearest kept row overall for rows without one."""
    witness, bare = witness.copy(), np.flatnonzero(witness < 0)
    if len(bare):
        rows, _ = nearest(matrix.part(bare), 1, among=matrix.part(chosen), metric=metric)
        witness[bare] = chosen[rows[:, 0]]
    return witness


class _AllPairs:
    """f over all pairs; a gain is computed on request."""

    def __init__(self, value: np.ndarray) -> None:
        self._value = value  # (n, n) int32, symmetric
        self._best = np.zeros(len(value), dtype=np.int32)
        self.witness = np.full(len(value), -1, dtype=np.int64)

    def gain(self, rows: np.ndarray) -> np.ndarray:
        out = np.empty(len(rows), dtype=np.int64)
        for place, row in enumerate(rows.tolist()):
            more = self._value[row] - self._best
            out[place] = np.maximum(more, 0, out=more).sum(dtype=np.int64)
        return out

    def add(self, row: int) -> None:
        value = self._value[row]
        closer = np.flatnonzero(value > self._best)
        self._best[closer], self.witness[closer] = value[closer], row


class _Sparse:
    """f over the lists of neighbours; all gains are kept up to date.

    When row j is taken, the rows i that list it may be better represented than before; every candidate in the list of
    such an i then loses the gain that it no longer brings to i.
    """

    def __init__(self, rows: np.ndarray, value: np.ndarray) -> None:
        self._rows, self._value = rows, value  # (n, m + 1) int32, each row itself first
        self._listed_by = Graph.of_lists(rows, value).reversed()
        self._best = np.zeros(len(rows), dtype=np.int32)
        self._gain = self._listed_by.sums(self._listed_by.value.astype(np.int64))
        self.witness = np.full(len(rows), -1, dtype=np.int64)

    def gain(self, rows: np.ndarray) -> np.ndarray:
        return self._gain[rows]

    def add(self, row: int) -> None:
        rows, new = self._listed_by.edges(row)
        closer = np.flatnonzero(new > self._best[rows])
        rows, new = rows[closer], new[closer]
        value = self._value[rows]
        lost = np.maximum(value - self._best[rows, None], 0) - np.maximum(value - new[:, None], 0)
        np.subtract.at(self._gain, self._rows[rows].ravel(), lost.ravel())
        self._best[rows], self.witness[rows] = new, row


def facility_location_cost(
    n: int,
    d: int,
    k: int | None,
    /,
    *,
    neighbours: int | None = None,
    optimizer: Optimizer = "lazy",
    epsilon: float = 0.01,
    **parameters: Any,
) -> list[cost.Stage]:
    """All pairs of up to 4096 examples, the nearest neighbours of more; then greedy."""
    k = k or n
    check_optimizer(optimizer, epsilon)
    gains = {"naive": n * k, "stochastic": n * log(1 / epsilon)}.get(optimizer, 40 * n + 4 * k)
    if neighbours is None and n <= DENSE:
        held = 4 * n * n + 8 * n * d + 40 * 1024 * n
        alike = cost.Stage("all similarities", 1, 4.0 * n * n * d, 40.0 * n * n, memory=held)
        greedy = cost.Stage("greedy", moved=1.5 * gains * n, calls=10 * gains, memory=4 * n * n)
    else:
        m = NEIGHBOURS if neighbours is None else neighbours
        alike = cost.nearest_neighbours(n, d, m)
        moved, calls = 20.0 * n * m + 40.0 * k * m * m, 6 * n + 40 * k + 3 * gains
        greedy = cost.Stage("greedy", moved=moved, calls=calls, memory=41 * n * m + 300 * n)
    return [cost.opening(n, d), alike, greedy, cost.witnesses(n, d)]


SPEC = SelectorSpec(
    facility_location, nested=is_deterministic, cost=facility_location_cost, reference="Wei et al. 2015"
)
