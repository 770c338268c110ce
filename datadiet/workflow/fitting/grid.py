"""train_grid: one training per combination of kept share, sparsity, teacher and seed, at equal steps."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from datadiet.errors import OptionError, each_note_once, unknown_name
from datadiet.parameters import check_arguments
from datadiet.runtime import Layout, RunFolder, Sink, planned_threads
from datadiet.runtime.executors import Executor, executor_for
from datadiet.runtime.process import refuse_group
from datadiet.runtime.records import read_record
from datadiet.runtime.units import Product
from datadiet.selectors.budget import parse_keep
from datadiet.table import Scores, Selection
from datadiet.training.state import weights_digest
from datadiet.workflow.fitting.axes import Axes, Values, teacher_name
from datadiet.workflow.fitting.cells import TRAINING_OPTIONS, Cell, train_cells
from datadiet.workflow.fitting.grid_table import CellResult, Grid
from datadiet.workflow.fitting.train import train
from datadiet.workflow.fitting.training_job import TrainingJob
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.selecting.select import select as choose
from datadiet.workflow.session import Session, open_session

__all__ = ["train_grid"]

_log = logging.getLogger("datadiet")

_Setting = tuple[Values, str | None]  # what a cell has of each axis, and the name of its teacher

_WITHIN = Layout(Path())  # paths relative to a grid


def train_grid(
    dataset: Any,
    model: str | Callable[[], nn.Module],
    axes: Mapping[str, Sequence[Any]],
    *,
    select: Mapping[str, Any] | None = None,
    executor: str | Executor = "auto",
    out: str | Path,
    **options: Any,
) -> Grid:
    """Train one network for each combination of values along some axes, all with as many steps.

    Each cell is what `train` gives with these options, and an ordinary run in `out/cells`. The same call continues, and
    other values along the axes use the cells that are there.

    Args:
        dataset, model: as in `train`.
        axes: axis -> values: "keep" (shares such as "10%", or counts; "100%" = everything), "sparsity" (0 = dense),
            "teacher" (None or "none", runs, checkpoints, networks), "seed" (of the choice of examples too).
        select: how the examples of a kept share are chosen: arguments of `select`, such as {"scores": "runs/digits",
            "method": "ccs"}; None = at random.
        executor: as in `score`; a cell is a unit of work.
        out: the folder of the grid.
        **options: of `train`, the same for all cells; but `epochs` always means the steps of that many passes over all
            the data, and `sparsify` names the method without a sparsity if that is an axis ("global_magnitude").

    Returns:
        The table, also in `out/grid.json`; the figure is `out/grid.svg`.

    Raises:
        OptionError: axes or options that cannot be, before any work; or a folder that holds something else.
        DataError: as in `train`.
    """
    for name in options:
        if name not in TRAINING_OPTIONS:
            raise unknown_name("option of a grid", name, TRAINING_OPTIONS)
    checked = ("epochs", "steps", "match", "strip_prefix", "objective")
    check_arguments(train, {name: options[name] for name in checked if name in options})
    if not isinstance(options.get("sampler"), str | None):
        raise OptionError("sampler= is an object, and each cell needs its own: name it, as in sampler='rs2:keep=10%'.")
    given, all_options = Axes(axes, options), {**TRAINING_OPTIONS, **options}
    equal = {} if all_options["epochs"] is None else {"match": "full-steps"}
    jobs = [TrainingJob.of({**all_options, **given.options_of(values), **equal}) for values in given.values()]
    if select is not None and "keep" not in axes:
        raise OptionError("select= (--scores, --method) chooses the examples of a kept share: give the axis keep.")
    refuse_group("train_grid", True, True)
    device, recipe, held_out = (all_options[name] for name in ("device", "recipe", "eval"))
    spec = JobSpec(
        dataset, model, held_out, None, jobs[0].files, None, recipe, device, planned_threads(out),
        all_options["strip_prefix"])  # fmt: skip
    done_by = executor_for(executor, device)
    with each_note_once():
        session = open_session(replace(spec, device=done_by.opens_on(device)))
        if session.held_out is None:
            raise OptionError("a grid compares held-out accuracies: name held-out data (--eval DATA, or eval='10%').")
        cells, settings = _cells(given, jobs, session, select)
        folder = train_cells("train_grid", cells, spec, session, done_by, Path(out))
        return _written(settings, folder, len(session.source))


def _cells(
    axes: Axes, jobs: Sequence[TrainingJob], session: Session, select: Mapping[str, Any] | None
) -> tuple[list[Cell], dict[str, _Setting]]:
    """The cells, each with its selection; and name -> what a cell has of each axis."""
    n, chosen = len(session.source), dict[tuple[int, int], Selection]()
    found, settings = list[Cell](), dict[str, _Setting]()
    for values, job in zip(axes.values(), jobs, strict=True):
        fixed = values.keep is None and (job.selection is not None or job.sampler is not None)
        kept = None if fixed else n if values.keep is None else parse_keep(values.keep, n)
        path = None
        if kept is not None and kept < n:
            if (kept, job.seed) not in chosen:
                chosen[kept, job.seed] = _chosen(session, select, kept, job.seed)
            job = replace(job, selection=chosen[kept, job.seed])
            path = _WITHIN.relative(_WITHIN.selection(f"keep-{kept}-seed-{job.seed}"))
        teacher = _teacher(axes, job)
        parts = {"keep": kept, "sparsity": values.sparsity, "teacher": teacher, "seed": job.seed}
        name = "-".join(f"{axis}-{str(value).removesuffix('.0')}" for axis, value in parts.items() if value is not None)
        if name in settings:
            raise OptionError(
                f"the axis keep holds {kept} of {n} examples twice ({values.keep}): give each value once."
            )
        settings[name] = (values, teacher)
        found.append(Cell(name, job, path))
    return found, settings


def _chosen(session: Session, select: Mapping[str, Any] | None, kept: int, seed: int) -> Selection:
    """The selection of so many examples."""
    given = dict(select or {})
    fixed = next((name for name in ("keep", "seed") if name in given), None)
    if fixed is not None:
        raise OptionError(f"select={{{fixed!r}: …}}: {fixed} is an axis of the grid: leave it out.")
    source, scores = session.source, given.pop("scores", None)
    if scores is None:
        given.setdefault("method", "random")
        meta = {"data": source.identity(), "columns": {}, "class_names": list(source.class_names)}
        scores = Scores(np.asarray(source.index), {}, source.ids, source.labels, meta)
    return choose(scores, keep=kept, seed=seed, **given)


def _teacher(axes: Axes, job: TrainingJob) -> str | None:
    """The name of the teacher of a cell; None if the options of all cells name it."""
    teacher = job.teaching.teacher
    if "teacher" not in axes.given and teacher is not None:
        return None
    return teacher_name(teacher, weights_digest(teacher) if isinstance(teacher, nn.Module) else "")


def _written(cells: Mapping[str, _Setting], folder: RunFolder, n: int) -> Grid:
    """The table and the figure of the finished cells."""
    layout, sink = folder.layout, Sink(folder)
    grid = Grid([_result(layout, name, *setting) for name, setting in cells.items()], n)
    sink.write(Product(layout.relative(layout.grid_figure), str(grid.figure())))
    sink.write(Product(layout.relative(layout.grid), json.dumps(grid.as_dict(), indent=2) + "\n"))
    return grid


def _result(layout: Layout, name: str, values: Values, teacher: str | None) -> CellResult:
    run = Layout(layout.cells / name)
    log = read_record(run.log)
    worst = min(recall for recall in log["class_recall"] if recall is not None)
    return CellResult(
        name, log["kept"], values.sparsity, teacher, values.seed, log["accuracy"], worst, log["steps"], log["seconds"]
    )
