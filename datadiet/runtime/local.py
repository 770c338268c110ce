"""The in-process executor: one unit after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from datadiet.errors import OptionError
from datadiet.progress import progress_bar
from datadiet.runtime.folder import Sink
from datadiet.runtime.plan import Plan
from datadiet.runtime.units import Unit, Worker, in_order

__all__ = ["run_units"]


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
                worker.run(unit, sink.write)
                bar.update(unit.hi - unit.lo)
    finally:
        worker.close()
