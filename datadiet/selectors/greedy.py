"""Greedy maximisation of a set function, one example at a time: naive, lazy and stochastic.

Greedy takes the example with the largest gain; for monotone submodular functions it reaches 1 - 1/e of the best value
(Nemhauser, Wolsey, Fisher, 1978, Mathematical Programming 14). *Lazy* (Minoux, 1978): gains never grow, so an old
gain is an upper bound, and if the gain of the top of a heap has not changed, it is the largest. *Stochastic*
(Mirzasoleiman et al., AAAI 2015, arXiv 1409.7938): each time the best of ceil(n/k ln(1/epsilon)) examples drawn at
random.

Gains are integers: sums of similarities rounded to a fixed grid. They are exact, so neither the order of the rows nor
the way in which they are read decides a tie, and lazy equals naive to the last example.

Cost: naive n k gains; lazy n gains and, in practice, a few for each example taken; stochastic n ln(1/epsilon).
"""

from __future__ import annotations

import heapq
from math import ceil, log
from typing import Any, Literal, Protocol

import numpy as np

from datadiet.errors import OptionError, unknown_name
from datadiet.progress import steps
from datadiet.randomness import Keys, generator

__all__ = ["SetFunction", "Optimizer", "check_optimizer", "is_deterministic", "largest", "maximise"]

Optimizer = Literal["lazy", "naive", "stochastic"]


class SetFunction(Protocol):
    """A set function and the set so far."""

    def gain(self, rows: np.ndarray) -> np.ndarray:
        """What each of these rows, all outside the set, would add to the value: (m,) int64."""

    def add(self, row: int) -> None:
        """Put a row into the set."""


def maximise(
    objective: SetFunction, k: int, keys: Keys, *, optimizer: Optimizer = "lazy", epsilon: float = 0.01
) -> np.ndarray:
    """Take the row with the largest gain, k times; ties go to the smaller key.

    Args:
        objective: of `keys.n` rows; lazy needs gains that never grow.
        k: how many, 1..n.
        keys: break ties, and seed the draws of "stochastic".
        optimizer: "lazy", "naive" (the same rows, slowly) or "stochastic".
        epsilon: for "stochastic", in (0, 1): it loses at most this much of the guarantee, in expectation.

    Returns:
        (k,) int64 rows in the order in which they were taken.
    """
    check_optimizer(optimizer, epsilon)
    if optimizer == "lazy":
        return _lazy(objective, k, keys)
    sample = keys.n if optimizer == "naive" else ceil(keys.n / k * log(1 / epsilon))
    return _best_of(objective, k, keys, sample)


def check_optimizer(optimizer: str, epsilon: float) -> None:
    """Refuse an unknown optimizer, and an epsilon outside (0, 1)."""
    if optimizer not in ("lazy", "naive", "stochastic"):
        raise unknown_name("optimizer", str(optimizer), ["lazy", "naive", "stochastic"])
    if not 0 < epsilon < 1:
        raise OptionError(f"epsilon={epsilon}: give a number between 0 and 1.")


def largest(values: np.ndarray, draws: np.ndarray) -> int:
    """The row with the largest value; of ties, the one with the smallest draw."""
    at = np.flatnonzero(values == values.max())
    return int(at[0] if len(at) == 1 else at[draws[at].argmin()])


def _lazy(objective: SetFunction, k: int, keys: Keys) -> np.ndarray:
    rows = np.arange(keys.n)
    heap = list(zip((-objective.gain(rows)).tolist(), keys.draw().tolist(), rows.tolist(), strict=True))
    heapq.heapify(heap)
    chosen = np.empty(k, dtype=np.int64)
    for place in steps("greedy", range(k)):
        while True:
            bound, key, row = heap[0]
            now = -int(objective.gain(np.array([row]))[0])
            if now == bound:
                break
            heapq.heapreplace(heap, (now, key, row))
        heapq.heappop(heap)
        objective.add(row)
        chosen[place] = row
    return chosen


def _best_of(objective: SetFunction, k: int, keys: Keys, sample: int) -> np.ndarray:
    """Take the best of a random sample of the rows that are left, or of all of them."""
    left = keys.sort(np.zeros(keys.n, dtype=np.uint32))  # so that the first of equal gains has the smallest key
    rng = generator(keys.seed, keys.stream, "stochastic greedy")
    chosen = np.empty(k, dtype=np.int64)
    for place in steps("greedy", range(k)):
        few = sample < len(left)
        at = np.sort(rng.choice(len(left), sample, replace=False, shuffle=False)) if few else np.arange(len(left))
        best = int(at[objective.gain(left[at]).argmax()])
        chosen[place] = left[best]
        objective.add(int(left[best]))
        left = np.delete(left, best)
    return chosen


def is_deterministic(*, optimizer: Optimizer = "lazy", **parameters: Any) -> bool:
    """Whether greedy with these parameters takes the same examples for every size, so that sizes are nested."""
    return optimizer != "stochastic"
