"""Trying scorers on made-up signals: parameters and shapes that they refuse are refused before any work. No torch.

The signals have the epochs and widths that the run will have, and two examples. Errors that depend on the data, such as
a matrix without an inverse, appear only when the scores are computed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from datadiet.arrays import ANY
from datadiet.scorers import SCORERS
from datadiet.scorers.presentations import RANGES
from datadiet.table import Signals
from datadiet.workflow.scoring.requests import Request
from datadiet.workflow.scoring.scorer_inputs import facts_for, load_inputs

__all__ = ["MadeUp", "try_scorers"]


@dataclass(frozen=True, eq=False)
class MadeUp(Signals):
    """Signals of one seed, 1 everywhere or the most that they can be; every epoch and every signal exists.

    Attributes:
        widths: name of a pass that records vectors -> numbers per vector.
    """

    widths: Mapping[str, int] = field(default_factory=dict)

    def array(self, signal: str, mode: str, epochs: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
        """Allowed values, and seen everywhere: (1, epochs, n) both."""
        shape = (1, len(epochs), self.n)
        return np.full(shape, min(1.0, RANGES.get(signal, ANY).high), dtype=np.float32), np.ones(shape, dtype=bool)

    def vectors(self, mode: str, epochs: Sequence[int]) -> Sequence[Sequence[np.ndarray]]:
        """Ones: one seed, (n, width) per epoch."""
        return [[np.ones((self.n, self.widths[mode]), dtype=np.float32) for _ in epochs]]

    def columns(self, mode: str, epoch: int) -> list[str]:
        """None: there are no columns of single layers."""
        return []


def try_scorers(requests: Sequence[Request], signals: Signals) -> None:
    """Refuse what datadiet's scorers would refuse with such signals; other functions are not called.

    Args:
        requests: the scorers, with their parameters.
        signals: made-up ones, with the facts of the run.

    Raises:
        OptionError: a parameter or a shape that the scorer refuses, in its own words, or epochs outside the run.
    """
    ours = {id(spec.fn) for spec in SCORERS.values()}
    for request in requests:
        spec, reading = request.spec, load_inputs(signals, request)[""]
        if id(spec.fn) in ours:
            arrays, *_ = reading.arguments(spec.each)
            (spec.check or spec.fn)(*arrays, **{**facts_for(signals, request), **request.params})
