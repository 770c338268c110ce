"""Who does units of work: this process, or workers that Ray spreads over GPUs and machines."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from datadiet.errors import OptionError, unknown_name
from datadiet.runtime.folder import RunFolder, Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.local import LocalExecutor
from datadiet.runtime.plan import Plan
from datadiet.runtime.ray import RayExecutor
from datadiet.runtime.units import MakeWorker, Unit

__all__ = ["EXECUTORS", "Executor", "Fleet", "complete_run", "executor_for"]

EXECUTORS = ("auto", "local", "ray")

_log = logging.getLogger("datadiet")


class Fleet(Protocol):
    """Workers that are up.

    Attributes:
        hardware: of each of them.
    """

    hardware: Hardware

    def run(self, plan: Plan, units: Iterable[Unit], make_worker: MakeWorker, sink: Sink) -> None:
        """Do all units, in any order that their `after` allows."""
        ...


@runtime_checkable
class Executor(Protocol):
    """Where workers come from."""

    def opens_on(self, device: Any) -> Any:
        """The device on which data and model are opened in this process, given the one that the work is for."""
        ...

    def start(self, device: Any, threads: int, planned: Hardware | None) -> AbstractContextManager[Fleet]:
        """Workers, which end with the context.

        Args:
            device: "auto" or a torch device.
            threads: of each; 0 if that follows from the hardware.
            planned: what the run to continue was begun on.
        """
        ...


def executor_for(executor: str | Executor, device: Any = "auto") -> Executor:
    """The executor of a name; "auto" is Ray if this program initialised it or RAY_ADDRESS is set, else this process.

    Args:
        executor: a name, or an executor.
        device: that the work is for.

    Raises:
        OptionError: an unknown name.
    """
    if not isinstance(executor, str):
        return executor
    if executor not in EXECUTORS:
        raise OptionError(f"executor: {unknown_name('name', executor, EXECUTORS)}")
    if executor == "ray" or (executor == "auto" and _ray_is_there()):
        return RayExecutor()
    if executor == "auto":
        _say_idle(str(device))
    return LocalExecutor()


def complete_run(
    fleet: Fleet, out: Path, plan: Plan, missing: Callable[[RunFolder], Iterable[Unit]], make_worker: MakeWorker
) -> RunFolder:
    """Begin a run, or continue it: do the units whose products are not there yet.

    Args:
        fleet: does them.
        out: its folder.
        plan: what determines it.
        missing: the units that are not done.
        make_worker: makes those that do them.

    Raises:
        OptionError: the folder holds another run.
        DataError: it exists and is something else.
    """
    folder = RunFolder.open(out, plan)
    sink = Sink(folder)
    units = list(missing(folder))
    fleet.run(plan, units, make_worker, sink)
    if units or not folder.layout.log.exists():
        sink.log_host()
    return folder


def _ray_is_there() -> bool:
    """Whether this program drives a Ray: in a task or an actor, more workers would wait for what their caller holds."""
    ray = sys.modules.get("ray")
    if ray is None or not ray.is_initialized():
        return "RAY_ADDRESS" in os.environ
    return not ray.util.client.ray.is_connected() and ray.get_runtime_context().worker.mode == ray.SCRIPT_MODE


def _say_idle(device: str) -> None:
    import torch

    idle = torch.cuda.device_count() - 1
    if device != "cpu" and idle > 0:
        are = "more GPU is" if idle == 1 else "more GPUs are"
        _log.info("%d %s idle: executor='ray' (--executor ray) uses all GPUs", idle, are)
