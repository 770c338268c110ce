"""One call of `score`: from requests to recorded signals and computed columns."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data import Source
from datadiet.errors import MissingSignal, OptionError
from datadiet.files import read_json
from datadiet.runtime import RunFolder, Sink, settings
from datadiet.runtime.local import run_units
from datadiet.runtime.units import Product
from datadiet.signals.passes import PASSES
from datadiet.table import Scores
from datadiet.version import __version__
from datadiet.workflow.checkpoints import Checkpoint, rates
from datadiet.workflow.scoring.columns import compute_scores
from datadiet.workflow.scoring.dry_run import MadeUp, try_scorers
from datadiet.workflow.scoring.needs import Work, resolve, work_for
from datadiet.workflow.scoring.network_checks import find_head, try_passes
from datadiet.workflow.scoring.recording import Recording, RecordingJob
from datadiet.workflow.scoring.recording_worker import RecordingWorker
from datadiet.workflow.scoring.requests import Request
from datadiet.workflow.scoring.rescore import keep_scores, recorded_signals
from datadiet.workflow.session import JobSpec, Session, empty_scores

__all__ = ["ScoringRun"]


class ScoringRun:
    """One call of `score`: the requests, and what is known before any work."""

    def __init__(
        self,
        spec: JobSpec,
        session: Session,
        requests: list[Request],
        epochs: int,
        seeds: tuple[int, ...],
        given: list[Checkpoint] | None,
        head: str | None,
    ) -> None:
        self.spec, self.session, self.epochs, self.seeds, self.given, self.head = (
            spec, session, epochs, seeds, given, head
        )  # fmt: skip
        self.facts: dict[str, Any] = {"epochs": epochs, "num_classes": session.task.outputs}
        if session.reference is not None:
            self.facts["reference"] = session.reference_hash
        if given is not None:
            _refuse_presentations(requests)
            self.facts |= {"checkpoints": sorted({epoch for _, epoch, _ in given})} | rates(given)
        self.requests = resolve(requests, self.facts)
        self.work = work_for(self.requests)

    def score(self, out: Path) -> Scores:
        """Record what is missing, and compute the scores."""
        session, started = self.session, time.monotonic()
        recording = self._recording()
        folder = RunFolder.open(out, recording.plan)
        sink = Sink(folder)
        with settings(session.recipe.threads):
            units = recording.pending(folder)
            run_units(recording.plan, units, lambda: RecordingWorker(recording, out), sink)
            for path in recording.temporary(folder.layout):  # also of units that an interrupted call finished
                sink.write(Product(folder.layout.relative(path), None))
        if session.reference is not None:  # so that `rescore` does not need the reference data
            labels = folder.layout.reference_labels(session.reference_hash)
            sink.write(Product(folder.layout.relative(labels), np.asarray(session.reference.source.labels)))
        return self._scored(folder, sink, started)

    def _recording(self) -> Recording:
        """What to record, after checking everything that can be refused before any work."""
        session, work = self.session, self.work
        for _, _, path in self.given or ():
            if path is not None:
                session.loaded(path)  # a file that does not fit is refused before anything is written
        layer = find_head(session, self.head)
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
        try_passes(session, work)
        given = tuple(self.given or ())
        here = replace(self.spec, recipe=session.recipe, device=str(session.feed.device))
        job = RecordingJob(here, self.epochs, work, self.seeds, given, self.head, width)
        return Recording(session, job)

    def _check_points(self) -> None:
        """Check that every seed has all checkpoints to read."""
        there = {(s, epoch) for s, epoch, _ in self.given or ()} | set(product(self.seeds, range(1, self.epochs + 1)))
        for s, epoch in product(sorted({s for s, _ in there}), sorted(self.work.checkpoints)):
            if (s, epoch) not in there:
                raise OptionError(
                    f"seed {s} has no checkpoint of epoch {epoch}, but others do: give the same epochs of each seed."
                )

    def _scored(self, folder: RunFolder, sink: Sink, started: float) -> Scores:
        layout = folder.layout
        before = folder.read(layout.manifest).get("facts", {})  # an earlier call may have named reference data
        trained = _of_training(self.session, folder, self.seeds) if self.seeds else {}
        facts = before | self.facts | trained
        table = _table(self.session, folder, facts)
        signals = recorded_signals(folder.path, table)
        asked = {s for s, _, _ in self.given or ()} | set(self.seeds)
        signals = replace(signals, parts={key: paths for key, paths in signals.parts.items() if key[1] in asked})
        scores = compute_scores(signals, self.requests, table)
        keep_scores(sink, scores)
        host = {"python": platform.python_version(), "machine": platform.machine(), "datadiet": __version__}
        sink.update(layout.log, {"host": host, "latest_seconds": round(time.monotonic() - started, 3)})
        return scores


def _refuse_presentations(requests: Sequence[Request]) -> None:
    """Refuse scorers that read presentations, if nothing is trained."""
    for request in requests:
        if any(PASSES[need.pass_name].measure is None for need in request.spec.needs):
            raise MissingSignal(
                f"{request.scorer} reads presentations during training, but a trained model has none: give a model to "
                "train, or use a Recorder in your own training loop."
            )


def _table(session: Session, folder: RunFolder, facts: dict[str, Any]) -> Scores:
    """The table that the run already has, or an empty one."""
    if folder.layout.scores.exists():
        have = Scores.read(folder.layout.scores)
        return replace(have, meta={**have.meta, "facts": facts})
    return empty_scores(session.source, folder.plan, facts)


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
        widths={step.part: dict(step.options).get("dim", width) for step in work.passes if step.kind.vectors},
    )


def _of_training(session: Session, folder: RunFolder, seeds: Sequence[int]) -> dict[str, Any]:
    """What training logged: the learning rate of each epoch, and how good the networks are."""
    log = read_json(folder.layout.log)
    runs = [log[f"train seed {s}"] for s in seeds]
    facts: dict[str, Any] = {"lr": [entry["lr"] for entry in runs[0]["history"]]}
    if session.held_out is not None:
        facts["accuracy"] = float(np.mean([run["accuracy"] for run in runs]))
        recalls = zip(*(run["class_recall"] for run in runs), strict=True)
        facts["class_recall"] = [None if None in of_class else float(np.mean(of_class)) for of_class in recalls]
    return facts
