"""Trying scorers on made-up signals: parameters and shapes that they refuse are refused before any work. No torch.

The signals have the epochs and widths that the run will have, and two examples. What depends on the data itself, such
as a matrix that has no inverse, is told only when the scores are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from datadiet.scorers import SCORERS
from datadiet.table import Signals
from datadiet.workflow.reading import facts_for, read
from datadiet.workflow.requests import Request

__all__ = ["MadeUp", "try_scorers"]


@dataclass(frozen=True, eq=False)
class MadeUp(Signals):
    """Signals that are 1 everywhere, of one seed; every epoch and every signal is there.

    Attributes:
        widths: name of a pass that gives vectors -> numbers in each.
    """

    widths: Mapping[str, int] = field(default_factory=dict)

    def array(self, signal: str, mode: str, epochs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Ones, and seen everywhere: (1, epochs, n) both."""
        shape = (1, len(epochs), self.n)
        return np.ones(shape, dtype=np.float32), np.ones(shape, dtype=bool)

    def vectors(self, mode: str, epochs: Sequence[int]) -> Sequence[Sequence[np.ndarray]]:
        """Ones: one seed, each epoch (n, width)."""
        return [[np.ones((self.n, self.widths[mode]), dtype=np.float32) for _ in epochs]]

    def columns(self, mode: str, epoch: int) -> list[str]:
        """No layers of their own."""
        return []


def try_scorers(requests: Sequence[Request], signals: Signals) -> None:
    """Refuse what the scorers of the package would refuse of such signals; other functions are not called.

    Args:
        requests: what is asked for.
        signals: made-up ones, with the facts of the run.

    Raises:
        OptionError: a parameter or a shape that the scorer refuses, in its own words, or epochs outside the run.
    """
    ours = {id(spec.fn) for spec in SCORERS.values()}
    for request in requests:
        spec, reading = request.spec, read(signals, request)[""]
        if id(spec.fn) in ours:
            arrays, *_ = reading.arguments(spec.each)
            (spec.check or spec.fn)(*arrays, **{**facts_for(signals, request), **request.params})
