"""The worker of a grid: it trains one cell after another, in the process it was built in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from datadiet.errors import DataError
from datadiet.runtime import Layout, Plan, RunFolder, Sink
from datadiet.runtime.units import Emit, Product, Unit
from datadiet.workflow.fitting.axes import Values
from datadiet.workflow.fitting.train import run_training
from datadiet.workflow.fitting.training_job import TrainingJob
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import Session, open_session

__all__ = ["Cell", "GridJob", "GridWorker", "grid_plan", "grid_worker"]

_WITHIN = Layout(Path())  # paths relative to a grid


@dataclass(frozen=True)
class Cell:
    """One training of a grid.

    Attributes:
        name: of its folder.
        values: along the axes.
        teacher: the name of its teacher; None if the options of all cells decide it.
        job: what to train.
        selection: the file of its selection, relative to the grid; None if `job` says what to train on.
        plan: of its run, once the driver has opened it.
        presented: examples that it goes through.
    """

    name: str
    values: Values
    teacher: str | None
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
class GridJob:
    """What a worker elsewhere is built from.

    Attributes:
        spec: what the session is opened from.
        cells: by name, those that are not done.
    """

    spec: JobSpec
    cells: Mapping[str, Cell]

    def elsewhere(self) -> GridJob:
        """The same for another process, which reads the selections from files."""
        cells = {
            name: replace(cell, job=replace(job, selection=None) if cell.selection else job)
            for name, cell in self.cells.items()
            for job in [cell.job.elsewhere()]
        }
        return GridJob(self.spec.elsewhere(), cells)


class GridWorker:
    """Trains cells.

    Args:
        session: data, model and recipe, the same for all.
        job: the cells.
        path: of the grid.
    """

    def __init__(self, session: Session, job: GridJob, path: Path) -> None:
        self.session, self.job, self.layout = session, job, Layout(path)
        self.plan = grid_plan(session)

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
    """Passes what a cell writes on as products of the grid."""

    def __init__(self, folder: RunFolder, grid: Layout, emit: Emit) -> None:
        super().__init__(folder)
        self.grid, self.emit = grid, emit

    def write(self, product: Product) -> None:
        """Emit it."""
        path = self.grid.relative(self.folder.path / product.path)
        self.emit(Product(path, product.content))

    def update(self, path: Path, values: dict[str, Any]) -> None:
        """Emit them."""
        self.emit(Product(self.grid.relative(path), values))


def grid_plan(session: Session) -> Plan:
    """What all cells have in common. The axes are not part of it, so that they may grow."""
    return Plan(session.what() | {"verb": "train_grid"})


def grid_worker(job: GridJob, path: Path) -> GridWorker:
    """The worker of a job for a grid in a folder, with data and model opened in this process."""
    return GridWorker(open_session(job.spec), job, path)
