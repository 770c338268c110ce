"""An estimate of what something will cost, and the rates of this machine that it is based on."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.geometry.cost import Stage

if TYPE_CHECKING:
    from datadiet.workflow.planning.spread import Spread

__all__ = ["WITHOUT_TORCH", "WITH_TORCH", "Estimate", "Line", "Machine"]

WITH_TORCH, WITHOUT_TORCH = 620e6, 130e6  # bytes of Python and libraries


@dataclass(frozen=True)
class Machine:
    """How fast this machine does what a `Stage` counts.

    Attributes:
        flops: operations per second in float32 matrix products.
        moved: numbers per second in float32 additions of long arrays into new ones.
        calls: small calls from Python per second.
    """

    flops: float
    moved: float
    calls: float

    @classmethod
    def measured(cls, seconds: float = 0.1) -> Machine:
        """Each rate, over this many seconds: the median of many short measurements."""
        a, product = np.ones((1024, 256), dtype=np.float32), np.empty((1024, 1024), dtype=np.float32)
        long, few, heap = np.ones(1 << 22, dtype=np.float32), np.ones(16), list(range(1000))

        def some_calls() -> None:
            for _ in range(200):
                np.add(few, few)
                heapq.heapreplace(heap, 500)

        return cls(
            2 * 1024 * 1024 * 256 / _seconds(lambda: np.matmul(a, a.T, out=product), seconds),
            len(long) / _seconds(lambda: long + long, seconds),
            400 / _seconds(some_calls, seconds),
        )

    def seconds(self, step: Stage) -> float:
        """How long a step takes."""
        return step.flops / self.flops + step.moved / self.moved + step.calls / self.calls


@dataclass(frozen=True)
class Line:
    """One line of an estimate.

    Attributes:
        name: what is done.
        passes: over all examples.
        flops: operations; a multiplication and an addition count as two.
        memory: bytes, in addition to the process and the data.
        seconds: an estimate.
    """

    name: str
    passes: float
    flops: float
    memory: float
    seconds: float


@dataclass(frozen=True)
class Estimate:
    """What something will cost.

    Attributes:
        what: that thing, in one line.
        lines: its parts.
        disk: what is written, or must be there -> bytes.
        data: bytes of the vectors or the decoded inputs in memory; vectors on disk are memory-mapped, which the system
            takes back when memory is short.
        how: how the times were found.
        process: bytes of Python, torch and libraries.
        spread: what several workers make of it, if that was asked.
    """

    what: str
    lines: tuple[Line, ...]
    disk: Mapping[str, float]
    data: float
    how: str
    process: float = WITH_TORCH
    spread: Spread | None = None

    @cached_property
    def memory(self) -> float:
        """Bytes resident at the peak: the process, the data, and the largest part."""
        return self.process + self.data + max((line.memory for line in self.lines), default=0.0)

    @cached_property
    def total(self) -> Line:
        """All lines together."""
        passes, flops, seconds = (
            sum(getattr(line, key) for line in self.lines) for key in ("passes", "flops", "seconds")
        )
        return Line("total", passes, flops, self.memory, seconds)


def _seconds(work: Callable[[], Any], seconds: float) -> float:
    work()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
