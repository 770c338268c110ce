"""Which near-duplicates are kept: at any number of thresholds, or exactly k."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, get_args

import numpy as np

from datadiet.arrays import as_array
from datadiet.errors import OptionError
from datadiet.geometry import Clusters, Matrix
from datadiet.parameters import in_a_line
from datadiet.randomness import Keys
from datadiet.selectors.duplicate_rules import connected
from datadiet.selectors.explained import Explained
from datadiet.selectors.ordered_clusters import OrderedClusters, below
from datadiet.selectors.ordering import check_k
from datadiet.selectors.preference import Preference
from datadiet.selectors.similar_pairs import BLOCK, pair_cosines

__all__ = ["Duplicates", "Mode", "check_epsilon", "check_limit"]

Mode = Literal["chain", "greedy", "components"]


def check_epsilon(epsilon: float) -> np.float32:
    """The similarity above which two rows are duplicates: 1 - epsilon in float32, below 1 unless epsilon is 0."""
    if not isinstance(epsilon, Real) or not 0 <= epsilon < 2:
        raise OptionError(
            f"epsilon={in_a_line(epsilon)}: rows more similar than 1 - epsilon are duplicates; give a number from 0 to "
            "below 2, such as 0.001."
        )
    return min(np.float32(1 - epsilon), below(np.float32(1))) if epsilon else np.float32(1)


def check_limit(k: int | None, epsilon: float | None) -> np.float32 | None:
    """The similarity above which two rows are duplicates, None if k is given; exactly one of k and epsilon must be."""
    if (k is None) == (epsilon is None):
        raise OptionError(
            f"k={k} and epsilon={epsilon}: give one of the two, the number to keep or how far apart duplicates may be."
        )
    return None if epsilon is None else check_epsilon(epsilon)


@dataclass(frozen=True, eq=False)
class Duplicates:
    """The near-duplicates of n vectors, compared once and then cut at any threshold.

    >>> vectors = np.array([[1, 0], [1, 0.1], [0, 1]], dtype=np.float32)
    >>> found = Duplicates.of(vectors, prefer="easiest")
    >>> [len(found.kept(epsilon).chosen) for epsilon in (0.001, 0.01, 1.5)]
    [3, 2, 1]

    Attributes:
        ordered: the vectors, in clusters and in order of preference.
    """

    ordered: OrderedClusters

    @classmethod
    def of(
        cls,
        embeddings: Any,
        clusters: int | Clusters | None = None,
        *,
        prefer: Preference = "hardest",
        hardness: np.ndarray | None = None,
        block: int = BLOCK,
        keys: Keys | None = None,
    ) -> Duplicates:
        """Cluster and order; the arguments are those of `semdedup`."""
        matrix = Matrix.open(embeddings, unit=True)
        keys = Keys(0, "select", len(matrix)) if keys is None else keys
        return cls(OrderedClusters.of(matrix, clusters, keys=keys, prefer=prefer, hardness=hardness, block=block))

    def kept(self, epsilon: float, mode: Mode = "greedy") -> Explained:
        """The rows kept when rows more similar than 1 - epsilon are duplicates."""
        return self.sweep([epsilon], mode)[0]

    def sweep(self, epsilons: Sequence[float], mode: Mode = "greedy") -> list[Explained]:
        """`kept` for several epsilons, with one comparison of all pairs (for chain, one for all calls).

        With components, the vectors are read once more for each epsilon, for the similarity to the kept row.
        """
        _check_mode(mode)
        given = as_array("epsilons", epsilons, "thresholds*")
        floors = np.array([check_epsilon(epsilon) for epsilon in given], dtype=np.float32)
        if not len(floors):
            return []
        if mode == "chain":
            similarity = self.ordered.nearest_earlier[1]
            return [self._chain(self._ranked[similarity[self._ranked] <= floor]) for floor in floors]
        if mode == "greedy":
            return [self._kept(who < 0, who, s) for who, s in zip(*self.ordered.greedy(floors), strict=True)]
        later, earlier, similarity = self.ordered.forest(floors.min())
        return [self._joined(later[similarity > floor], earlier[similarity > floor]) for floor in floors]

    def keep(self, k: int, mode: Mode = "greedy") -> Explained:
        """The k rows kept."""
        _check_mode(mode)
        check_k(k, n := len(self.ordered))
        if mode == "chain":
            return self._chain(self._ranked[:k])
        if k == n:
            return self.kept(0.0, mode)
        if k <= len(self.ordered.groups):
            return self._firsts(k)
        if mode == "greedy":
            return self._greedy(k)
        forests = (self.ordered.forest(floor) for floor in self.ordered.floors(k, for_greedy=False))
        later, earlier, _ = next(edges for edges in forests if len(edges[0]) >= n - k)
        return self._joined(later[: n - k], earlier[: n - k])

    @property
    def _ranked(self) -> np.ndarray:
        """All rows by ascending similarity to an earlier one, ties by preference."""
        return np.lexsort((self.ordered.place, self.ordered.nearest_earlier[1]))

    def _greedy(self, k: int) -> Explained:
        """Greedy at the highest threshold that keeps at most k < n rows; then the least similar rows are readmitted."""
        curves = (self.ordered.greedy_sizes(floor) for floor in self.ordered.floors(k, for_greedy=True))
        similarity, size, certain = next(curve for curve in curves if ((curve[1] <= k) & curve[2]).any())
        for enough in (size <= k, (size <= k) & certain):
            strictest = np.array([below(similarity[enough.argmax()])])
            ((witness, nearest),) = zip(*self.ordered.greedy(strictest), strict=True)
            if (witness < 0).sum() <= k:
                break
        removed = np.flatnonzero(witness >= 0)
        back = removed[np.lexsort((self.ordered.place[removed], nearest[removed]))]
        back = back[: k - (len(witness) - len(removed))]
        kept = witness < 0
        kept[back] = True
        return self._kept(kept, witness, nearest, last=back)

    def _firsts(self, k: int) -> Explained:
        """The most preferred row of each cluster, the k most preferred of them if there are more clusters."""
        first = np.array([rows[0] for rows in self.ordered.groups])
        first = first[np.argsort(self.ordered.place[first])]
        of = np.full(self.ordered.labels.max() + 1, -1)
        of[self.ordered.labels[first[:k]]] = first[:k]
        return self._with_cosines(of[self.ordered.labels])

    def _joined(self, left: np.ndarray, right: np.ndarray) -> Explained:
        """The most preferred row of each connected component."""
        return self._with_cosines(connected(len(self.ordered), left, right, self.ordered.place))

    def _with_cosines(self, witness: np.ndarray) -> Explained:
        """The result for witnesses that are the row itself (kept), another row, or -1 (none)."""
        kept = witness == np.arange(len(witness))
        similarity = np.full(len(witness), np.nan, dtype=np.float32)
        asked = np.flatnonzero(~kept & (witness >= 0))
        similarity[asked] = pair_cosines(self.ordered.matrix, asked, witness[asked])
        return self._kept(kept, witness, similarity)

    def _chain(self, chosen: np.ndarray) -> Explained:
        witness, similarity = self.ordered.nearest_earlier
        kept = np.zeros(len(witness), dtype=bool)
        kept[chosen] = True
        return self._kept(kept, witness, similarity, chosen=chosen)

    def _kept(
        self,
        kept: np.ndarray,
        witness: np.ndarray,
        similarity: np.ndarray,
        *,
        chosen: np.ndarray | None = None,
        last: np.ndarray | None = None,
    ) -> Explained:
        """The result, without reasons for kept rows; by preference unless `chosen` is given, `last` at the end."""
        if chosen is None:
            first = kept.copy()
            if last is not None:
                first[last] = False
            chosen = np.flatnonzero(first)
            chosen = chosen[np.argsort(self.ordered.place[chosen])]
            chosen = chosen if last is None else np.concatenate([chosen, last])
        without = kept | (witness < 0)
        return Explained(
            chosen,
            stratum=self.ordered.labels,
            witness=np.where(without, -1, witness),
            similarity=np.where(without, np.float32(np.nan), similarity),
        )


def _check_mode(mode: str) -> None:
    if mode not in get_args(Mode):
        raise OptionError(f"mode={mode!r}: give 'chain', 'greedy' or 'components'.")
