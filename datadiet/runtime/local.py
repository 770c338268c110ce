"""The in-process executor: one unit after another."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from datadiet.errors import OptionError
from datadiet.progress import progress_bar
from datadiet.runtime.folder import RunFolder, Sink
from datadiet.runtime.plan import Plan
from datadiet.runtime.units import Unit, Worker, in_order

__all__ = ["complete_run", "run_units"]

_log = logging.getLogger("datadiet")


def complete_run(
    out: Path, plan: Plan, missing: Callable[[RunFolder], Iterable[Unit]], make_worker: Callable[[], Worker]
) -> RunFolder:
    """Begin a run, or continue it: do the units whose products are not there yet.

    Args:
        out: its folder.
        plan: what determines it.
        missing: the units that are not done.
        make_worker: see `run_units`.

    Raises:
        OptionError: the folder holds another run.
        DataError: it exists and is something else.
    """
    folder = RunFolder.open(out, plan)
    sink = Sink(folder)
    units = list(missing(folder))
    run_units(plan, units, make_worker, sink)
    if units or not folder.layout.log.exists():
        sink.log_host()
    return folder


def run_units(plan: Plan, units: Iterable[Unit], make_worker: Callable[[], Worker], sink: Sink) -> None:
    """Do the units in this process, in an order in which each finds the files it reads.

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
    worker, rows = make_worker(), sum(unit.hi - unit.lo for unit in todo)
    if worker.plan_hash != plan.hash:
        raise OptionError(
            f"the worker has the plan {worker.plan_hash} and the run has {plan.hash}: start it with the same data, "
            "model, recipe and versions."
        )
    try:
        with progress_bar("", rows, unit="ex") as bar:
            for unit in todo:
                bar.set_description(f"{unit.kind} {' '.join(map(str, unit.key))}")
                begun = time.monotonic()
                worker.run(unit, sink.write)
                _log.debug("did %s in %.2f s", unit.name, time.monotonic() - begun)
                bar.update(unit.hi - unit.lo)
    finally:
        worker.close()
