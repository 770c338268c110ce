"""Many trainings in one folder, through any executor: each is a cell, with a run folder of its own."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from datadiet.errors import DataError, counted
from datadiet.runtime import Layout, Plan, RunFolder, Sink, plan_in, planned_hardware
from datadiet.runtime.executors import Executor, complete_run
from datadiet.runtime.units import Emit, MakeWorker, Product, Unit
from datadiet.workflow.fitting.train import finished_epoch, run_training, train
from datadiet.workflow.fitting.training_job import TrainingJob
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import Session, open_session

__all__ = ["TRAINING_OPTIONS", "Cell", "CellsJob", "train_cells"]

_log = logging.getLogger("datadiet")

TRAINING_OPTIONS: dict[str, Any] = {
    name: option.default
    for name, option in inspect.signature(train).parameters.items()
    if name not in ("dataset", "model", "out", "log")
}
"""The options of `train` that a cell may have, with their defaults."""

_WITHIN = Layout(Path())  # paths relative to the folder of all cells


@dataclass(frozen=True)
class Cell:
    """One training of several.

    Attributes:
        name: of its folder.
        job: what to train.
        selection: the file of its selection, relative to that folder; None if `job` says what to train on.
        plan: of its run, once the driver has opened it.
        presented: examples that it goes through.
    """

    name: str
    job: TrainingJob
    selection: str | None = None
    plan: Plan = field(default_factory=lambda: Plan({}))
    presented: int = 0

    def unit(self) -> Unit:
        """Its unit of work."""
        state = _WITHIN.relative(Layout(_WITHIN.cells / self.name).state(self.job.seed))
        reads = (state,) if self.selection is None else (state, self.selection)
        return Unit("train", (self.name,), reads=reads, presented=self.presented)


@dataclass(frozen=True)
class CellsJob:
    """What a worker elsewhere is built from.

    Attributes:
        verb: what the cells are for.
        spec: what the session is opened from.
        cells: by name, those that are not done.
    """

    verb: str
    spec: JobSpec
    cells: Mapping[str, Cell]

    def plan(self, session: Session) -> Plan:
        """What all cells have in common. Which cells there are is not part of it, so that more may follow."""
        return Plan(session.what() | {"verb": self.verb})

    def elsewhere(self) -> CellsJob:
        """The same for another process, which reads the selections from files."""
        cells = {
            name: replace(cell, job=replace(job, selection=None) if cell.selection else job)
            for name, cell in self.cells.items()
            for job in [cell.job.elsewhere()]
        }
        return replace(self, spec=self.spec.elsewhere(), cells=cells)


def train_cells(
    verb: str, cells: Sequence[Cell], spec: JobSpec, session: Session, executor: Executor, out: Path
) -> RunFolder:
    """Train the cells that are not done, through an executor.

    Args:
        verb: what they are for, in the manifest of the folder.
        cells: with different names.
        spec: what `session` was opened from.
        session: data, model and recipe, the same for all.
        executor: what does the work; a cell is a unit.
        out: the folder of all cells, which is made or continued.

    Raises:
        OptionError: a cell that does not fit, before any is trained; or a folder that holds something else.
        DataError: a training that diverged.
    """
    with executor.start(spec.device, session.threads, planned_hardware(out, spec.device)) as fleet:
        session = session.worked_by(fleet.hardware)
        spec = replace(spec, recipe=session.recipe, threads=session.recipe.threads)
        planned = list(_planned(cells, session, Layout(out).cells))
        job = CellsJob(verb, spec, {cell.name: cell for cell in planned})
        make_worker = MakeWorker(partial(_CellWorker, session, job), partial(_cell_worker, job.elsewhere()))
        missing = partial(_missing, planned, session.recipe.batch_size)
        return complete_run(fleet, out, job.plan(session), missing, make_worker)


def _planned(cells: Sequence[Cell], session: Session, folder: Path) -> Iterator[Cell]:
    """The cells with their plans, which refuses what does not fit before any is trained."""
    for cell in cells:
        with cell.job.opened(session, plan_in(folder / cell.name)) as training:
            steps = training.trainer.clock.total
            yield replace(cell, plan=training.plan, presented=steps * session.recipe.batch_size)


def _missing(cells: Sequence[Cell], batch_size: int, folder: RunFolder) -> list[Unit]:
    """The cells that are not done, with what they need in the folder; says how many there are."""
    opened = [(cell, RunFolder.open(folder.layout.cells / cell.name, cell.plan)) for cell in cells]
    pending = [(cell, run) for cell, run in opened if finished_epoch(run) is None]
    sink = Sink(folder)
    for cell, run in pending:
        sink.begin()
        Sink(run).begin()
        if cell.selection is not None:
            sink.write(Product(cell.selection, cell.job.selection))
    _log.info(
        "%s, %d of them done: %d steps to take", counted(len(cells), "training"), len(cells) - len(pending),
        sum(cell.presented for cell, _ in pending) // batch_size,
    )  # fmt: skip
    return [cell.unit() for cell, _ in pending]


class _CellWorker:
    """Trains cells.

    Args:
        session: data, model and recipe, the same for all.
        job: the cells.
        path: of their folder.
    """

    def __init__(self, session: Session, job: CellsJob, path: Path) -> None:
        self.session, self.job, self.layout = session, job, Layout(path)
        self.plan = job.plan(session)

    def run(self, unit: Unit, emit: Emit) -> None:
        """Train one cell."""
        cell = self.job.cells[str(unit.key[0])]
        job = cell.job if cell.selection is None else replace(cell.job, selection=self.layout.path / cell.selection)
        with job.opened(self.session, cell.plan.what) as training:
            if training.plan.hash != cell.plan.hash:
                raise DataError(
                    f"the cell {cell.name} is another training on this machine "
                    f"({cell.plan.difference(training.plan.what)}): give teachers and weights that all machines see."
                )
            folder = RunFolder(self.layout.cells / cell.name, training.plan)
            run_training(training, _CellSink(folder, self.layout, emit))

    def close(self) -> None:
        """Nothing stays open between cells."""


class _CellSink(Sink):
    """Passes what a cell writes on as products of the folder of all."""

    def __init__(self, folder: RunFolder, whole: Layout, emit: Emit) -> None:
        super().__init__(folder)
        self.whole, self.emit = whole, emit

    def write(self, product: Product) -> None:
        """Emit it."""
        path = self.whole.relative(self.folder.path / product.path)
        self.emit(Product(path, product.content))

    def update(self, path: Path, values: dict[str, Any]) -> None:
        """Emit them."""
        self.emit(Product(self.whole.relative(path), values))


def _cell_worker(job: CellsJob, path: Path) -> _CellWorker:
    """The worker of a job in a folder, with data and model opened in this process."""
    return _CellWorker(open_session(job.spec), job, path)
