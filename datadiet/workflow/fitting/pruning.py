"""Model pruning: what the user says about it, and what a network costs before and after."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from datadiet.errors import OptionError
from datadiet.runtime import settings
from datadiet.sparsity import MASKS
from datadiet.sparsity.cost import ModelCost, costs_of
from datadiet.sparsity.masks import Masks
from datadiet.table import Selection
from datadiet.training import Trainer
from datadiet.training.hooks import Hook
from datadiet.workflow.fitting.calibration import Calibration
from datadiet.workflow.fitting.masking import GivenMasks, MasksByMethod
from datadiet.workflow.session import Session

__all__ = ["Pruning", "Unpruned", "read_pruning", "say_costs"]

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
) -> Pruning:
    """What the arguments of `train` about pruning mean.

    Args:
        sparsify: such as "global_magnitude:0.9"; or masks that stay as they are, also as "masks:RUN",
            which are the zeros of its last checkpoint; None = nothing is pruned.
        when: such as "start", "cubic:0.25-0.75" or "rigl"; None = what suits the method.
        keep_dense: names of layers to leave alone.
        on: a selection of the examples that methods may read; None = all that are trained on.
        started: whether training starts from trained weights.

    Raises:
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
        return MasksByMethod(sparsify, when, dense, Calibration(on), started)
    if keep_dense or on is not None:
        raise OptionError(
            "masks stay as they are: leave out keep_dense= (--keep-dense) and sparsify_on= (--sparsify-on)."
        )
    if not isinstance(sparsify, (Masks, str)) or when not in (None, "start"):
        raise OptionError(
            f"sparsify of type {type(sparsify).__name__}, sparsify_when={when!r}: give the name of a method, or Masks, "
            "which hold from the start."
        )
    return GivenMasks(sparsify)


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
    _log.info("dense: %s", before)
    _log.info("pruned: %s; zeros alone speed nothing up", after)
    return before, after
