"""What scoring and training have in common: data, model and recipe, opened and made to fit each other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from datadiet.data import Feed, Source, open_data, resolve_augment
from datadiet.data.scheme import held_out_share
from datadiet.errors import DataError, OptionError, first_line
from datadiet.files import array_digest, digest
from datadiet.models import Classification, ModelSource, evaluating, load_checkpoint, open_model
from datadiet.runtime import pick_device, planned_threads
from datadiet.training import Recipe
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import inputs_of_runs, normalisation_for

__all__ = ["Job", "open_job"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class Job:
    """Everything that a training or an evaluation starts from.

    Attributes:
        feed: the examples, prepared and augmented as the recipe says.
        held_out: the evaluation set, prepared alike, or None.
        model: where networks come from.
        recipe: how to train.
        task: what outputs mean.
        reference: the reference examples, prepared alike, or None.
        fallback: what becomes of layers whose gradient per example is not known: None or "vmap".
    """

    feed: Feed
    held_out: Feed | None
    model: ModelSource
    recipe: Recipe
    task: Classification
    reference: Feed | None = None
    fallback: Literal["vmap"] | None = None

    @cached_property
    def reference_hash(self) -> str:
        """A hash of the identity of the reference data; empty without any."""
        if self.reference is None:
            return ""
        source = self.reference.source
        return digest([source.identity(), array_digest(np.ascontiguousarray(source.index))])

    @property
    def source(self) -> Source:
        """The examples."""
        return self.feed.source

    @property
    def classes(self) -> int:
        """The number of classes."""
        return len(self.source.class_names)

    def fresh(self, seed: int) -> nn.Module:
        """A newly initialised network on the device, its kernels laid out like the images of the feed."""
        model = self.model.fresh(seed).to(self.feed.device)
        volumes = any(p.ndim == 5 for p in model.parameters())  # which have no channels_last layout
        return model if volumes else model.to(memory_format=torch.channels_last)

    def loaded(self, checkpoint: Any) -> nn.Module:
        """A network with the weights of a checkpoint, in evaluation mode."""
        return load_checkpoint(self.fresh(0), checkpoint).eval()

    def _architecture(self) -> str:
        """A hash of the modules and shapes of the network, and of the weights of one that is trained."""
        model = self.fresh(0) if self.model.trained is None else self.model.trained
        state = {name: list(value.shape) for name, value in model.state_dict().items()}
        weights = "" if self.model.trained is None else weights_digest(model)
        return digest([str(model), state, weights])

    def what(self) -> dict[str, Any]:
        """What decides the bytes, as JSON values for a plan."""
        source = self.source
        return {
            "data": source.identity(),
            "eval": None if self.held_out is None else self.held_out.source.identity(),
            "rows": None if _is_whole(source) else array_digest(np.ascontiguousarray(source.index)),
            "model": self.model.spec,
            "architecture": self._architecture(),
            "classes": self.classes,
            "recipe": {name: value for name, value in self.recipe.as_dict().items() if name != "workers"},
            "inputs": self.feed.describe(),
            "device": self.feed.device.type,
            "torch": torch.__version__,
        }


def _is_whole(source: Source) -> bool:
    return bool(len(source.index) == source.identity()["n"] and (source.index == np.arange(len(source.index))).all())


def open_job(
    dataset: Any,
    model: str | nn.Module | Callable[[], nn.Module],
    *,
    eval: Any = None,
    reference: Any = None,
    checkpoints: Sequence[Path | None] = (),
    fallback: Literal["vmap"] | None = None,
    recipe: Recipe | Mapping[str, Any] | None = None,
    device: str = "auto",
    out: str | Path | None = None,
) -> Job:
    """Open data and model and fit them together.

    Images of different sizes are resized to the size the model family expects; the normalisation is that of the run
    which the checkpoints come from, else it is measured on this data; "auto" augmentation is resolved.

    Args:
        dataset: a data spec, a torch or Hugging Face data set, or an opened `Source`.
        model: a model spec, a function that makes a network, or a trained network.
        eval: held-out data, or a share such as "10%" to split off; digits bring their own.
        reference: reference data, or a share to split off.
        checkpoints: weights that will be evaluated.
        fallback: see `Job`.
        recipe: a Recipe, or some of its fields.
        device: "auto" or a torch device.
        out: the run folder; a run that is continued keeps its number of threads.

    Raises:
        DataError: no labels, a single class, evaluation data of another shape or with other classes, inputs of another
            kind than those of the checkpoints, or an input that cannot be read or holds NaN (see `Source.look_through`;
            the data of a run that is continued are not looked through again).
    """
    recipe = Recipe().with_options(recipe or {}) if not isinstance(recipe, Recipe) else recipe
    source = open_data(dataset)
    if source.labels is None:
        raise DataError(
            f"{source.spec} has no labels, and a classifier needs them: name their column (--label COLUMN)."
        )
    if len(source.class_names) < 2:
        raise DataError(f"{source.spec} has the single class {source.class_names[0]!r}: there is nothing to classify.")
    if fallback not in (None, "vmap"):
        raise OptionError(f"fallback={fallback!r}: give vmap, or leave it out.")
    source, held_out = _split(source, eval)
    source, compared = _split(source, reference, "reference") if reference is not None else (source, None)
    trained_on = inputs_of_runs(checkpoints)
    resized = not source.uniform
    if resized:
        size = trained_on["shape"][-1] if trained_on else open_model(model, (3, 224, 224), 2).size or 224
        source = source.resized(size)
        held_out, compared = (None if part is None else part.resized(size) for part in (held_out, compared))
    begun = planned_threads(out)
    for part in (compared, *(() if begun else (source, held_out))):
        if part is not None:
            part.look_through()
    found = open_model(model, source.shape, len(source.class_names))
    small = prod(source.shape) <= 1024  # threads would wait for each other longer than they compute
    threads = recipe.threads or begun or (1 if small else torch.get_num_threads())
    recipe = replace(recipe, augment=resolve_augment(recipe.augment, source.shape), threads=threads)
    feed = Feed(source, normalisation_for(source, trained_on), pick_device(device), recipe.augment, recipe.workers)
    held, references = (
        None if part is None else feed.on(part.with_classes(source.class_names)) for part in (held_out, compared)
    )
    job = Job(feed, held, found, recipe, Classification(recipe.label_smoothing), references, fallback)
    _try(job)
    _log.info(
        "%d examples of %d classes, inputs %s, augmentation %s, %s on %s",
        len(source), job.classes, source.shape, recipe.augment, found.spec, feed.device,
    )  # fmt: skip
    if references is not None and held is not None and references.source.identity() == held.source.identity():
        _log.warning("the reference data is also the evaluation data: what was chosen by it looks better on it")
    if resized:
        _log.info("images of several sizes are resized to %d pixels", source.shape[-1])
    _say_normalisation(feed, bool(trained_on), evaluated=bool(checkpoints) or found.trained is not None)
    return job


def _say_normalisation(feed: Feed, known: bool, evaluated: bool) -> None:
    scale = feed.normalisation
    if scale is None:
        return
    if len(feed.source.shape) == 3:
        mean, std = (", ".join(f"{v:.1f}" for v in part) for part in (scale.mean, scale.std))
        whence = "as in the run of the checkpoints" if known else "measured on this data"
        _log.info("inputs are normalised by mean %s and standard deviation %s, %s", mean, std, whence)
    if evaluated and not known:
        _log.info("how the inputs of this network were normalised is not known: it was measured on this data")


@torch.no_grad()
def _try(job: Job) -> None:
    """Refuse a model that cannot take the data, before anything is written."""
    model = job.fresh(0) if job.model.trained is None else job.model.trained.to(job.feed.device)
    rows = np.arange(min(2, len(job.source)))
    next(job.feed.batches(rows, 2, torch.Generator()))  # the augmentation fits the inputs
    inputs, _, _ = next(job.feed.batches(rows, 2))
    try:
        with evaluating(model):
            logits = model(inputs)
    except (RuntimeError, TypeError, ValueError) as error:
        raise OptionError(
            f"{job.model.spec} cannot take inputs of shape {job.source.shape} ({first_line(error)}): choose another "
            "model, or convert the data."
        ) from None
    needed = (len(inputs), job.classes)
    if getattr(logits, "shape", None) != needed:
        found = f"outputs of shape {tuple(logits.shape)}" if hasattr(logits, "shape") else f"a {type(logits).__name__}"
        raise OptionError(
            f"{job.model.spec} gives {found} for {len(inputs)} inputs, and {job.classes} classes need {needed}: "
            "give it as many outputs."
        )


def _split(source: Source, eval: Any, option: str = "eval") -> tuple[Source, Source | None]:
    if eval is None:
        bundled = source.spec == "digits" and source.identity() == open_data("digits").identity()
        return source, open_data("digits", split="eval") if bundled else None
    share = held_out_share(eval, option)
    if share is not None:
        return source.split_off(share, seed=0)  # the same part whatever the seed of the training
    held_out = open_data(eval)
    if held_out.identity() == source.identity() and np.isin(held_out.index, source.index).any():
        raise DataError(
            f"{held_out.spec} is also the training data: name other data, its split (--{option}-split), or a share."
        )
    return source, held_out
