"""The worker of a recording: does its units, in the process it was built in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from torch import nn

from datadiet.data import Feed
from datadiet.errors import DataError
from datadiet.models import evaluating
from datadiet.randomness import derive
from datadiet.runtime import Layout, settings
from datadiet.runtime.layout import against_in
from datadiet.runtime.tensors import read_tensors
from datadiet.runtime.units import Cost, Emit, Product, Unit
from datadiet.sampling import SubsetSampler
from datadiet.signals import Recorder, measured
from datadiet.signals.parts import signal_table
from datadiet.signals.passes import Examples, Measure, Reader, Setup, forward
from datadiet.training import Clock, Trainer
from datadiet.training.hooks import AfterEpoch, Hook, Record
from datadiet.workflow.scoring.needs import Input
from datadiet.workflow.scoring.recording import Recording, RecordingJob

__all__ = ["RecordingWorker", "recording_worker"]

_IF_NAN = "check that input, and the weights of the model"


class RecordingWorker:
    """Does the units of a recording.

    Args:
        recording: what to record.
        path: of the run, whose checkpoints and states it reads.
    """

    def __init__(self, recording: Recording, path: Path) -> None:
        self.recording, self.session, self.layout = recording, recording.session, Layout(path)
        self.plan = recording.plan
        self._open: tuple[tuple[str | int, ...], ExitStack, Measure] | None = None

    def run(self, unit: Unit, emit: Emit) -> None:
        """Do one unit."""
        recipe = self.session.recipe
        with settings(recipe.threads, recipe.precision):
            if unit.kind == "train":
                self.close()
                self._train(int(unit.key[0]), emit)
                return
            begun = time.monotonic()
            self._prepare(unit, emit) if unit.kind == "prepare" else self._measure(unit, emit)
            name, seed, epoch = unit.part
            title = f"{'evaluate' if name == 'eval' else name} seed {seed} epoch {epoch}"
            emit(Product(self._log, Cost(title, time.monotonic() - begun)))

    def close(self) -> None:
        """Restore the modes of the networks."""
        if self._open is not None:
            self._open[1].close()
            self._open = None

    @cached_property
    def _log(self) -> str:
        return self.layout.relative(self.layout.log)

    def _train(self, seed: int, emit: Emit) -> None:
        """Train on all the data with one seed, recording every presentation and keeping the checkpoints needed."""
        recording, session, layout, rows = self.recording, self.session, self.layout, self.recording.rows
        state = layout.state(seed)

        def keep_part(epoch: int, table: pa.Table) -> None:
            path = layout.relative(layout.columns("train", seed, epoch, 0, rows))
            emit(Product(path, self._indexed(table), examples=rows))

        def keep_checkpoint(epoch: int) -> None:
            if epoch in recording.kept:
                emit(Product(layout.relative(layout.checkpoint(seed, epoch)), trainer.checkpoint))

        model = session.fresh(seed)
        with closing(session.tap(model, recording.job.head)) as tap:
            signals = session.task.signals
            recorder = Recorder(rows, seed=seed, shift=recording.job.work.shift, sink=keep_part, signals=signals)
            hooks: list[Hook] = [Record(recorder, tap.features), AfterEpoch(keep_checkpoint)]
            order = SubsetSampler(rows, seed=derive(seed, "order"))
            clock = Clock(epochs=recording.job.epochs)
            trainer = Trainer(model, session.task, session.feed, order, session.recipe, clock, seed, hooks=hooks)
            trainer.run(
                state=state,
                save=lambda content: emit(Product(layout.relative(state), content)),
                title=f"record seed {seed}",
            )
        facts: dict[str, Any] = {"history": trainer.history, "seconds": trainer.seconds}
        if session.held_out is not None:
            began = time.monotonic()
            found = session.task.evaluate(trainer.model, session.held_out)
            facts |= {**found.as_dict(), "evaluation_seconds": round(time.monotonic() - began, 3)}
            emit(Product(layout.relative(layout.evaluation(seed)), found.table(session.held_out.source)))
        emit(Product(self._log, {f"train seed {seed}": facts}))
        emit(Product(layout.relative(state), None))

    def _prepare(self, unit: Unit, emit: Emit) -> None:
        self.close()
        (step,), (path,) = self.recording.steps_of(unit), self._paths(unit)
        assert step.kind.prepare is not None
        with ExitStack() as stack:
            tensors = step.kind.prepare(self._setup(step, unit, stack))
        emit(Product(path, (tensors, {})))

    def _measure(self, unit: Unit, emit: Emit) -> None:
        recording, steps = self.recording, self.recording.steps_of(unit)
        feed, measure = self.session.examples(steps[0].of_reference), self._begun(unit, steps)
        name_of, size, span = self.session.name_of(feed), recording.batch_of(steps[0]), np.arange(unit.lo, unit.hi)
        views = recording.views_of(steps[0])
        seen = [measured(measure, feed.batches(span, size, view), name_of) for view in views]
        rows, values = seen[0]
        if len(seen) > 1:
            values = {name: np.concatenate([found[name] for _, found in seen], axis=1) for name in values}
        for step, path in zip(steps, self._paths(unit), strict=True):
            own = values if len(steps) == 1 else _of_step(step, values)
            if step.kind.finite:
                _refuse_infinite(rows, own, name_of)
            table = None if step.kind.vectors else self._indexed(signal_table(rows, own, _IF_NAN, name_of))
            emit(Product(path, own[step.kind.name] if table is None else table))

    def _begun(self, unit: Unit, steps: Sequence[Input]) -> Measure:
        """The function that measures; the networks stay loaded while units of the same passes follow each other."""
        if self._open is None or self._open[0] != unit.key:
            self.close()
            with ExitStack() as stack:  # restores the modes if beginning fails
                measure = self._begin(unit, steps, stack)
                self._open = (unit.key, stack.pop_all(), measure)
        return self._open[2]

    def _begin(self, unit: Unit, steps: Sequence[Input], stack: ExitStack) -> Measure:
        first = steps[0]
        prepared = {} if first.kind.prepare is None else read_tensors(self.layout.prepared(*unit.part))[0]
        setup = self._setup(first, unit, stack, prepared)
        if len(steps) == 1:
            return first.kind.begin(setup)
        return forward(setup, [_reader(step, replace(setup, options=step.need.options)) for step in steps])

    def _setup(self, step: Input, unit: Unit, stack: ExitStack, prepared: Mapping[str, Any] | None = None) -> Setup:
        session = self.session
        models = [self._network(unit.part[1], epoch) for epoch in step.epochs]
        tap = stack.enter_context(closing(session.tap(models[-1], self.recording.job.head)))
        other = session.against
        for model in [*models, *([] if other is None else [other.network])]:
            stack.enter_context(evaluating(model))

        def examples(feed: Feed) -> Examples:
            batch = session.recipe.batch_size
            return Examples(lambda: feed.batches(np.arange(len(feed)), batch), session.name_of(feed))

        reference = None if session.reference is None else examples(session.reference)
        ready = {name: tensor.to(session.feed.device) for name, tensor in (prepared or {}).items()}
        return Setup(
            models, session.task, tap.features, examples(session.feed), reference, step.need.options, session.fallback,
            ready, self.recording.job.seed, _label_range(session.feed, session.reference), other,
        )  # fmt: skip

    def _network(self, seed: int, epoch: int) -> nn.Module:
        given = self.recording.given
        return self.session.network(given[seed, epoch] if given else self.layout.checkpoint(seed, epoch))

    def _paths(self, unit: Unit) -> list[str]:
        return [self.layout.relative(path) for path in self.recording.paths_of(unit, self.layout)]

    def _indexed(self, table: pa.Table) -> pa.Table:
        """A part as it is stored: rows become positions in the opened data."""
        index = self.session.source.index[table["index"].to_numpy()]
        return table.set_column(0, "index", pa.array(index))


def recording_worker(job: RecordingJob, path: Path) -> RecordingWorker:
    """The worker of a job for a run in a folder, with data and model opened in this process."""
    recording = job.open()
    _refuse_other_network(recording)
    return RecordingWorker(recording, path)


def _refuse_other_network(recording: Recording) -> None:
    """Refuse another network to compare with than the driver's: the names of parts say which it was."""
    found = recording.session.against
    for step in recording.job.work.passes:
        if step.kind.against and (found is None or found.hash[:12] != against_in(step.part)):
            raise DataError(
                f"against={recording.job.spec.against} holds another network on this machine than where the run was "
                "started: give a file that all machines see."
            )


def _reader(step: Input, setup: Setup) -> Reader:
    """What one of several passes reads of their forward pass, under names of its own."""
    assert step.kind.reads is not None, "only such passes share one"
    read = step.kind.reads(setup)
    return lambda *seen: {f"{step.part}:{name}": values for name, values in read(*seen).items()}


def _of_step(step: Input, values: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What `_reader` gave for a pass, under the names that it has in its files."""
    prefix = f"{step.part}:"
    return {name.removeprefix(prefix): found for name, found in values.items() if name.startswith(prefix)}


def _label_range(*feeds: Feed | None) -> tuple[int, int] | None:
    """The lowest and the highest label of some data; None if some of them have none."""
    ends: list[int] = []
    for labels in (feed.source.labels for feed in feeds if feed is not None):
        if labels is None:
            return None
        ends += [int(labels.min()), int(labels.max())]
    return min(ends), max(ends)


def _refuse_infinite(rows: np.ndarray, values: Mapping[str, np.ndarray], name_of: Any) -> None:
    for name, found in values.items():
        bad = ~np.isfinite(found.reshape(len(rows), -1)).all(axis=1)
        if bad.any():
            raise DataError(f"{name} is not finite for {name_of(int(rows[bad.argmax()]))}: {_IF_NAN}.")
