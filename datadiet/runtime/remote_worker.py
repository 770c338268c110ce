"""A worker in another process as its driver sees it, and what it begins with."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from datadiet.runtime.folder import Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.plan import Plan
from datadiet.runtime.transfer import Arrivals
from datadiet.runtime.unit_queue import UnitQueue
from datadiet.runtime.units import Unit

__all__ = ["Job", "RemoteWorker"]


@dataclass(frozen=True)
class Job:
    """What all workers begin with.

    Attributes:
        plan: of the run.
        packed: a reference to what makes a worker.
        place: the working folder of the driver, and where it finds modules.
        probe: a file in the folder of the run, and what it holds.
        sink: writes that folder.
        queue: the units.
    """

    plan: Plan
    packed: Any
    place: tuple[str, tuple[str, ...]]
    probe: tuple[Path, str]
    sink: Sink
    queue: UnitQueue

    @cached_property
    def folder(self) -> Path:
        """Of the run."""
        return self.sink.folder.path.resolve()


@dataclass(eq=False)
class RemoteWorker:
    """A worker in another process.

    Attributes:
        number: of the worker.
        actor: its handle.
        call: the method that it was asked for, if that is not over.
        answer: a reference to the answer, or a stream of references.
        hardware: what it works on, once it is up.
        node: the name of its machine.
        begun: whether it has opened the job.
        shared: whether it sees the folder of the run.
        has: the files of the run that it has otherwise.
        arrivals: puts together the files that come from it.
        unit: what it does, or did last.
        started: whether its process has taken that unit up.
        done: examples of that unit that it has processed.
        deaths: how often in a row it died before it did a unit.
        again: when to ask it next.
    """

    number: int
    actor: Any
    call: str = ""
    answer: Any = None
    hardware: Hardware | None = None
    node: str = ""
    begun: bool = False
    shared: bool = False
    has: set[str] = field(default_factory=set)
    arrivals: Arrivals | None = None
    unit: Unit | None = None
    started: bool = False
    done: int = 0
    deaths: int = 0
    again: float = 0.0

    def __str__(self) -> str:
        return f"worker {self.number}{f' on {self.node}' if self.node else ''}"

    def ask(self, call: str, answer: Any) -> None:
        """Note what it was asked for."""
        self.call, self.answer = call, answer

    def restarted(self, again: float) -> None:
        """Note that it is a new process, which can be asked from a time on."""
        self.call, self.answer, self.hardware, self.begun, self.unit, self.done = "", None, None, False, None, 0
        self.has.clear()
        self.again = again
        self.forget_arrivals()

    def forget_arrivals(self) -> None:
        """Drop the files that it began to send."""
        if self.arrivals is not None:
            self.arrivals.drop()
