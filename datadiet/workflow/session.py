"""What scoring and training have in common: data, model and recipe, opened and fitted to each other."""

from __future__ import annotations

import logging
from collections.abc import Callable
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
from datadiet.errors import DataError, OptionError, named, some_of
from datadiet.files import array_digest, digest
from datadiet.models import HeadTap, ModelSource, call, evaluating, open_model
from datadiet.models.running import placed, token_advice
from datadiet.runtime import pick_device
from datadiet.runtime.hardware import Hardware
from datadiet.runtime.plan import FORMAT
from datadiet.runtime.units import shard_rule
from datadiet.tasks import Classification, Task
from datadiet.training import Recipe
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import (
    check_class_names,
    image_size,
    inputs_of_runs,
    normalisation_for,
    removed_in_runs,
)
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.trained_network import TrainedNetwork, open_trained

__all__ = ["Session", "open_session"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class Session:
    """Everything that training or evaluation starts from.

    Attributes:
        feed: the examples, prepared and augmented as the recipe says.
        held_out: the evaluation set, prepared the same way, or None.
        model: where networks come from.
        recipe: how to train.
        task: what the outputs mean.
        reference: the reference examples, prepared the same way, or None.
        hardware: what does the work.
        threads: of torch, if they do not follow from the hardware; otherwise 0.
        fallback: what to do with layers whose per-example gradient is not known: None or "vmap".
        against: the network to compare with, or None.
    """

    feed: Feed
    held_out: Feed | None
    model: ModelSource
    recipe: Recipe
    task: Task
    hardware: Hardware
    threads: int
    reference: Feed | None = None
    fallback: Literal["vmap"] | None = None
    against: TrainedNetwork | None = None

    @cached_property
    def reference_hash(self) -> str:
        """A hash of the identity of the reference data; empty without any."""
        if self.reference is None:
            return ""
        source = self.reference.source
        return digest([source.identity(), array_digest(np.ascontiguousarray(source.index))])

    def worked_by(self, hardware: Hardware) -> Session:
        """The same, for work on this hardware."""
        recipe = replace(self.recipe, threads=self.threads or hardware.threads)
        return replace(self, hardware=hardware, recipe=recipe)

    @property
    def source(self) -> Source:
        """The examples."""
        return self.feed.source

    def examples(self, of_reference: bool) -> Feed:
        """The examples to score, or those to compare with."""
        feed = self.reference if of_reference else self.feed
        assert feed is not None, "refused earlier"
        return feed

    def fresh(self, seed: int) -> nn.Module:
        """A newly initialised network on the device, its kernels laid out like the images of the feed."""
        model = self.model.fresh(seed).to(self.feed.device)
        volumes = any(p.ndim == 5 for p in model.parameters())  # which have no channels_last layout
        plain = volumes or not self.recipe.channels_last
        return model if plain else model.to(memory_format=torch.channels_last)

    def network(self, checkpoint: Path | None) -> nn.Module:
        """The network with the weights of a checkpoint, in evaluation mode; None = the trained one that was given."""
        if checkpoint is not None:
            return self.model.loaded(checkpoint, self.fresh(0)).eval()
        return self._trained

    @cached_property
    def _trained(self) -> nn.Module:
        assert self.model.trained is not None, "checked earlier"
        return placed(self.model.trained, self.feed.device)

    def any_network(self) -> nn.Module:
        """One of the networks, to inspect."""
        return self.fresh(0) if self.model.trained is None else self.network(None)

    def tap(self, model: nn.Module, head: str | None = None) -> HeadTap:
        """A tap on the last layer of a model, found on two examples of the data, or named `head`."""
        return HeadTap(model, self.feed.first(2), head)

    def name_of(self, feed: Feed) -> Callable[[int], str]:
        """row -> the name of the example in messages, by its id."""
        return lambda row: f"the example {feed.source.ids[int(row)].as_py()!r}"

    def _architecture(self) -> str:
        """A hash of the modules and shapes of the network, and of the weights of one that is trained."""
        model = self.fresh(0) if self.model.trained is None else self.model.trained
        state = {name: list(value.shape) for name, value in model.state_dict().items()}
        weights = "" if self.model.trained is None else weights_digest(model)
        return digest([str(model), state, weights])

    def what(self) -> dict[str, Any]:
        """What determines the bytes, as JSON values for a plan."""
        index, identity = self.source.index, self.source.identity()
        whole = np.array_equal(index, np.arange(identity["n"]))
        return {
            "format": FORMAT,
            "shards": shard_rule(),
            "data": identity,
            "eval": None if self.held_out is None else self.held_out.source.identity(),
            "rows": None if whole else array_digest(np.ascontiguousarray(index)),
            "model": self.model.spec,
            "architecture": self._architecture(),
            "classes": self.task.outputs,
            "class_names": list(self.source.class_names),
            "recipe": self.recipe.as_plan(),
            "inputs": self.feed.describe(),
            **self.hardware.for_plan(self.recipe.precision),
            **({"strip_prefix": self.model.strip_prefix} if self.model.strip_prefix else {}),
            **({"removed": list(self.model.removed)} if self.model.removed else {}),
        }


def open_session(spec: JobSpec) -> Session:
    """Open data and model and fit them together.

    Images of different sizes are resized to the size the model family expects; the normalisation is that of the run the
    checkpoints come from, or else measured on this data; "auto" augmentation is resolved.

    Raises:
        DataError: data that does not suit the task or the checkpoints, evaluation data of another shape or with other
            classes, or an input that cannot be read or holds NaN (see `Source.look_through`; the data of a run to
            continue is not looked through again).
    """
    recipe = spec.recipe if isinstance(spec.recipe, Recipe) else Recipe().with_options(spec.recipe or {})
    if spec.fallback not in (None, "vmap"):
        raise OptionError(f"fallback={spec.fallback!r}: give vmap, or leave it out.")
    source = open_data(spec.dataset)
    task = Classification.of(source, recipe.label_smoothing)
    source, held_out = _split(source, spec.eval)
    source, compared = _split(source, spec.reference, "reference") if spec.reference is not None else (source, None)
    trained_on, removed = inputs_of_runs(spec.checkpoints), removed_in_runs(spec.checkpoints)
    check_class_names(source, trained_on, "the checkpoints")
    resized = not source.uniform
    if resized:
        size = image_size(spec.model, trained_on)
        source = source.resized(size)
        held_out, compared = (None if part is None else part.resized(size) for part in (held_out, compared))
    for part in filter(None, (compared, *(() if spec.threads else (source, held_out)))):
        part.look_through()
    model = replace(open_model(spec.model, source.shape, task.outputs), strip_prefix=spec.strip_prefix, removed=removed)
    recipe = replace(recipe, augment=resolve_augment(recipe.augment, source.shape))
    scale, on = normalisation_for(source, trained_on, recipe.integers), pick_device(spec.device)
    feed = Feed(source, scale, on, recipe.augment, recipe.workers, recipe.augment_seed, recipe.channels_last)
    held, references = (None if part is None else feed.on(task.prepare(part)) for part in (held_out, compared))
    here, threads = Hardware.here(spec.device), _threads(recipe, spec, source)
    session = Session(feed, held, model, recipe, task, here, threads, references, spec.fallback).worked_by(here)
    _try(session)
    if spec.against is not None:
        other = open_trained(spec.against, spec.against_model, session, "against", "the network to compare with")
        session = replace(session, against=other)
        _log.info("compared with %s", other.name)
    _say(session, resized, bool(trained_on), evaluated=bool(spec.checkpoints) or model.trained is not None)
    return session


def _threads(recipe: Recipe, spec: JobSpec, source: Source) -> int:
    """Those of the recipe, or of the run to continue; else one for small inputs, or 0: all that there are."""
    small = prod(source.shape) <= 1024  # threads would wait for each other longer than they compute
    return recipe.threads or spec.threads or int(small)


def _say(session: Session, resized: bool, known: bool, evaluated: bool) -> None:
    source, feed = session.source, session.feed
    _log.info(
        "%d examples of %d classes, inputs %s, augmentation %s, %s",
        len(source), session.task.outputs, source.shape, session.recipe.augment, session.model.spec,
    )  # fmt: skip
    reference, held = session.reference, session.held_out
    if reference is not None and held is not None and reference.source.identity() == held.source.identity():
        _log.warning("the reference data is also the evaluation data: examples chosen by it look better on it")
    if held is not None and not evaluated:
        _say_classes(source, held.source)
    if resized:
        _log.info("images of several sizes are resized to %d pixels", source.shape[-1])
    _say_normalisation(feed, known, evaluated)


def _say_classes(source: Source, held_out: Source) -> None:
    """Name the classes that only one of training and held-out data has."""
    trained, held = (
        np.bincount(np.asarray(part.labels), minlength=len(source.class_names)) for part in (source, held_out)
    )
    for lacks, has, what, so in (
        (held, trained, "held-out", "accuracy says nothing about"),
        (trained, held, "training", "the network cannot learn"),
    ):
        only = np.flatnonzero((lacks == 0) & (has > 0))
        if len(only):
            _log.warning(
                "%s %s no %s example: %s %s",
                some_of((repr(source.class_names[number]) for number in only), 3), "has" if len(only) == 1 else "have",
                what, so, "this class" if len(only) == 1 else f"these {len(only)} classes",
            )  # fmt: skip


def _say_normalisation(feed: Feed, known: bool, evaluated: bool) -> None:
    scale = feed.normalisation
    if scale is None:
        return
    if len(feed.source.shape) == 3:
        mean, std = (", ".join(f"{v:.1f}" for v in part) for part in (scale.mean, scale.std))
        whence = "as in the run of the checkpoints" if known else "measured on this data"
        _log.info("inputs are normalised by mean %s and standard deviation %s, %s", mean, std, whence)
    if evaluated and not known:
        _log.info("the normalisation that this network was trained with is not known: it was measured on this data")


@torch.no_grad()
def _try(session: Session) -> None:
    """Refuse a model that cannot take the data, before anything is written."""
    model, feed = session.any_network(), session.feed
    feed.first(2, view=1)  # the augmentation fits the inputs
    batch = feed.first(2)
    try:
        with evaluating(model):
            outputs = call(model, batch)
    except (OptionError, DataError) as error:
        raise OptionError(f"{session.model.spec}: {error}") from None
    except Exception as error:  # the network may be the user's own
        tokens = session.source.dtype == torch.int64 and feed.normalisation is None
        advice = token_advice(error, batch) or (
            "these are whole numbers, taken as tokens: recipe={'integers': 'numbers'} (--set integers=numbers) makes "
            "them features"
            if tokens
            else "choose another model, or convert the data"
        )
        raise OptionError(
            f"{session.model.spec} cannot take inputs of shape {session.source.shape} ({named(error)}): {advice}."
        ) from error
    session.task.check(session.model.spec, outputs, batch)


def _split(source: Source, eval: Any, option: str = "eval") -> tuple[Source, Source | None]:
    if eval is None:
        bundled = source.spec == "digits" and source.identity() == open_data("digits").identity()
        return source, open_data("digits", split="eval") if bundled else None
    share = held_out_share(eval, option)
    if share is not None:
        return source.split_off(share, seed=0)  # the same part for every training seed
    held_out = open_data(eval)
    if held_out.identity() == source.identity() and np.isin(held_out.index, source.index).any():
        raise DataError(
            f"{held_out.spec} is also the training data: name other data, its split (--{option}-split), or a share."
        )
    return source, held_out
