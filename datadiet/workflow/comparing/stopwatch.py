"""Where the time of a comparison goes: parts that are timed where they happen, each second in one of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from datadiet.runtime.executors import Executor, Fleet
from datadiet.runtime.folder import RunFolder, Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.plan import Plan
from datadiet.runtime.units import MakeWorker, Product, Unit

__all__ = ["Stopwatch", "TimedExecutor", "nothing"]

_WORK = "units of work"


def nothing() -> None:
    """Do nothing."""


class Stopwatch:
    """Seconds by part. A part that begins within another interrupts it.

    Units of work are left out: they say themselves what they cost, in the logs of their runs.
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._part, self._since = "", time.perf_counter()

    @property
    def seconds(self) -> dict[str, float]:
        """What each part took so far."""
        return {part: seconds for part, seconds in self._seconds.items() if part not in ("", _WORK)}

    @contextmanager
    def timing(self, part: str) -> Iterator[None]:
        """Count what happens within as this part."""
        outer = self._turn(part)
        try:
            yield
        finally:
            self._turn(outer)

    def _turn(self, part: str) -> str:
        """End the current part and begin another; returns the one that ended."""
        now, ended = time.perf_counter(), self._part
        self._seconds[ended] = self._seconds.get(ended, 0.0) + now - self._since
        self._part, self._since = part, now
        return ended


@dataclass(frozen=True)
class TimedExecutor:
    """An executor whose units of work, and the writing of their files, are not counted as the part they are called in.

    Attributes:
        executor: does the work.
        watch: counts.
        noted: called after each entry of the log of a run.
    """

    executor: Executor
    watch: Stopwatch
    noted: Callable[[], object] = nothing

    def opens_on(self, device: Any) -> Any:
        """As the executor says."""
        return self.executor.opens_on(device)

    @contextmanager
    def start(self, device: Any, threads: int, planned: Hardware | None) -> Iterator[Fleet]:
        """The workers of the executor."""
        with self.executor.start(device, threads, planned) as fleet:
            yield _TimedFleet(fleet, self.watch, self.noted)


class _TimedFleet:
    def __init__(self, fleet: Fleet, watch: Stopwatch, noted: Callable[[], object]) -> None:
        self.fleet, self.watch, self.noted, self.hardware = fleet, watch, noted, fleet.hardware

    def run(self, plan: Plan, units: Iterable[Unit], make_worker: MakeWorker, sink: Sink) -> None:
        with self.watch.timing(_WORK):
            self.fleet.run(plan, units, make_worker, _TimedSink(sink.folder, self.watch, self.noted))


class _TimedSink(Sink):
    def __init__(self, folder: RunFolder, watch: Stopwatch, noted: Callable[[], object]) -> None:
        super().__init__(folder)
        self.watch, self.noted = watch, noted

    def write(self, product: Product) -> None:
        with self.watch.timing("writing"):
            super().write(product)
            if isinstance(product.content, dict):
                self.noted()
