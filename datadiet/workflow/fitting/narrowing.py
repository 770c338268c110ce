"""Channels that are removed before a training: from then on, it is that of a smaller network."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from torch import nn

from datadiet.errors import OptionError, require
from datadiet.models.narrow import Removed, rebuilt
from datadiet.runtime import settings
from datadiet.sparsity import ChannelSpec, read_sparsify
from datadiet.workflow.fitting.calibration import Calibration
from datadiet.workflow.session import Session

__all__ = ["Narrowing"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class Narrowing:
    """What the user says about removing channels.

    Attributes:
        sparsify: such as "channels:0.5,round_to=8".
        when: None or "start".
        keep_dense: names of layers to leave as wide as they are.
        calibration: the examples that the method may read.
        started: whether training starts from trained weights.

    Raises:
        MissingExtra: torch-pruning is not installed.
        OptionError: options that do not fit.
    """

    sparsify: str
    when: str | None = None
    keep_dense: tuple[str, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    started: bool = False

    def __post_init__(self) -> None:
        spec, given = self.method
        self.calibration.check(spec, given)
        if self.when not in (None, "start"):
            raise OptionError(
                f"sparsify_when={self.when!r} (--sparsify-when): {spec.name} are removed before training starts, so "
                "leave it out, or choose a method that sets weights to zero, such as global_magnitude."
            )
        require("torch_pruning", "prune")

    @cached_property
    def method(self) -> tuple[ChannelSpec, dict[str, Any]]:
        """The record of the method, and its parameters."""
        spec, given = read_sparsify(self.sparsify)
        assert isinstance(spec, ChannelSpec), "read_pruning decides"
        return spec, given

    def plan(self, session: Session) -> dict[str, Any]:
        """What determines the channels.

        Raises:
            FingerprintMismatch: the examples to read are of other data.
        """
        spec, given = self.method
        about = {"method": spec.name, **given, "keep_dense": sorted(self.keep_dense)}
        return {"sparsify": about | self.calibration.plan(session)}

    def narrow(
        self, network: nn.Module, session: Session, seed: int, presented: np.ndarray, planned: Sequence[Removed] = ()
    ) -> tuple[nn.Module, Session]:
        """A smaller network, and the session whose networks are like it.

        Args:
            network: on the device of the session; it may change in place.
            session: whose networks are like it.
            seed: of the training.
            presented: rows of the examples that are trained on.
            planned: all that the network of the run to continue lacks. It loses the same again, since gradients differ
                a little between devices.

        Raises:
            OptionError: a sparsity out of reach, an unknown layer, or a network whose channels cannot be removed.
            FingerprintMismatch: the examples to read are of other data.
        """
        found = _again(network, planned, session)
        small, removed = found or self._chosen(network, session, seed, presented)
        lacking = (*session.model.removed, removed)
        return small, replace(session, model=replace(session.model, removed=lacking))

    def _chosen(
        self, network: nn.Module, session: Session, seed: int, presented: np.ndarray
    ) -> tuple[nn.Module, Removed]:
        """The network without the channels that the method chooses."""
        spec, given = self.method
        if not self.started and given.get("importance", "magnitude") == "magnitude":
            _log.warning(
                "the network is not trained, so the sizes of its weights say little about its channels: give trained "
                "weights with start= (--start RUN)"
            )
        context = self.calibration.context(network, session, seed, presented)
        with settings(session.recipe.threads, session.recipe.precision):
            return spec.fn(context, example=session.feed.first(2), keep_dense=self.keep_dense, **given)


def _again(network: nn.Module, planned: Sequence[Removed], session: Session) -> tuple[nn.Module, Removed] | None:
    """The network without the channels that the run to continue removed; None if there is no such run."""
    lacking = session.model.removed
    if len(planned) != len(lacking) + 1 or tuple(planned[:-1]) != lacking:
        return None
    try:
        return rebuilt(network, planned[-1]), planned[-1]
    except OptionError:  # the run is of another network, which its plan will say
        return None
