"""How long units take on some number of workers, from how long each takes: a discrete-event model of the executors."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from datadiet.runtime.unit_queue import UnitQueue
from datadiet.runtime.units import Unit

__all__ = ["makespan"]


def makespan(
    units: Iterable[Unit], seconds: Callable[[Unit], float], workers: int, *, begin: float = 0.0, handling: float = 0.0
) -> float:
    """Seconds until the last unit is done.

    Args:
        units: of the run.
        seconds: that a unit takes a worker.
        workers: how many there are, each doing one unit at a time.
        begin: seconds until a worker has opened data and model.
        handling: seconds that the driver, of which there is one, spends on a unit that is done.

    >>> parts = [Unit("measure", ("eval", 0, 1), lo, lo + 1, ("train 0",)) for lo in range(4)]
    >>> makespan([Unit("train", (0,)), *parts], lambda unit: 10.0 if unit.kind == "train" else 1.0, 2)
    12.0
    """
    queue = UnitQueue(units)
    idle: list[tuple[int, Unit | None]] = [(number, None) for number in range(workers)]
    busy: list[tuple[float, int, Unit]] = []
    now, driver = begin, 0.0
    while queue.left:
        waiting = []
        for number, last in idle:
            unit = queue.take(last)
            if unit is None:
                waiting.append((number, last))
            else:
                heappush(busy, (now + seconds(unit), number, unit))
        ended, number, unit = heappop(busy)
        now = driver = max(ended, driver) + handling
        queue.done(unit)
        idle = [*waiting, (number, unit)]
    return now
