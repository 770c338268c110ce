"""How long scoring takes if its units are spread over several workers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from datadiet.runtime.simulation import makespan
from datadiet.runtime.units import Unit
from datadiet.workflow.scoring.needs import Input
from datadiet.workflow.scoring.recording import Recording

__all__ = ["START", "Spread", "spread_over"]

START = 10.0  # seconds until Ray and its workers are up and have opened the data


@dataclass(frozen=True)
class Spread:
    """What several workers make of it.

    Attributes:
        workers: how many, each like this machine.
        seconds: until all is done.
        alone: seconds that one worker takes.
        longest: the name of the longest unit, which no number of workers shortens.
        longest_seconds: how long that takes.
    """

    workers: int
    seconds: float
    alone: float
    longest: str
    longest_seconds: float


def spread_over(recording: Recording, train: float, measure: Callable[[Input], float], workers: int) -> Spread:
    """An estimate from the units of a recording.

    Args:
        recording: what will be recorded.
        train: seconds to train on an example once.
        measure: the seconds that a pass takes per example.
        workers: how many.
    """

    def seconds(unit: Unit) -> float:
        return unit.examples * (train if unit.kind == "train" else max(map(measure, recording.steps_of(unit))))

    units = recording.sharing(recording.units())
    longest = max(units, key=seconds)
    together, alone = makespan(units, seconds, workers, begin=START), makespan(units, seconds, 1)
    return Spread(workers, together, alone, longest.name, seconds(longest))
