"""Model pruning: what the user says about it, and what a network costs before and after."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import nn

from datadiet.errors import OptionError
from datadiet.models.narrow import Removed
from datadiet.runtime import settings
from datadiet.sparsity import CHANNELS, MASKS
from datadiet.sparsity.cost import ModelCost, costs_of
from datadiet.sparsity.masks import Masks
from datadiet.table import Selection
from datadiet.training import Trainer
from datadiet.training.hooks import Hook
from datadiet.workflow.fitting.calibration import Calibration
from datadiet.workflow.fitting.masking import GivenMasks, MasksByMethod
from datadiet.workflow.fitting.narrowing import Narrowing
from datadiet.workflow.session import Session

__all__ = ["PrunedNetwork", "Pruning", "Unpruned", "prune_copy", "read_pruning", "say_costs"]

_log = logging.getLogger("datadiet")


class Pruning(Protocol):
    """What happens to the weights while a network trains: nothing, given masks, or those of a method."""

    def opened(self, session: Session) -> Pruning:
        """The same, with everything read that it needs."""

    def plan(self, trainer: Trainer, session: Session) -> dict[str, Any]:
        """What it adds to the plan of a run; refuses what does not fit the network or the data."""

    def hooks(self, trainer: Trainer, session: Session) -> Sequence[Hook]:
        """What prunes while the network trains."""

    def masks(self, trainer: Trainer) -> Masks | None:
        """Those of the trained network, if it was pruned."""


class Unpruned:
    """All weights stay."""

    def opened(self, session: Session) -> Unpruned:
        """The same."""
        return self

    def plan(self, trainer: Trainer, session: Session) -> dict[str, Any]:
        """Nothing."""
        return {}

    def hooks(self, trainer: Trainer, session: Session) -> list[Hook]:
        """None."""
        return []

    def masks(self, trainer: Trainer) -> None:
        """None."""


def read_pruning(
    sparsify: str | Masks | None,
    when: str | None = None,
    keep_dense: Sequence[str] = (),
    on: Selection | str | Path | None = None,
    started: bool = False,
) -> Pruning | Narrowing:
    """What the arguments of `train` about pruning mean.

    Args:
        sparsify: such as "global_magnitude:0.9" or "channels:0.5"; or masks that stay as they are, also as "masks:RUN",
            which are the zeros of its last checkpoint; None = nothing is pruned.
        when: such as "start", "cubic:0.25-0.75" or "rigl"; None = what suits the method.
        keep_dense: names of layers to leave alone.
        on: a selection of the examples that methods may read; None = all that are trained on.
        started: whether training starts from trained weights.

    Returns:
        What happens while the network trains; or the channels to remove before.

    Raises:
        MissingExtra: removing channels needs torch-pruning, and it is not installed.
        OptionError: options that do not fit each other.
    """
    if sparsify is None:
        if when or keep_dense or on is not None:
            raise OptionError(
                "sparsify_when, sparsify_on and keep_dense are about model pruning: give sparsify= (--sparsify)."
            )
        return Unpruned()
    if isinstance(sparsify, str) and not sparsify.startswith(MASKS):
        dense = (keep_dense,) if isinstance(keep_dense, str) else tuple(keep_dense)
        kind = Narrowing if sparsify.partition(":")[0] in CHANNELS else MasksByMethod
        return kind(sparsify, when, dense, Calibration(on), started)
    if keep_dense or on is not None:
        raise OptionError(
            "masks stay as they are: leave out keep_dense= (--keep-dense) and sparsify_on= (--sparsify-on)."
        )
    if not isinstance(sparsify, (Masks, str)):
        raise OptionError(f"sparsify is of type {type(sparsify).__name__}: give the name of a method, or Masks.")
    if when not in (None, "start"):
        raise OptionError(
            f"given masks hold from the start: leave out sparsify_when={when!r} (--sparsify-when), or name a method."
        )
    return GivenMasks(sparsify)


@dataclass(frozen=True)
class PrunedNetwork:
    """A network that was pruned at once.

    Attributes:
        network: with zeros, or smaller.
        masks: which weights are left; None if channels were removed.
        session: whose networks are like it: its `what()` and `model.removed` say which channels they lack.
    """

    network: nn.Module
    masks: Masks | None
    session: Session

    def with_zeros_as_masks(self) -> PrunedNetwork:
        """The same; what is zero is pruned, as whoever reads its checkpoint sees it."""
        return self if self.masks is None else replace(self, masks=Masks.from_zeros(self.network, self.masks))


def prune_copy(
    pruning: MasksByMethod | Narrowing, dense: nn.Module, session: Session, seed: int, planned: Sequence[Removed] = ()
) -> PrunedNetwork:
    """A pruned copy of a trained network, at once, before any training.

    Args:
        pruning: how; its pace is not looked at.
        dense: on the device of the session; it is left as it is.
        session: of its data. Methods may read all examples, unless `pruning` says which.
        seed: of random choices.
        planned: the channels that the copy of a run to continue lacks.

    Raises:
        OptionError: an unknown layer, a sparsity out of reach, or a network that the method cannot prune.
    """
    network, rows = copy.deepcopy(dense), np.arange(len(session.source))
    if isinstance(pruning, Narrowing):
        small, session = pruning.narrow(network, session, seed, rows, planned)
        return PrunedNetwork(small, None, session)
    with settings(session.recipe.threads, session.recipe.precision):
        masks = pruning.chooser(network, session, seed, rows)(pruning.method[1]["sparsity"])
        masks.apply_(network)
    return PrunedNetwork(network, masks, session)


def say_costs(
    dense: nn.Module, pruned: nn.Module, session: Session, seconds: float = 0.1
) -> tuple[ModelCost, ModelCost]:
    """Report what a network costs before and after pruning, on a batch of 64.

    Args:
        dense, pruned: on the device of the session.
        session: of their inputs.
        seconds: how long to measure each of them.
    """
    with settings(session.recipe.threads, session.recipe.precision):
        before, after = costs_of([dense, pruned], session.feed.first(64), seconds=seconds)
    note = "; zeros alone speed nothing up" if after.parameters == before.parameters else ""
    _log.info("dense: %s", before)
    _log.info("pruned: %s%s", after, note)
    return before, after
