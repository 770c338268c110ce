"""compare: how much of the data, and which, does a network need? Methods beside full data and random choice.

Each paired seed scores and selects anew. The training that records the signals of a seed is its full-data run, too.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from torch import nn

from datadiet.data import open_data
from datadiet.errors import OptionError, counted, each_note_once
from datadiet.files import write_json
from datadiet.files.tables import parquet_table
from datadiet.parameters import check_arguments, check_whole
from datadiet.runtime import Layout, RunFolder, planned_threads
from datadiet.runtime.executors import Executor, executor_for
from datadiet.runtime.process import refuse_group
from datadiet.runtime.records import read_record
from datadiet.selectors.budget import parse_keep
from datadiet.table import Scores, Selection
from datadiet.training import Recipe
from datadiet.workflow.comparing.arms import BUDGETS, Arm, affordable, arms_of
from datadiet.workflow.comparing.certificate import Examined, certified, power_note
from datadiet.workflow.comparing.compared import METRICS, Compared, Costs, Metric
from datadiet.workflow.comparing.seed_scores import SeedScores
from datadiet.workflow.fitting.cells import TRAINING_OPTIONS, Cell, train_cells
from datadiet.workflow.fitting.training_job import TrainingJob
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring.requests import check_compared
from datadiet.workflow.scoring.score import score
from datadiet.workflow.selecting.choice import Choice, read_choices
from datadiet.workflow.session import Session, open_session

__all__ = ["compare"]

_log = logging.getLogger("datadiet")

_ALPHA = 0.05
_WITHIN = Layout(Path())  # paths relative to the folder of all trainings


def compare(
    dataset: Any,
    model: str | Callable[[], nn.Module],
    methods: str | Sequence[str | Choice] | Mapping[str, Choice],
    *,
    keep: Sequence[int | float | str] | int | float | str = ("10%", "30%", "50%"),
    epochs: int = 10,
    margin: float = 2.0,
    metric: Metric = "accuracy",
    budget: str = "equal",
    seeds: int = 5,
    seed: int = 0,
    max_hours: float | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    eval: Any = None,
    device: str = "auto",
    executor: str | Executor = "auto",
    out: str | Path | None = None,
) -> Compared:
    """Compare ways to choose examples with all of them, and with random choice.

    Args:
        dataset, model: as in `score`.
        methods: ways to choose, as SCORE+METHOD:PARAMETER=VALUE, such as "ccs" or "el2n+top_k:prefer=hardest": a list,
            or text with commas. Random choice is always there.
        keep: the shares or numbers of examples.
        epochs: of a training on all the data, which is also the one that is scored by.
        margin: the loss that would be acceptable: percentage points, or nats for "loss".
        metric: "accuracy", "worst_class" (the recall of every class) or "loss".
        budget: "equal" (all trainings take the steps of the full data), "reduced" (those that their examples need), or
            "both".
        seeds: paired trainings of each arm; at least 2.
        seed: the first of them.
        max_hours: of the trainings after those on all the data, summed over all workers. If they would take longer, the
            last seeds are left out, down to two, and then the smallest shares; the tables say so. None = no limit.
        recipe: a Recipe, or some of its fields; the same for all.
        eval: held-out data, or "10%"; digits come with their own.
        device, executor: as in `score`.
        out: the folder of all runs; the same call continues an interrupted one.

    Returns:
        The tables, also in `out/comparison.json`.

    Raises:
        OptionError: options that cannot be, before any work.
        DataError: as in `score` and `train`.
    """
    check_arguments(compare, {"epochs": epochs, "metric": metric, "out": out})
    named = read_choices(methods)
    for choice in named.values():
        check_compared(choice.requests(), None, None, None)
    for name, value, least in (("seeds", seeds, 2), ("seed", seed, 0), ("epochs", epochs, 1)):
        check_whole(name, value, least)
    if not 0 < margin < float("inf"):
        raise OptionError(f"margin={margin}: give the loss that would be acceptable, above 0 (--margin 2).")
    if budget not in (*BUDGETS, "both") or metric not in METRICS:
        raise OptionError(f"budget={budget!r}, metric={metric!r}: choose {', '.join(BUDGETS)} or both, and {METRICS}.")
    if max_hours is not None and not max_hours > 0:
        raise OptionError(f"max_hours={max_hours} (--max-hours): give a positive number of hours, or leave it out.")
    refuse_group("compare", True, True)
    with TemporaryDirectory() as temporary, each_note_once():
        source, folder = open_data(dataset), Path(out or temporary)
        threads = planned_threads(Layout(folder).trainings)
        spec = JobSpec(source, model, eval, recipe=recipe, device=device, threads=threads)
        done_by = executor_for(executor, device)
        session = open_session(replace(spec, device=done_by.opens_on(device)))
        if session.held_out is None:
            raise OptionError("a comparison needs held-out data: name some, eval= (--eval DATA or --eval 10%).")
        job = _Comparison(spec, session, named, folder, epochs, range(seed, seed + seeds), margin, metric, max_hours)
        return job.run(_kept(keep, len(source)), BUDGETS if budget == "both" else (budget,), done_by)


@dataclass(frozen=True)
class _Comparison:
    """What all arms share."""

    spec: JobSpec
    session: Session
    methods: Mapping[str, Choice]
    out: Path
    epochs: int
    seeds: Sequence[int]
    margin: float
    metric: Metric
    max_hours: float | None = None

    @property
    def alpha(self) -> float:
        """Of the tests of one method."""
        return _ALPHA / len(self.methods)

    def run(self, kept: Sequence[int], budgets: Sequence[str], executor: Executor) -> Compared:
        """Score, choose, train and certify."""
        batch = self.session.recipe.batch_size
        arms = arms_of(self.methods, kept, budgets, self.epochs, batch)
        self._say(arms)
        scored = self._scored(executor)
        full = self._full(scored)
        arms, seeds, left_out = affordable(arms, self.seeds, batch, full.steps, full.costs.training, self.max_hours)
        return replace(self, seeds=seeds)._compared(arms, scored, executor, left_out)

    def _compared(self, arms: Sequence[Arm], scored: Path, executor: Executor, left_out: Sequence[str]) -> Compared:
        """Choose, train and certify with these seeds."""
        n, full, held = len(self.session.source), self._full(scored), self.session.held_out
        assert held is not None, "refused earlier"
        labels = np.asarray(held.source.labels)
        notes = *left_out, *power_note(full, labels, self.metric, self.margin, self.alpha)
        cells, choosing = self._cells(arms, scored)
        layout = Layout(self.out)
        folder = train_cells("compare", cells, self.spec, self.session, executor, layout.trainings)
        found = {(arm.name, arm.budget, arm.kept): self._examined(arm, folder, scored, choosing) for arm in arms}
        rows = certified(full, found, labels, self.metric, self.margin, self.alpha, self.methods)
        result = Compared(
            rows, n, len(held), self.metric, self.margin, _ALPHA, len(self.methods), tuple(self.seeds), notes
        )
        about = {"model": self.session.model.spec, "data": self.session.source.identity(), "epochs": self.epochs}
        write_json(layout.comparison, about | result.as_dict())
        return result

    def _say(self, arms: Sequence[Arm]) -> None:
        """The whole cost, before any of it is spent."""
        steps = self.epochs * -(-len(self.session.source) // self.session.recipe.batch_size)
        each = [arm.steps(self.session.recipe.batch_size, steps) for arm in arms]
        _log.info(
            "%s of %d seeds, and %s of all the data: %d steps in all",
            counted(len(arms), "arm"), len(self.seeds), counted(len(self.seeds), "training"),
            len(self.seeds) * (steps + sum(each)),
        )  # fmt: skip

    def _scored(self, executor: Executor) -> Path:
        """The run that recorded and scored all seeds; each of its trainings is one on all the data."""
        scorers = list(dict.fromkeys(name for choice in self.methods.values() for name in choice.scorers))
        run, spec = Layout(self.out).scored, self.spec
        score(
            spec.dataset, spec.model, scorers or "loss", epochs=self.epochs, seeds=len(self.seeds), seed=self.seeds[0],
            eval=spec.eval, recipe=spec.recipe, device=str(spec.device), executor=executor, out=run,
        )  # fmt: skip
        return run

    def _full(self, scored: Path) -> Examined:
        """The networks that were trained on all the data."""
        layout = Layout(scored)
        log = read_record(layout.log)
        entries = [log[f"train seed {seed}"] for seed in self.seeds]
        costs = Costs(training=_mean(entries, "seconds"), evaluation=_mean(entries, "evaluation_seconds"))
        steps = self.epochs * -(-len(self.session.source) // self.session.recipe.batch_size)
        correct, losses = _said([layout.evaluation(seed) for seed in self.seeds])
        return Examined(correct, losses, len(self.session.source), steps, costs)

    def _cells(self, arms: Sequence[Arm], scored: Path) -> tuple[list[Cell], dict[tuple[str, int], float]]:
        """The trainings, seed by seed; and (method, kept) -> mean seconds of choosing."""
        cells, seconds = list[Cell](), dict[tuple[str, int], list[float]]()
        for seed in self.seeds:
            chosen: dict[tuple[str, int], Selection] = {}
            tables: dict[str, Scores] = {}
            for arm in arms:
                given, path = {**TRAINING_OPTIONS, **arm.training, "seed": seed}, None
                if arm.choice is not None:
                    key = (arm.name, arm.kept)
                    if key not in chosen:
                        began, own = time.perf_counter(), SeedScores(scored, seed)
                        if arm.name not in tables:
                            tables[arm.name] = own.table(arm.choice.columns_read)
                        chosen[key] = arm.choice.select(
                            tables[arm.name], arm.kept, self.session.source, seed, own.vectors()
                        )
                        seconds.setdefault(key, []).append(time.perf_counter() - began)
                    given["selection"] = chosen[key]
                    path = _WITHIN.relative(_WITHIN.selection(arm.selected(seed)))
                cells.append(Cell(arm.cell(seed), TrainingJob.of(given), path))
        return cells, {key: float(np.mean(times)) for key, times in seconds.items()}

    def _examined(
        self, arm: Arm, folder: RunFolder, scored: Path, choosing: Mapping[tuple[str, int], float]
    ) -> Examined:
        """The networks of an arm."""
        runs = [Layout(folder.layout.cells / arm.cell(seed)) for seed in self.seeds]
        logs = [read_record(run.log) for run in runs]
        scorers = [] if arm.choice is None else arm.choice.scorers
        costs = Costs(
            float(np.mean([SeedScores(scored, seed).seconds(scorers) for seed in self.seeds])),
            choosing.get((arm.name, arm.kept), 0.0),
            _mean(logs, "seconds"),
            _mean(logs, "evaluation_seconds"),
        )
        correct, losses = _said([run.evaluation(seed) for run, seed in zip(runs, self.seeds, strict=True)])
        return Examined(correct, losses, arm.kept, int(logs[0]["steps"]), costs)


def _kept(given: Sequence[int | float | str] | int | float | str, n: int) -> list[int]:
    """Numbers of examples, each less than all."""
    listed = [given] if isinstance(given, (int, float)) else given.split(",") if isinstance(given, str) else list(given)
    kept = [parse_keep(one, n) for one in listed]
    if not kept or len(set(kept)) < len(kept) or max(kept) >= n:
        raise OptionError(
            f"keep={listed} (--keep) of {n} examples: give shares below 100 %, each once, such as 10%,30%,50%."
        )
    return kept


def _said(files: Sequence[Path]) -> tuple[np.ndarray, np.ndarray]:
    """(seeds, examples): whether each network is right, and its losses."""
    tables = [parquet_table(path, ["correct", "loss"]) for path in files]
    correct, losses = (np.stack([table[name].to_numpy() for table in tables]) for name in ("correct", "loss"))
    return correct, losses


def _mean(entries: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([entry.get(name, 0.0) for entry in entries]))
