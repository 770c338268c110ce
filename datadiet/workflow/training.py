"""train: on a selection, on another random subset every epoch, or on everything."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from datadiet.data import Source
from datadiet.errors import OptionError, unknown_name
from datadiet.files import array_digest, atomic_write, read_json
from datadiet.models import load_checkpoint, open_model
from datadiet.randomness import derive
from datadiet.runtime import Plan, RunFolder, settings
from datadiet.sampling import EpochSampler, RS2Sampler, SubsetSampler
from datadiet.table import Selection
from datadiet.training import Evaluation, Recipe, Trainer, evaluate, training_steps
from datadiet.training.state import save_weights
from datadiet.workflow.job import Job, open_job
from datadiet.workflow.match import rows_of, selected_rows

__all__ = ["TrainResult", "train"]


@dataclass(frozen=True)
class TrainResult:
    """What a training gave.

    Attributes:
        model: the trained network, in evaluation mode.
        history: one entry per epoch: epoch, step, loss, accuracy (on what was presented), lr, seconds.
        evaluation: on the held-out data after the last step, or None without any.
        steps: optimizer steps taken.
        kept: examples per epoch.
        seconds: training time, without scoring and selecting.
    """

    model: nn.Module
    history: list[dict[str, float]]
    evaluation: Evaluation | None
    steps: int
    kept: int
    seconds: float

    @property
    def accuracy(self) -> float | None:
        """Held-out accuracy after the last step (never the best of several), or None without held-out data."""
        return None if self.evaluation is None else self.evaluation.accuracy


def train(
    dataset: Any,
    model: str | nn.Module | Callable[[], nn.Module],
    selection: Selection | str | Path | None = None,
    *,
    sampler: EpochSampler | str | None = None,
    epochs: int | None = None,
    steps: int | None = None,
    match: str | None = None,
    seed: int = 0,
    recipe: Recipe | Mapping[str, Any] | None = None,
    eval: Any = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> TrainResult:
    """Train a fresh network.

    Args:
        dataset: as in `score`; the whole data set, also when a selection is given.
        model: as in `score`.
        selection: train on its examples, with its weights; None = on everything.
        sampler: instead of a selection: a sampler of `datadiet.sampling`, or a text such as "rs2:keep=10%".
        epochs: passes over what is kept.
        steps: optimizer steps, instead of epochs.
        match: "full-steps": as many steps as `epochs` passes over the full data take.
        seed: of initialisation, order and augmentation, three separate streams.
        recipe: a Recipe, or some of its fields.
        eval: held-out data, or "10%"; digits bring their own.
        device: "auto" or a torch device.
        out: a run folder with checkpoint, log and manifest; the same call continues an interrupted one.

    Raises:
        OptionError: no budget or two, a selection and a sampler, or a folder that holds another run.
        FingerprintMismatch: the selection is of another data set.
        DataError: damaged data, or training diverged.
    """
    if isinstance(model, nn.Module):
        open_model(model, (), 0).fresh(seed)  # says why a trained model will not do
    if selection is not None and sampler is not None:
        raise OptionError("give a selection or a sampler, not both: a selection is the same every epoch.")
    job = open_job(dataset, model, eval=eval, recipe=recipe, device=device, out=out)
    n = len(job.source)
    selection = Selection.read(selection) if isinstance(selection, (str, Path)) else selection
    rows = None if selection is None else selected_rows(selection, job.source)
    order = _order(sampler, rows, n, job, derive(seed, "order"))
    total = training_steps(len(order), n, job.recipe.batch_size, epochs=epochs, steps=steps, match=match)
    what = job.what() | {
        "rows_kept": None if rows is None else array_digest(rows),
        "weights": None if selection is None or selection.weight is None else array_digest(selection.weights),
        "sampler": None if sampler is None else _sampler_name(sampler),
        "steps": total,
        "seed": seed,
    }
    folder = None if out is None else RunFolder.open(out, Plan(what))
    with settings(job.recipe.threads):
        trainer = Trainer(
            job.fresh(seed), job.task, job.feed, order, job.recipe, total, seed, _weights(selection, rows, n)
        )
        seconds = _run(trainer, folder, seed)
        result = None if job.held_out is None else evaluate(trainer.model, job.task, job.held_out, job.classes)
    trainer.model.eval()
    if folder is not None and trainer.main:
        about = {} if result is None else {"accuracy": result.accuracy, "class_recall": list(result.class_recall)}
        folder.update("run.json", {"steps": total, "kept": len(order), "seconds": seconds, **about})
        folder.state(seed).unlink(missing_ok=True)
    return TrainResult(trainer.model, trainer.history, result, total, len(order), seconds)


def _run(trainer: Trainer, folder: RunFolder | None, seed: int) -> float:
    """Train, or take up a finished training; returns the seconds that it took."""
    if folder is None:
        trainer.run(title="train")
        return _seconds(trainer)
    finished, log = folder.path / "run.json", folder.path / "log.jsonl"
    if finished.exists():
        trainer.history = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        load_checkpoint(trainer.model, folder.checkpoint(seed, len(trainer.history)))
        return float(read_json(finished)["seconds"])

    def write_log(epoch: int) -> None:
        if trainer.main:
            folder.begin()
            text = "".join(json.dumps(entry) + "\n" for entry in trainer.history)
            atomic_write(log, lambda temporary: temporary.write_text(text, encoding="utf-8"))

    trainer.run(state=folder.state(seed), after_epoch=write_log, title="train")
    if trainer.main:
        epochs = len(trainer.history)
        save_weights(folder.checkpoint(seed, epochs), trainer.model, {"epoch": epochs, "step": trainer.step})
    return _seconds(trainer)


def _seconds(trainer: Trainer) -> float:
    """The time of all epochs, also of those before an interruption."""
    return round(sum(entry["seconds"] for entry in trainer.history), 3)


def _weights(selection: Selection | None, rows: np.ndarray | None, n: int) -> torch.Tensor | None:
    if selection is None or selection.weight is None:
        return None
    weights = torch.zeros(n)
    weights[torch.from_numpy(rows)] = torch.from_numpy(selection.weights)
    return weights


def _order(sampler: EpochSampler | str | None, rows: np.ndarray | None, n: int, job: Job, seed: int) -> EpochSampler:
    if sampler is None:
        return SubsetSampler(n if rows is None else rows, seed=seed)
    if not isinstance(sampler, str):
        return _fitted(sampler, job.source)
    name, _, rest = sampler.partition(":")
    if name != "rs2":
        raise unknown_name("sampler", name, ["rs2"])
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    unknown = sorted(set(options) - {"keep", "replacement", "stratified"})
    if unknown or "keep" not in options:
        raise OptionError(
            f"sampler {sampler!r}: write rs2:keep=10% with, if wanted, ,replacement=true and ,stratified=true."
        )
    flags = {key: _flag(key, options[key]) for key in ("replacement", "stratified") if key in options}
    labels = job.source.labels if flags.pop("stratified", False) else None
    return RS2Sampler(n, options["keep"], seed=seed, labels=labels, **flags)


def _fitted(sampler: Any, source: Source) -> EpochSampler:
    """A sampler of the user's, if it is one of ours and of this data; positions in the source become rows."""
    if isinstance(sampler, SubsetSampler) and sampler.indices is not None:
        return SubsetSampler(rows_of(sampler.indices, source), shuffle=sampler.shuffle, seed=sampler.seed)
    if not isinstance(sampler, EpochSampler):
        raise OptionError(
            f"a {type(sampler).__name__} is no sampler of datadiet.sampling: give SubsetSampler or RS2Sampler."
        )
    n = sampler.n if isinstance(sampler, RS2Sampler) else len(sampler)
    if isinstance(sampler, RS2Sampler | SubsetSampler) and n != len(source):
        raise OptionError(
            f"the sampler draws from {n} examples and there are {len(source)} to train on: make it for these."
        )
    return sampler


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise OptionError(f"{name}={text!r}: give true or false.")
    return text.lower() == "true"


def _sampler_name(sampler: EpochSampler | str) -> str:
    """A sampler in the plan: its spec, or a hash of what its first epochs begin with."""
    if isinstance(sampler, str):
        return sampler
    places = np.arange(min(len(sampler), 1 << 16))
    orders = array_digest(np.concatenate([sampler.order(epoch)(places) for epoch in range(3)]))
    return f"{type(sampler).__name__}(len={len(sampler)}, seed={sampler.seed}, orders={orders})"
