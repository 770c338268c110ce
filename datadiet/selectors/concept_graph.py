"""The concepts of the examples accepted so far, and which of them occurred together: what conflicts with these.

An example is inconsistent if two of its concepts are both known and never occurred together in an accepted example.
Neither verdict changes afterwards: the concepts of an accepted example stay joined, and no example that holds two known
concepts that are not joined is ever accepted. So each set of concepts is judged once, where it is first met.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

__all__ = ["ConceptGraph"]

_OPEN, _ACCEPTED, _REJECTED = 0, 1, 2


class ConceptGraph:
    """The graph over concepts, empty at first.

    Args:
        codes: (n, m) int64, the concepts of each example in any order; negative = none.
    """

    def __init__(self, codes: np.ndarray) -> None:
        known, inverse = np.unique(np.sort(codes, axis=1), axis=0, return_inverse=True)
        self._set_of = inverse.reshape(-1)
        self._sets = [sorted({code for code in row if code >= 0}) for row in known.tolist()]
        self._verdict = np.zeros(len(known), dtype=np.int8)
        self._known: set[int] = set()
        self._joined: set[tuple[int, int]] = set()

    def scan(self, rows: np.ndarray, budget: int) -> tuple[np.ndarray, int]:
        """Accept examples in order until there are enough; the graph takes up their concepts.

        Args:
            rows: (m,) examples, the best first.
            budget: how many to accept.

        Returns:
            (m,) bool: which were met and are inconsistent; and how many were met.
        """
        sets, accepted, done = self._set_of[rows], 0, 0
        first = np.sort(np.unique(sets, return_index=True)[1])
        for at in first[self._verdict[sets[first]] == _OPEN].tolist():
            accepted += int(np.count_nonzero(self._verdict[sets[done:at]] == _ACCEPTED))
            if accepted >= budget:
                break
            self._judge(int(sets[at]))
            done = at
        verdict = self._verdict[sets]
        met = min(len(rows), int(np.searchsorted(np.cumsum(verdict == _ACCEPTED), budget)) + 1) if budget else 0
        return (verdict == _REJECTED) & (np.arange(len(rows)) < met), met

    def _judge(self, number: int) -> None:
        concepts = self._sets[number]
        pairs = list(combinations(concepts, 2))
        fits = all(pair in self._joined or not self._known.issuperset(pair) for pair in pairs)
        self._verdict[number] = _ACCEPTED if fits else _REJECTED
        if fits:
            self._known.update(concepts)
            self._joined.update(pairs)
