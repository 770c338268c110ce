"""A trained network beside the one of a session, such as a teacher: from a run, a checkpoint or a module."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from datadiet.data import Normalisation
from datadiet.data.batch import Batch, map_inputs
from datadiet.errors import DataError, OptionError, named
from datadiet.files import digest
from datadiet.models import ModelSource, call, evaluating, open_model
from datadiet.models.catalog import MODEL_SCHEMES
from datadiet.models.running import call_in_run, placed
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_record
from datadiet.training.state import weights_digest
from datadiet.workflow.checkpoints import (
    check_class_names,
    inputs_of_runs,
    last_checkpoint,
    normalisation_for,
    removed_in_runs,
)

if TYPE_CHECKING:
    from datadiet.workflow.session import Session

__all__ = ["Builder", "TrainedNetwork", "open_trained", "refuse_code"]

Builder = str | Callable[[], nn.Module]  # a model spec, or a function that makes a network


@dataclass(frozen=True)
class TrainedNetwork:
    """A trained network that sees the batches of a session.

    Attributes:
        network: on the device of these batches.
        rescale: from their normalisation to its own; None if both are the same.
        name: in messages.
    """

    network: nn.Module
    rescale: Normalisation | None
    name: str

    @cached_property
    def identity(self) -> list[Any]:
        """What determines its outputs besides its code, as JSON values for a plan."""
        scale = self.rescale
        return [weights_digest(self.network), None if scale is None else [scale.mean, scale.std]]

    @cached_property
    def hash(self) -> str:
        """A hash of its modules, its weights and how its inputs are rescaled."""
        return digest([str(self.network), *self.identity])

    def seen(self, batch: Batch) -> Batch:
        """A batch of the session as this network takes it."""
        return batch if self.rescale is None else replace(batch, inputs=map_inputs(self.rescale, batch.inputs))

    def __call__(self, batch: Batch) -> Tensor:
        """The logits (B, C) for a batch of the session."""
        return call_in_run(self.network, self.seen(batch))


def open_trained(given: Any, model: Builder | None, session: Session, option: str, role: str) -> TrainedNetwork:
    """Open a run (its first seed's last epoch), a checkpoint or a network, and try it on two examples.

    Args:
        given: one of these.
        model: what the weights belong to; None = what their run says, or, for a file that is in no run, the network of
            the session.
        session: whose batches it will see.
        option: that it was given by; `option`_model names the network of its weights.
        role: what it is, in messages.

    Raises:
        OptionError: weights without a network or a network without weights, a network that cannot take the data or has
            another number of classes, or code that only a file names.
        DataError: weights that do not fit.
    """
    if isinstance(given, nn.Module):
        name = f"an instance of {type(given).__name__}"
        found = TrainedNetwork(placed(given, session.feed.device), None, name)
    else:
        _refuse_untrained(given, option)
        found = _loaded(given, model, session, option)
    with evaluating(found.network):
        _try(found, session, role)
    return found


def _refuse_untrained(given: Any, option: str) -> None:
    if isinstance(given, str) and given.partition(":")[0] in MODEL_SCHEMES and not Path(given).exists():
        raise OptionError(
            f"{option}={given!r} is a network without trained weights: give a run or a checkpoint (--{option} RUN), "
            f"and {option}_model={given!r} (--{option}-model {given}) if it does not say which network it is of."
        )


def _loaded(given: str | Path, model: Builder | None, session: Session, option: str) -> TrainedNetwork:
    """The network of a checkpoint, with the normalisation of its run, if it is in one."""
    path = last_checkpoint(given, option)
    run = Layout.of_checkpoint(path)
    said = {} if run is None else read_record(run.manifest).get("plan", {})
    source = _source(model, said, path, session, option)
    removed = removed_in_runs([path])  # also of a file in no run, whose network is the session's at full width
    opener = replace(session, model=replace(source, strip_prefix=session.model.strip_prefix, removed=removed))
    try:
        network = opener.network(path)
    except DataError as error:
        if model is not None or said:
            raise
        raise DataError(
            f"{error} The network was taken to be that of model=, {session.model.spec}: name another with "
            f"{option}_model= (--{option}-model SPEC)."
        ) from error
    trained_on = inputs_of_runs([path])
    check_class_names(session.source, trained_on, f"the weights of {path}")
    scale = normalisation_for(session.source, trained_on, session.recipe.integers) if trained_on else None
    ours = session.feed.normalisation
    rescale = None if scale is None or ours is None or scale == ours else scale.after(ours)
    return TrainedNetwork(network, rescale, f"{source.spec} of {path}")


def _source(model: Builder | None, said: Mapping[str, Any], path: Path, session: Session, option: str) -> ModelSource:
    """Where the network of a checkpoint comes from: what the user says, what its run says, or the session."""
    own = session.model
    spec = model or said.get("model")
    if spec is not None and spec != own.spec:
        if model is None:
            refuse_code(str(spec), path, f"{option}_model")
        return open_model(spec, session.source.shape, session.task.outputs)
    trained = own.trained
    return own if trained is None else replace(own, trained=None, build=lambda: copy.deepcopy(trained))


def refuse_code(spec: str, path: Path, option: str) -> None:
    """Refuse the spec in the run of a checkpoint unless it names a network of a library; `option` names another."""
    if spec.partition(":")[0] not in MODEL_SCHEMES or spec.startswith("py:"):
        raise OptionError(
            f"the run of {path} trained {spec}, and a file must not decide what code runs: name the network yourself, "
            f"{option}={spec!r} (--{option.replace('_', '-')} {spec})."
        )


@torch.no_grad()
def _try(found: TrainedNetwork, session: Session, role: str) -> None:
    """Refuse a network that cannot take the data, before anything is written."""
    batch = session.feed.first(2)
    try:
        outputs = call(found.network, found.seen(batch))
    except Exception as error:  # the network may be the user's own
        raise OptionError(
            f"{role}, {found.name}, cannot take inputs of shape {session.source.shape} ({named(error)}): give one that "
            "was trained on such data."
        ) from error
    session.task.check(f"{role}, {found.name}", outputs, batch)
