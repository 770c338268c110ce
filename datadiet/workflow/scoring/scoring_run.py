"""One call of `score`: from requests to recorded signals and computed columns."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from datadiet.data import Source
from datadiet.data.batch import Batch
from datadiet.errors import OptionError, unknown_name
from datadiet.models import evaluating
from datadiet.runtime import RunFolder, Sink, planned_hardware, settings
from datadiet.runtime.executors import Executor, complete_run
from datadiet.runtime.process import say_precision
from datadiet.runtime.units import MakeWorker, Product, Unit
from datadiet.signals import measured
from datadiet.signals.gradients import PerExample
from datadiet.signals.gradients.checks import refuse_mixing
from datadiet.table import Scores
from datadiet.workflow.checkpoints import rates
from datadiet.workflow.scoring.columns import compute_scores
from datadiet.workflow.scoring.dry_run import MadeUp, try_scorers
from datadiet.workflow.scoring.learned import note_unlearned
from datadiet.workflow.scoring.needs import Work, logits_input, resolve, work_for
from datadiet.workflow.scoring.recording import Recording, RecordingJob
from datadiet.workflow.scoring.recording_worker import RecordingWorker, recording_worker
from datadiet.workflow.scoring.requests import Request, refuse_presentations
from datadiet.workflow.scoring.rescore import keep_scores, recorded_signals, table_of
from datadiet.workflow.session import Session

__all__ = ["ScoringRun"]


class ScoringRun:
    """One call of `score`: the requests, and what is known before any work."""

    def __init__(
        self, session: Session, requests: list[Request], job: RecordingJob, logits: Mapping[str, Any] | None = None
    ) -> None:
        self.session = session
        self.facts: dict[str, Any] = {"epochs": job.epochs, "num_classes": session.task.outputs}
        if session.reference is not None:
            self.facts["reference"] = session.reference_hash
        if session.against is not None:
            self.facts["against"] = session.against.hash
        if job.given:
            refuse_presentations(requests)
            self.facts |= {"checkpoints": sorted({epoch for _, epoch, _ in job.given})} | rates(job.given)
        self.requests = resolve(requests, self.facts)
        further = () if logits is None else (logits_input(logits, self.facts),)
        self.job = replace(job, work=work_for(self.requests, further))

    def score(self, out: str | Path | None, executor: Executor) -> Scores:
        """Record what is missing in a folder, or in a temporary one, and compute the scores."""
        if out is not None:
            return self._score(Path(out), executor)
        with tempfile.TemporaryDirectory(prefix="datadiet-") as folder:
            return self._score(Path(folder) / "run", executor)

    def _score(self, out: Path, executor: Executor) -> Scores:
        started, device = time.monotonic(), self.job.spec.device
        self._check()
        with executor.start(device, self.session.threads, planned_hardware(out, device)) as fleet:
            session = self.session = self.session.worked_by(fleet.hardware)
            spec = replace(self.job.spec, recipe=session.recipe)
            recording = Recording(session, replace(self.job, spec=spec))
            elsewhere = replace(recording.job, spec=replace(spec, threads=session.recipe.threads).elsewhere())
            make_worker = MakeWorker(partial(RecordingWorker, recording), partial(recording_worker, elsewhere))
            say_precision(session.recipe.precision, session.hardware.device)
            with settings(session.recipe.threads, session.recipe.precision):
                folder = complete_run(fleet, out, recording.plan, partial(_missing, recording), make_worker)
        sink = Sink(folder)
        for path in recording.temporary(folder.layout):  # also of units that an interrupted call finished
            sink.write(Product(folder.layout.relative(path), None))
        if session.reference is not None:  # so that `rescore` does not need the reference data
            labels = folder.layout.reference_labels(session.reference_hash)
            sink.write(Product(folder.layout.relative(labels), np.asarray(session.reference.source.labels)))
        self._evaluate_again(folder, sink)
        return self._scored(folder, sink, started)

    def _evaluate_again(self, folder: RunFolder, sink: Sink) -> None:
        """Write what networks say of held-out examples where that file was lost."""
        session, layout, held = self.session, folder.layout, self.session.held_out
        for seed in self.job.seeds:
            path = layout.evaluation(seed)
            if held is not None and not path.exists():
                with settings(session.recipe.threads, session.recipe.precision):
                    found = session.task.evaluate(session.network(layout.checkpoint(seed, self.job.epochs)), held)
                sink.write(Product(layout.relative(path), found.table(held.source)))

    def _check(self) -> None:
        """Check everything that can be refused before any work."""
        session, work = self.session, self.job.work
        _refuse_unknown_signals(self.requests, session)
        for _, _, path in self.job.given:
            if path is not None:
                session.network(path)  # a file that does not fit is refused before anything is written
        with closing(session.tap(session.any_network(), self.job.head)) as tap:
            layer = tap.head
        if work.head and layer is None:
            raise OptionError(
                "the input of the last layer is needed, but the model's output does not come from a linear layer: name "
                "it with head= (--head NAME)."
            )
        self._check_points()
        if layer is not None:
            self.facts["head_bias"] = layer.bias is not None
        width = 0 if layer is None else layer.in_features
        try_scorers(self.requests, _made_up(session, work, width, self.facts))
        _try_passes(session, work)
        self.job = replace(self.job, width=width)

    def _check_points(self) -> None:
        trained = product(self.job.seeds, range(1, self.job.epochs + 1))
        there = {*trained, *((seed, epoch) for seed, epoch, _ in self.job.given)}
        for seed, epoch in product(sorted({seed for seed, _ in there}), sorted(self.job.work.checkpoints)):
            if (seed, epoch) not in there:
                raise OptionError(
                    f"seed {seed} has no checkpoint of epoch {epoch}, but others do: give the same epochs of each seed."
                )

    def _scored(self, folder: RunFolder, sink: Sink, started: float) -> Scores:
        before = folder.read(folder.layout.manifest).get("facts", {})  # an earlier call may have named reference data
        trained = _of_training(self.session, folder, self.job.seeds) if self.job.seeds else {}
        facts = before | self.facts | trained
        table = table_of(self.session.source, folder, facts)
        read = {one.part for request in self.requests for one in request.inputs}
        signals = recorded_signals(folder.path, table, read)  # others may be unfinished, of a call that was interrupted
        asked = {*self.job.seeds, *(seed for seed, _, _ in self.job.given)}
        signals = replace(signals, parts={key: paths for key, paths in signals.parts.items() if key[1] in asked})
        scores = compute_scores(signals, self.requests, table)
        keep_scores(sink, scores)
        sink.log_host(latest_seconds=round(time.monotonic() - started, 3))
        return scores


def _missing(recording: Recording, folder: RunFolder) -> list[Unit]:
    """The units that are not done; states that they cannot go on from are removed."""
    sink = Sink(folder)
    for state in recording.stale(folder.layout):
        sink.write(Product(folder.layout.relative(state), None))
    return recording.pending(folder)


def _refuse_unknown_signals(requests: Sequence[Request], session: Session) -> None:
    """Refuse scorers that read what no output has, such as functions whose parameters are not names of signals."""
    known = {*session.task.signals(torch.zeros(1, 2), torch.zeros(1), torch.zeros(1, 1)), "shift"}
    for request in requests:
        for need in request.spec.needs:
            if need.pass_name in ("train", "eval") and need.signal not in known:
                raise OptionError(f"{request.scorer}: {unknown_name('signal', need.signal, known)}")


def _try_passes(session: Session, work: Work) -> None:
    """Refuse a network that some pass cannot measure example by example, before anything is written.

    Raises:
        OptionError: a layer that mixes examples or draws at random, or, where gradients are needed, one whose
            per-example gradients are not known, by name.
        DataError: an example whose gradient is not finite, by its id.
    """
    if all(step.kind.name == "eval" for step in work.passes):
        return
    model = session.any_network()
    if session.model.trained is None:
        generator = torch.Generator().manual_seed(0)
        with torch.no_grad():  # a head that starts at 0 would hide what is below it
            for p in model.parameters():
                p.add_(0.02 * torch.randn(p.shape, generator=generator).to(p))
    batch = session.feed.first(3)
    with evaluating(model):
        refuse_mixing(model, batch)
        if session.against is not None:
            with evaluating(session.against.network):
                refuse_mixing(session.against.network, session.against.seen(batch))
        if any(step.kind.gradients for step in work.passes):
            engine = PerExample(model, fallback=session.fallback)

            def losses(batch: Batch) -> dict[str, torch.Tensor]:
                return {"losses": engine(batch.inputs, batch.targets, lambda name, terms: None)}

            measured(losses, [batch], session.name_of(session.feed))


def _made_up(session: Session, work: Work, width: int, facts: dict[str, Any]) -> MadeUp:
    """Signals in the shapes of those to be recorded, for two examples: of the lowest and of the highest class."""
    rates = {} if "checkpoints" in facts else {"lr": [1.0] * facts["epochs"]}

    def ends(source: Source) -> np.ndarray:
        return np.array([0, np.asarray(source.labels).max()])

    return MadeUp(
        2,
        {},
        labels=ends(session.source),
        reference_labels=None if session.reference is None else ends(session.reference.source),
        meta={"facts": rates | facts},
        widths={step.part: step.width(width) for step in work.passes if step.kind.vectors},
    )


def _of_training(session: Session, folder: RunFolder, seeds: Sequence[int]) -> dict[str, Any]:
    """What training logged: the learning rate of each epoch, and how good the networks are; noted if they are not."""
    log = folder.read(folder.layout.log)
    runs = [log[f"train seed {s}"] for s in seeds]
    note_unlearned(session, folder.layout, seeds, runs)
    facts: dict[str, Any] = {"lr": [entry["lr"] for entry in runs[0]["history"]]}
    if session.held_out is not None:
        facts["accuracy"] = float(np.mean([run["accuracy"] for run in runs]))
        recalls = zip(*(run["class_recall"] for run in runs), strict=True)
        facts["class_recall"] = [None if None in of_class else float(np.mean(of_class)) for of_class in recalls]
    return facts
