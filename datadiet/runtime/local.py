"""The in-process executor: one unit after another."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from datadiet.errors import OptionError
from datadiet.progress import progress_bar
from datadiet.runtime.folder import Sink
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.plan import Plan
from datadiet.runtime.units import MakeWorker, Unit, in_order

__all__ = ["LocalExecutor", "LocalFleet"]

_log = logging.getLogger("datadiet")


class LocalExecutor:
    """Does everything in this process, on one device."""

    def opens_on(self, device: Any) -> Any:
        """The device itself: what is opened here does the work."""
        return device

    @contextmanager
    def start(self, device: Any, threads: int, planned: Hardware | None) -> Iterator[LocalFleet]:
        """This process."""
        hardware = Hardware.here(device)
        _log.info("working on %s", hardware)
        yield LocalFleet(hardware)


class LocalFleet:
    """This process as the only worker."""

    def __init__(self, hardware: Hardware) -> None:
        self.hardware = hardware

    def run(self, plan: Plan, units: Iterable[Unit], make_worker: MakeWorker, sink: Sink) -> None:
        """Do the units, in an order in which each finds the files it reads.

        Args:
            plan: of the run.
            units: those that are not done.
            make_worker: called once, and only if there is something to do.
            sink: writes their products.

        Raises:
            OptionError: the worker's plan differs.
        """
        todo = in_order(units)
        if not todo:
            return
        worker = make_worker.here(sink.folder.path)
        if worker.plan.hash != plan.hash:
            raise OptionError(
                f"the worker does not match the run ({plan.difference(worker.plan.what)}): start it with the same "
                "data, model, recipe and versions."
            )
        try:
            with progress_bar("", sum(unit.examples for unit in todo), unit="ex") as bar:
                for unit in todo:
                    bar.set_description(f"{unit.kind} {' '.join(map(str, unit.key))}")
                    begun = time.monotonic()
                    worker.run(unit, sink.write)
                    _log.debug("did %s in %.2f s", unit.name, time.monotonic() - begun)
                    bar.update(unit.examples)
        finally:
            worker.close()
