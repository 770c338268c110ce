"""What is recorded for some scorers, and the units of work that it takes.

Units are training runs, what passes prepare on the whole data, and ranges of rows of passes. Each writes files, so the
same command continues after any interruption, and any executor may do the units, in any order that their `after`
allows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from datadiet.files import parquet_identity
from datadiet.runtime import Layout, Plan, RunFolder
from datadiet.runtime.units import Unit, shard_rows, shards
from datadiet.training.state import state_about
from datadiet.workflow.checkpoints import Checkpoint, hashes
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.scoring.needs import Input, Work
from datadiet.workflow.session import Session, open_session

__all__ = ["Recording", "RecordingJob"]

_COLUMNS = 16  # numbers per presentation, an upper bound
_WITHIN = Layout(Path())  # paths relative to a run


@dataclass(frozen=True)
class RecordingJob:
    """What a worker elsewhere rebuilds a recording from.

    Attributes:
        spec: what the session is opened from.
        epochs: of each training run.
        seeds: of the training runs; empty if checkpoints are given.
        given: the checkpoints to evaluate instead: seed, epoch, and file; None = the trained model that was given.
        head: the name of the last layer, if it was given.
        work: what is needed.
        width: numbers of the last layer's input, 0 if there is none.
        seed: of the draws of passes over networks that are not trained.
    """

    spec: JobSpec
    epochs: int
    seeds: tuple[int, ...]
    given: tuple[Checkpoint, ...] = ()
    head: str | None = None
    work: Work = field(default_factory=Work)
    width: int = 0
    seed: int = 0

    def open(self) -> Recording:
        """The recording, with data and model opened in this process."""
        return Recording(open_session(self.spec), self)


@dataclass(frozen=True)
class Recording:
    """What to record, and the units that it takes.

    Attributes:
        session: data, model, recipe.
        job: what it is made from.
    """

    session: Session
    job: RecordingJob

    @cached_property
    def plan(self) -> Plan:
        """Everything that determines the bytes."""
        given = hashes(self.job.given) if self.job.given else None
        return Plan(
            self.session.what()
            | {"verb": "score", "epochs": self.job.epochs, "head": self.job.head, "checkpoints": given}
            | ({"draws": self.job.seed} if self.job.seed else {})
        )

    @cached_property
    def given(self) -> dict[tuple[int, int], Path | None]:
        """(seed, epoch) -> the file of a checkpoint that was given."""
        return {(seed, epoch): path for seed, epoch, path in self.job.given}

    def units(self) -> list[Unit]:
        """All units, done or not."""
        trainings = [self._training(seed) for seed in self.job.seeds]
        runs = sorted({seed for seed, _ in self.given}) or self.job.seeds
        return trainings + [
            unit for seed in runs for step in self.job.work.passes for unit in self._of_pass(step, seed)
        ]

    def _training(self, seed: int) -> Unit:
        state = _WITHIN.relative(_WITHIN.state(seed))
        return Unit("train", (seed,), reads=(state,), presented=self.job.epochs * self.rows)

    def _of_pass(self, step: Input, seed: int) -> Iterator[Unit]:
        key = (step.part, seed, step.epochs[-1])
        after: tuple[str, ...] = ()
        reads: tuple[str, ...] = ()
        if self.job.seeds:
            after = (self._training(seed).name,)
            reads = tuple(_WITHIN.relative(_WITHIN.checkpoint(seed, epoch)) for epoch in step.epochs)
        if step.kind.prepare is not None:
            prepare = Unit("prepare", key, after=after, reads=reads, presented=self.rows)
            yield prepare
            after, reads = (*after, prepare.name), (*reads, _WITHIN.relative(_WITHIN.prepared(*key)))
        for lo, hi in shards(len(self.session.examples(step.of_reference)), self.rows_of(step)):
            yield Unit("measure", key, lo, hi, after, reads)

    def paths_of(self, unit: Unit, layout: Layout) -> list[Path]:
        """The files that a unit of a pass writes, one for each pass."""
        if unit.kind == "prepare":
            return [layout.prepared(*unit.part)]
        _, seed, epoch = unit.part
        steps = self.steps_of(unit)
        return [
            (layout.vectors if step.kind.vectors else layout.columns)(step.part, seed, epoch, unit.lo, unit.hi)
            for step in steps
        ]

    def temporary(self, layout: Layout) -> list[Path]:
        """The files that are not needed once all units are done: saved states, and what passes prepared."""
        prepared = [path for unit in self.units() if unit.kind == "prepare" for path in self.paths_of(unit, layout)]
        return [*map(layout.state, self.job.seeds), *prepared]

    def pending(self, folder: RunFolder) -> list[Unit]:
        """The units that are not done yet in a folder."""
        found = [unit for unit in self.units() if not self._is_done(unit, folder)]
        measured = {unit.key for unit in found if unit.kind == "measure"}
        return self.sharing([unit for unit in found if unit.kind != "prepare" or unit.key in measured])

    def sharing(self, units: Iterable[Unit]) -> list[Unit]:
        """The same work, with one unit for all passes that read a forward pass over the same rows."""
        out: dict[Any, Unit] = {}
        for unit in units:
            share = None if unit.kind != "measure" else self.shared_by(self.steps_of(unit)[0])
            place = unit.name if share is None else (share, unit.key[1], unit.lo, unit.hi)
            first = out.get(place)
            out[place] = unit if first is None else replace(first, key=(f"{first.key[0]}+{unit.key[0]}", *unit.key[1:]))
        return list(out.values())

    def shared_by(self, step: Input) -> Any:
        """What passes that share a forward pass have in common; None for one that needs its own."""
        plain = step.kind.reads is not None and self.views_of(step) == (0,)
        return (step.of_reference, step.epochs) if plain else None

    def stale(self, layout: Layout) -> list[Path]:
        """The saved states that do not go with what is needed now: an earlier call may have needed less."""
        states = [(layout.state(seed), seed) for seed in self.job.seeds]
        return [state for state, seed in states if state.exists() and not self._continues(layout, state, seed)]

    def _continues(self, layout: Layout, state: Path, seed: int) -> bool:
        about = state_about(state)
        if about is None:
            return False
        saved = about["hooks"][0]
        parts = self.parts_of_training(layout, seed)[: saved["epoch"]]
        checkpoints = [layout.checkpoint(seed, epoch) for epoch in self.kept if epoch <= saved["epoch"]]
        return (saved["shift"] or not self.job.work.shift) and all(path.exists() for path in (*parts, *checkpoints))

    def _is_done(self, unit: Unit, folder: RunFolder) -> bool:
        if unit.kind == "train":
            return self._is_trained(int(unit.key[0]), folder)
        return all(map(folder.has, self.paths_of(unit, folder.layout)))

    def _is_trained(self, seed: int, folder: RunFolder) -> bool:
        layout = folder.layout
        parts = self.parts_of_training(layout, seed)
        if not all(layout.checkpoint(seed, epoch).exists() for epoch in self.kept) or not all(map(folder.has, parts)):
            return False
        if f"train seed {seed}" not in folder.read(layout.log):
            return False  # stopped after the last epoch, before its results were logged
        return not self.job.work.shift or all("shift" in parquet_identity(part)[1].names for part in parts)

    def parts_of_training(self, layout: Layout, seed: int) -> list[Path]:
        """Where the presentations of each epoch go."""
        return [layout.columns("train", seed, epoch, 0, self.rows) for epoch in range(1, self.job.epochs + 1)]

    @property
    def rows(self) -> int:
        """The number of examples."""
        return len(self.session.source)

    @property
    def kept(self) -> set[int]:
        """The epochs whose checkpoints are kept."""
        return {*self.job.work.checkpoints, self.job.epochs}

    def steps_of(self, unit: Unit) -> tuple[Input, ...]:
        """The passes that a unit belongs to."""
        passes = {(one.part, one.epochs[-1]): one for one in self.job.work.passes}
        return tuple(passes[part, int(unit.key[2])] for part in str(unit.key[0]).split("+"))

    def views_of(self, step: Input) -> Sequence[int]:
        """The views of each example that a pass sees."""
        return step.kind.views(step.need.options, self.session.recipe.augment)

    def batch_of(self, step: Input) -> int:
        """The batch size of a pass."""
        session = self.session
        return step.kind.batch_size(session.recipe.batch_size, session.feed.eval_batch)

    def rows_of(self, step: Input) -> int:
        """How many rows a part of a pass has."""
        number = len(self.session.examples(step.of_reference))
        return shard_rows(number, self.batch_of(step), self.row_bytes(step))

    def row_bytes(self, step: Input) -> int:
        """The bytes that a pass stores of an example."""
        if not step.kind.vectors:
            return 4 * _COLUMNS
        one = step.kind.row_bytes(step.need.options, self.job.width, self.session.task.outputs)
        return max(1, one) * len(self.views_of(step))
