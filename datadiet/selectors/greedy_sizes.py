"""How many vectors greedy deduplication keeps, as a function of the threshold.

The function is not monotone: when a vector is removed, those that it had removed may come back. If all pairs fit in
memory, they are taken in order of descending similarity, and the consequences of each removal are followed. If there
are too many pairs, greedy is run at some thresholds.
"""

from __future__ import annotations

import heapq

import numpy as np

from datadiet.selectors.duplicate_rules import greedy
from datadiet.selectors.similar_pairs import OrderedVectors, Pairs, pairs_above

__all__ = ["changes", "changes_at", "few_pairs"]

_AT_MOST = 1 << 23  # pairs, about 60 bytes each
_CHUNK = 1 << 14


def few_pairs(vectors: OrderedVectors, floor: np.float32) -> Pairs | None:
    """All pairs above a floor, or None if there are more than eight million."""
    parts, held = [], 0
    for (later, earlier, similarity), _ in pairs_above(vectors, floor):
        parts.append((later.astype(np.int32), earlier.astype(np.int32), similarity))
        held += len(later)
        if held > _AT_MOST:
            return None
    later, earlier, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
    return later, earlier, similarity


def changes_at(vectors: OrderedVectors, floors: np.ndarray) -> list[int]:
    """The change in the number kept at each of (t,) descending thresholds from the one before, at first from all."""
    kept = (greedy(vectors, floors)[0] < 0).sum(axis=1)
    return np.diff(kept, prepend=len(vectors)).tolist()


def changes(m: int, pairs: Pairs) -> tuple[list[float], list[int]]:
    """How the number kept changes while the threshold falls.

    Args:
        m: number of vectors, in order of preference.
        pairs: all pairs above the lowest threshold of interest.

    Returns:
        Similarities, descending, and by how much the number kept changes once the pair of each counts.
    """
    order = np.argsort(-pairs[2], kind="stable")
    later, earlier, similarity = (column[order] for column in pairs)
    state = _State(m, later, earlier)
    at, change, start = [], [], 0
    while start < len(later):
        span = slice(start, start + _CHUNK)
        touching = start + np.flatnonzero(state.kept[earlier[span]] & state.kept[later[span]])
        start += _CHUNK
        for pair in touching.tolist():
            if state.kept[earlier[pair]] and state.kept[later[pair]]:
                by, returned = state.settle(int(later[pair]), pair)
                at.append(float(similarity[pair]))
                change.append(by)
                if returned:  # pairs between rows that are kept again may follow within this chunk
                    start = pair + 1
                    break
    return at, change


class _State:
    """Which vectors greedy keeps when only the pairs up to a given one count."""

    def __init__(self, m: int, later: np.ndarray, earlier: np.ndarray) -> None:
        self.kept = np.ones(m, dtype=bool)
        self._later, self._earlier = later, earlier
        self._pairs_of_later, self._later_starts = _grouped(later, m)
        self._pairs_of_earlier, self._earlier_starts = _grouped(earlier, m)

    def settle(self, changed: int, pair: int) -> tuple[int, bool]:
        """Decide one vector again, now that its pair counts, and then those affected, in order.

        Returns:
            By how much the number kept changes, and whether any came back.
        """
        todo, by, returned = [changed], 0, False
        while todo:
            row = heapq.heappop(todo)
            keep = not self.kept[self._earlier[self._until(pair, self._pairs_of_later, self._later_starts, row)]].any()
            if keep == self.kept[row]:
                continue
            self.kept[row] = keep
            by += 1 if keep else -1
            returned |= keep
            after = self._later[self._until(pair, self._pairs_of_earlier, self._earlier_starts, row)]
            for other in after[self.kept[after] == keep].tolist():
                heapq.heappush(todo, other)
        return by, returned

    @staticmethod
    def _until(pair: int, pairs: np.ndarray, starts: np.ndarray, row: int) -> np.ndarray:
        """The pairs of a row up to the given one."""
        own = pairs[starts[row] : starts[row + 1]]
        return own[: np.searchsorted(own, pair, side="right")]


def _grouped(ends: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """The pairs grouped by one of their ends, in order, and where those of each vector start."""
    starts = np.zeros(m + 1, dtype=np.int64)
    np.cumsum(np.bincount(ends, minlength=m), out=starts[1:])
    return np.argsort(ends, kind="stable").astype(np.int32), starts
