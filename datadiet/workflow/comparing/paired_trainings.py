"""The networks of a comparison: scored, chosen for, trained and evaluated, one of each arm for each seed.

Each seed scores and selects anew. The training that records the signals of a seed is its full-data run, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.files.tables import parquet_table
from datadiet.runtime import Layout
from datadiet.runtime.executors import Executor
from datadiet.runtime.records import read_record
from datadiet.table import Scores, Selection
from datadiet.workflow.comparing.arms import Arm
from datadiet.workflow.comparing.certificate import Examined
from datadiet.workflow.comparing.compared import Costs
from datadiet.workflow.comparing.screening import Effort
from datadiet.workflow.comparing.seed_scores import SeedScores
from datadiet.workflow.comparing.stopwatch import Stopwatch, TimedExecutor, nothing
from datadiet.workflow.fitting.cells import TRAINING_OPTIONS, Cell, train_cells
from datadiet.workflow.fitting.training_job import TrainingJob
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring.recording import RecordingJob
from datadiet.workflow.scoring.requests import make_requests
from datadiet.workflow.scoring.scoring_run import ScoringRun
from datadiet.workflow.selecting.choice import Choice
from datadiet.workflow.session import Session

__all__ = ["PairedTrainings"]

_WITHIN = Layout(Path())  # paths relative to the folder of all trainings


@dataclass(frozen=True)
class PairedTrainings:
    """Trainings of some methods with some seeds.

    Attributes:
        spec: what the session was opened from.
        session: data, model and recipe.
        executor: does the work.
        watch: what the rest is timed with.
        out: the folder of the runs.
        epochs: of a training on all the data.
        seeds: the paired ones.
        rows: (examples,) those of the evaluation data that count.
        recorded: a finished run of `score` with these seeds; None = one is made in `out`.
    """

    spec: JobSpec
    session: Session
    executor: Executor
    watch: Stopwatch
    out: Path
    epochs: int
    seeds: Sequence[int]
    rows: np.ndarray
    recorded: Path | None = None

    @property
    def steps(self) -> int:
        """Of a training on all the data."""
        return self.epochs * -(-len(self.session.source) // self.session.recipe.batch_size)

    @property
    def recording(self) -> RecordingJob:
        """What the run of the scores is asked for."""
        return RecordingJob(self.spec, self.epochs, tuple(self.seeds))

    @cached_property
    def labels(self) -> np.ndarray:
        """(examples,) of the evaluation data that counts."""
        held = self.session.held_out
        assert held is not None, "refused earlier"
        return np.asarray(held.source.labels)[self.rows]

    @property
    def scored(self) -> Path:
        """The run that holds the signals of all seeds."""
        return self.recorded or Layout(self.out).scored

    def score(self, methods: Mapping[str, Choice], noted: Callable[[], object] = nothing) -> None:
        """Record and score all seeds; each of the trainings is one on all the data.

        Args:
            methods: name -> choice.
            noted: called after each entry of the run's log, such as that of a training.
        """
        if self.recorded is not None:
            return
        scorers = list(dict.fromkeys(name for choice in methods.values() for name in choice.scorers))
        with self.watch.timing("scoring"):
            run = ScoringRun(self.session, make_requests(scorers or "loss"), self.recording)
            run.score(self.scored, TimedExecutor(self.executor, self.watch, noted))

    def full(self) -> Examined:
        """The networks that were trained on all the data."""
        layout = Layout(self.scored)
        log = read_record(layout.log)
        entries = [log[f"train seed {seed}"] for seed in self.seeds]
        costs = Costs(training=_mean(entries, "seconds"), evaluation=_mean(entries, "evaluation_seconds"))
        return self._examined(
            [layout.evaluation(seed) for seed in self.seeds], len(self.session.source), self.steps, costs
        )

    def train(self, arms: Sequence[Arm]) -> dict[tuple[str, str, int], Examined]:
        """Choose for some arms, and train and evaluate them: (name, budget, kept) -> their networks."""
        with self.watch.timing("planning"):
            cells, choosing = self._cells(arms)
            executor, out = TimedExecutor(self.executor, self.watch), Layout(self.out).trainings
            train_cells("compare", cells, self.spec, self.session, executor, out)
        return {(arm.name, arm.budget, arm.kept): self._of(arm, choosing) for arm in arms}

    def full_seconds(self) -> list[float]:
        """Of each training on all the data that is done."""
        log = read_record(Layout(self.scored).log)
        entries = [log.get(f"train seed {seed}") for seed in self.seeds]
        return [float(entry["seconds"]) for entry in entries if entry is not None]

    def left(self, arms: Sequence[Arm]) -> tuple[Effort, Effort]:
        """The trainings that are not done: those on all the data, and those of some arms."""
        full, batch = len(self.seeds) - len(self.full_seconds()), self.session.recipe.batch_size
        steps = [
            arm.steps(batch, self.steps)
            for arm in arms
            for seed in self.seeds
            if not self._run(arm, seed).evaluation(seed).exists()
        ]
        return Effort(full, full * self.steps), Effort(len(steps), sum(steps))

    def effort(self, arms: Sequence[Arm]) -> Effort:
        """The trainings of some arms, and those on all the data unless they are there."""
        batch = self.session.recipe.batch_size
        steps = [arm.steps(batch, self.steps) for arm in arms] + [self.steps] * (self.recorded is None)
        return Effort(len(self.seeds) * len(steps), len(self.seeds) * sum(steps))

    def spent(self, arms: Sequence[Arm]) -> dict[str, float]:
        """Seconds that the logs of the runs count, of all seeds together, whenever they were trained."""
        logs = [read_record(self._run(arm, seed).log) for arm in arms for seed in self.seeds]
        passes = 0.0
        if self.recorded is None:
            log = read_record(Layout(self.scored).log)
            logs += [log[f"train seed {seed}"] for seed in self.seeds]
            passes = sum(SeedScores(self.scored, seed).passes() for seed in self.seeds)
        found = {name: sum(float(log.get(entry, 0.0)) for log in logs) for name, entry in _ENTRIES.items()}
        return {**found, "scoring": passes}

    def _run(self, arm: Arm, seed: int) -> Layout:
        return Layout(Layout(Layout(self.out).trainings).cells / arm.cell(seed))

    def _cells(self, arms: Sequence[Arm]) -> tuple[list[Cell], dict[tuple[str, int], float]]:
        """The trainings, seed by seed; and (method, kept) -> mean seconds of choosing."""
        cells, seconds = list[Cell](), dict[tuple[str, int], list[float]]()
        for seed in self.seeds:
            chosen: dict[tuple[str, int], Selection] = {}
            tables: dict[str, Scores] = {}
            own = SeedScores(self.scored, seed)
            for arm in arms:
                given, path = {**TRAINING_OPTIONS, **arm.training, "seed": seed}, None
                if arm.choice is not None:
                    key = (arm.name, arm.kept)
                    if key not in chosen:
                        with self.watch.timing("selection"):
                            began = time.perf_counter()
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

    def _of(self, arm: Arm, choosing: Mapping[tuple[str, int], float]) -> Examined:
        """The networks of an arm."""
        runs = [self._run(arm, seed) for seed in self.seeds]
        logs = [read_record(run.log) for run in runs]
        scorers = [] if arm.choice is None else arm.choice.scorers
        costs = Costs(
            float(np.mean([SeedScores(self.scored, seed).seconds(scorers) for seed in self.seeds])),
            choosing.get((arm.name, arm.kept), 0.0),
            _mean(logs, "seconds"),
            _mean(logs, "evaluation_seconds"),
        )
        files = [run.evaluation(seed) for run, seed in zip(runs, self.seeds, strict=True)]
        return self._examined(files, arm.kept, int(logs[0]["steps"]), costs)

    def _examined(self, files: Sequence[Path], kept: int, steps: int, costs: Costs) -> Examined:
        """What networks say of the examples that count."""
        tables = [parquet_table(path, ["correct", "loss"]) for path in files]
        correct, losses = (
            np.stack([table[name].to_numpy()[self.rows] for table in tables]) for name in ("correct", "loss")
        )
        return Examined(correct, losses, kept, steps, costs)


_ENTRIES = {"training": "seconds", "evaluation": "evaluation_seconds"}  # part -> what the log of a training calls it


def _mean(entries: Sequence[Mapping[str, Any]], name: str) -> float:
    return float(np.mean([entry.get(name, 0.0) for entry in entries]))
