"""score: from data and a model to a score table."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import nn

import datadiet
from datadiet.data import Source
from datadiet.errors import MissingSignal, OptionError
from datadiet.files import read_json
from datadiet.runtime import Plan, RunFolder, settings
from datadiet.table import Scores, Signals
from datadiet.table.passes import PASSES
from datadiet.training import Recipe
from datadiet.workflow.checkpoints import Checkpoint, checkpoints_given, hashes, rates
from datadiet.workflow.compute import compute_scores
from datadiet.workflow.job import Job, open_job
from datadiet.workflow.recording import Recording, find_head, try_passes
from datadiet.workflow.requests import Request, make_requests
from datadiet.workflow.rescoring import reference_labels, score_signals
from datadiet.workflow.trial import MadeUp, try_scorers
from datadiet.workflow.wanted import Wanted, what_is_needed

__all__ = ["score"]

DEFAULT_EPOCHS = 10


def score(
    dataset: Any,
    model: str | nn.Module | Callable[[], nn.Module] | None = None,
    scorers: str | Callable[..., Any] | Iterable[Any] = "el2n",
    *,
    epochs: int | None = None,
    seeds: int = 1,
    seed: int = 0,
    checkpoints: str | Path | Sequence[str | Path] | None = None,
    eval: Any = None,
    reference: Any = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    params: Mapping[str, Mapping[str, Any]] | None = None,
    column: str | None = None,
    head: str | None = None,
    fallback: Literal["vmap"] | None = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> Scores:
    """Score every example of a data set.

    A fresh model is trained `epochs` epochs on all the data for each seed, recording every presentation, and evaluated
    on the un-augmented data at the epochs that the scorers need. With `checkpoints`, or a trained module as the model,
    nothing is trained: a module is evaluated in evaluation mode, whatever mode it is in, and left in the mode it had.
    All output signals are recorded, so `rescore` computes further scores without a model.

    Args:
        dataset: a data spec ("digits", "parquet:train/*.parquet" …), a torch or Hugging Face data set, a `Source`, or
            the `Signals` of a Recorder (or several, of different seeds), which need no model.
        model: "datadiet:cnn", "timm:resnet18" …, a zero-argument function that makes a network, or a trained network.
        scorers: names ("el2n,forgetting" or a list), functions whose leading parameters are signal names, or specs.
        epochs: of each training; 10 if not given. A trained model takes none.
        seeds: how many trainings; scores are means, and `.std` columns appear.
        seed: of the first.
        checkpoints: weights to evaluate instead of training: a glob, a list, or a run folder, which also tells how its
            inputs were normalised. `at` means the epochs of a run, and counts other files from 1.
        eval: held-out data, or "10%"; gives the accuracy and the class recalls that `class_quota` reads.
        reference: examples that scorers such as `influence` compare with: data, or a share to split off; never what the
            final accuracy is measured on.
        recipe: how to train: a Recipe, or some of its fields.
        params: scorer -> parameter -> value; `at` and `mode` belong to every scorer (see `make_requests`).
        column: another name for the column, when there is one scorer.
        head: the name of the last linear layer, where it cannot be found by comparing outputs.
        fallback: "vmap" runs layers whose gradient per example is not known once more for each; None refuses them.
        device: "auto" or a torch device.
        out: the run folder; the same call with the same folder continues, and adds columns. None keeps no files.

    Returns:
        The scores; with `out` they are in `out/scores.parquet`.

    Raises:
        OptionError: options that cannot work together, or a parameter that a scorer refuses, before any work.
        DataError: data that is damaged (before any work, where they fit into memory), or a run that diverged; an
            example whose gradient is not finite, by its id.
    """
    requests = make_requests(scorers, params, column)
    recorded = [dataset] if isinstance(dataset, Signals) else dataset if isinstance(dataset, (list, tuple)) else []
    if recorded and isinstance(recorded[0], Signals):
        if any(value is not None for value in (model, epochs, checkpoints, eval, recipe, reference)):
            raise OptionError("recorded signals need no model, data or training: call score(signals, scorers=…).")
        return score_signals(recorded[0] if len(recorded) == 1 else Signals.merged(recorded), requests, out)
    if model is None:
        raise OptionError(
            "scoring needs a model: give a spec such as datadiet:cnn, a function that makes one, or a trained module."
        )
    if (epochs is not None and epochs < 1) or seeds < 1:
        raise OptionError(f"epochs={epochs}, seeds={seeds}: both must be at least 1.")
    if reference is None:
        _refuse_without_reference(requests)
    given = None if checkpoints is None else checkpoints_given(checkpoints)
    job = open_job(
        dataset, model, eval=eval, reference=reference, checkpoints=[path for _, _, path in given or ()],
        fallback=fallback, recipe=recipe, device=device, out=out,
    )  # fmt: skip
    if given is None and job.model.trained is not None:
        given = [(0, 1, None)]
    if given is not None:
        if epochs is not None or seeds > 1:
            raise OptionError(
                f"epochs={epochs}, seeds={seeds}: a trained model is only evaluated, so leave epochs and seeds out, or "
                "give a model to train (a spec, or a function that makes a network) without checkpoints."
            )
        epochs = len({epoch for _, epoch, _ in given})
    epochs = DEFAULT_EPOCHS if epochs is None else epochs
    if out is None:
        with tempfile.TemporaryDirectory(prefix="datadiet-") as folder:
            return _score(job, requests, epochs, range(seed, seed + seeds), given, Path(folder) / "run", head)
    return _score(job, requests, epochs, range(seed, seed + seeds), given, Path(out), head)


def _refuse_without_reference(requests: list[Request]) -> None:
    for request in requests:
        if any(PASSES[need.pass_name].against or need.of == "reference" for need in request.spec.needs):
            raise OptionError(
                f"{request.scorer} compares with reference examples: name them with reference= (--reference DATA, or a "
                "share such as 10% to split off)."
            )


def _score(
    job: Job,
    requests: list[Request],
    epochs: int,
    seeds: Iterable[int],
    given: list[Checkpoint] | None,
    out: Path,
    head: str | None,
) -> Scores:
    known = _known(job, epochs, given)
    wanted = what_is_needed(requests, known)
    if given is not None and wanted.train:
        name = next(r.scorer for r in requests if any(n.pass_name == "train" for n in r.spec.needs))
        raise MissingSignal(
            f"{name} reads presentations during training, and a trained model has none: give a model to train, or use "
            "a Recorder in your own training loop."
        )
    for _, _, path in given or ():
        if path is not None:
            job.loaded(path)  # a file that does not fit is told before anything is written
    layer = find_head(job, head)
    if wanted.head and layer is None:
        raise OptionError(
            "what goes into the last layer is needed, and no linear layer gives the model's output: name it with head= "
            "(--head NAME)."
        )
    points = given or [(s, e, None) for s in seeds for e in range(1, epochs + 1)]
    _check_points({(s, epoch) for s, epoch, _ in points}, wanted)
    if layer is not None:
        known["head_bias"] = layer.bias is not None
    try_scorers(requests, _made_up(job, wanted, layer, known))
    try_passes(job, wanted)
    what = job.what() | {"epochs": epochs, "head": head, "checkpoints": None if given is None else hashes(given)}
    folder = RunFolder.open(out, Plan(what))
    recording = Recording(job, folder, epochs, wanted, head)
    with settings(job.recipe.threads):
        started = time.monotonic()
        for s in seeds if given is None else ():
            recording.train(s)
        paths = {(s, e): path if given is not None else folder.checkpoint(s, e) for s, e, path in points}
        for s, step in product(sorted({s for s, _ in paths}), wanted.passes):
            recording.run(step, s, [paths[s, epoch] for epoch in step.epochs])
        _keep_reference(job, folder)
    before = folder.read("manifest.json").get("facts", {})  # an earlier call may have named reference data
    facts = before | known | (_of_training(job, folder, list(seeds)) if given is None else {})
    scores = compute_scores(_signals(job, folder, facts, points, seeds), requests, _table(job, folder, facts))
    scores.write(out / "scores.parquet")
    folder.update(
        "manifest.json", {key: scores.meta[key] for key in ("facts", "columns", "stability") if key in scores.meta}
    )
    host = {"python": platform.python_version(), "machine": platform.machine(), "datadiet": datadiet.__version__}
    folder.update("run.json", {"host": host, "latest_seconds": round(time.monotonic() - started, 3)})
    return scores


def _check_points(there: set[tuple[int, int]], wanted: Wanted) -> None:
    """Every seed has all checkpoints that are read."""
    for s, epoch in product(sorted({s for s, _ in there}), sorted(wanted.checkpoints)):
        if (s, epoch) not in there:
            raise OptionError(
                f"seed {s} has no checkpoint of epoch {epoch}, and others have: give the same of each seed."
            )


def _signals(
    job: Job, folder: RunFolder, facts: dict[str, Any], points: list[Checkpoint], seeds: Iterable[int]
) -> Signals:
    whole = Signals.open(
        folder.path,
        len(job.source),
        ids=job.source.ids,
        labels=job.source.labels,
        index=job.source.index,
        reference_labels=reference_labels(folder.path, facts),
        meta={"facts": facts},
    )
    wanted = {s for s, _, _ in points} | ({*seeds} if "checkpoints" not in facts else set())
    return replace(whole, parts={key: paths for key, paths in whole.parts.items() if key[1] in wanted})


def _keep_reference(job: Job, folder: RunFolder) -> None:
    """The labels of the reference data, so that `rescore` needs it no more."""
    if job.reference is not None:
        folder.write_vectors(folder.reference_labels(job.reference_hash), np.asarray(job.reference.source.labels))


def _table(job: Job, folder: RunFolder, facts: dict[str, Any]) -> Scores:
    """The table that the run has already, or an empty one."""
    path = folder.path / "scores.parquet"
    if path.exists():
        have = Scores.read(path)
        return replace(have, meta={**have.meta, "facts": facts})
    source = job.source
    meta = {
        "data": source.identity(),
        "plan": dict(folder.plan.what),
        "facts": facts,
        "skipped": [list(entry) for entry in source.skipped],
        "class_names": list(source.class_names),
    }
    return Scores(np.asarray(source.index), {}, source.ids, source.labels, meta)


def _known(job: Job, epochs: int, given: list[Checkpoint] | None) -> dict[str, Any]:
    """What is known of a run before any training."""
    facts: dict[str, Any] = {"epochs": epochs, "num_classes": job.classes}
    if job.reference is not None:
        facts["reference"] = job.reference_hash
    return facts if given is None else facts | {"checkpoints": sorted({epoch for _, epoch, _ in given})} | rates(given)


def _made_up(job: Job, wanted: Wanted, layer: nn.Linear | None, known: dict[str, Any]) -> MadeUp:
    """Signals in the shapes of those that will be recorded, of two examples: the lowest and the highest class."""
    rates = {} if "checkpoints" in known else {"lr": [1.0] * known["epochs"]}
    width = 0 if layer is None else layer.in_features
    wide = [step for step in wanted.passes if step.kind.wide]

    def ends(source: Source) -> np.ndarray:
        return np.array([0, np.asarray(source.labels).max()])

    return MadeUp(
        2,
        {},
        labels=ends(job.source),
        reference_labels=None if job.reference is None else ends(job.reference.source),
        meta={"facts": rates | known},
        widths={step.filed_as(job.reference_hash): dict(step.options).get("dim", width) for step in wide},
    )


def _of_training(job: Job, folder: RunFolder, seeds: list[int]) -> dict[str, Any]:
    """What trainings have noted: the learning rate of each epoch, and how good the networks are."""
    log = read_json(folder.path / "run.json")
    runs = [log[f"train seed {s}"] for s in seeds]
    facts: dict[str, Any] = {"lr": [entry["lr"] for entry in runs[0]["history"]]}
    if job.held_out is not None:
        facts["accuracy"] = float(np.mean([run["accuracy"] for run in runs]))
        recalls = zip(*(run["class_recall"] for run in runs), strict=True)
        facts["class_recall"] = [None if None in of_class else float(np.mean(of_class)) for of_class in recalls]
    return facts
