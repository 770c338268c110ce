"""Masks within a training: given ones that stay as they are, or those of a method, chosen at a pace."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datadiet.errors import OptionError
from datadiet.files import array_digest
from datadiet.sparsity import MASKS, Pace, PruningSpec, read_pace, read_sparsify
from datadiet.sparsity.allocation import floors, kept_of
from datadiet.sparsity.bip import BiP
from datadiet.sparsity.masks import Masks
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.prune_and_grow import Growth
from datadiet.training import Trainer
from datadiet.training.bilevel import Bilevel
from datadiet.training.growing import Growing
from datadiet.training.hooks import Hook
from datadiet.training.sparse import Rewinding, Sparse
from datadiet.workflow.checkpoints import check_class_names, inputs_of_runs, last_checkpoint, removed_in_runs
from datadiet.workflow.fitting.calibration import Calibration
from datadiet.workflow.session import Session

__all__ = ["GivenMasks", "MasksByMethod"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class GivenMasks:
    """Masks that hold from the start and stay as they are.

    Attributes:
        given: the masks; or "masks:RUN", the zeros of its last checkpoint, until it is opened.
    """

    given: Masks | str

    def opened(self, session: Session) -> GivenMasks:
        """The same, with the masks of a run as `Masks`.

        Raises:
            OptionError: the run has no checkpoint, its network has no zeros, or it lost other channels.
            DataError: its weights are not those of this network.
        """
        if isinstance(self.given, Masks):
            return self
        if self.given == MASKS:
            raise OptionError(
                "sparsify='masks:' (--sparsify) names no run: write masks:RUN, where RUN is a run that was pruned."
            )
        path = last_checkpoint(self.given.removeprefix(MASKS), "sparsify=masks")
        check_class_names(session.source, inputs_of_runs([path]), f"the weights of {path}")
        if removed_in_runs([path]) != session.model.removed:
            raise OptionError(
                f"the networks of {path} and of this training lost different channels: start from the network that "
                "these masks were found on, start= (--start RUN)."
            )
        masks = Masks.from_zeros(session.model.loaded(path, session.fresh(0)))
        if masks.density() == 1:
            lacks = " It lacks channels, which leave no masks." if session.model.removed else ""
            raise OptionError(f"{path} has no weights that are zero: name a run that was pruned with masks.{lacks}")
        return replace(self, given=masks)

    def plan(self, trainer: Trainer, session: Session) -> dict[str, Any]:
        """What determines the masks.

        Raises:
            OptionError: masks of another network.
        """
        self._masks.check(trainer.model)
        kept = {name: mask.cpu().contiguous().numpy() for name, mask in self._masks.items()}
        return {"sparsify": {name: array_digest(mask) for name, mask in kept.items()}}

    def hooks(self, trainer: Trainer, session: Session) -> list[Hook]:
        """The hook that applies them."""
        masks = self._masks.to(trainer.feed.device)
        return [Sparse(trainer, lambda _: masks, 1 - masks.density(), Pace())]

    def masks(self, trainer: Trainer) -> Masks:
        """Those of the trained network."""
        return Masks.from_zeros(trainer.model, self._masks)

    @property
    def _masks(self) -> Masks:
        assert isinstance(self.given, Masks), "opened before"
        return self.given


@dataclass(frozen=True)
class MasksByMethod:
    """Masks that a method chooses while the network trains.

    Attributes:
        sparsify: such as "global_magnitude:0.9".
        when: such as "start", "cubic:0.25-0.75", "rigl" or "bip"; None = at once for methods that do not need a trained
            network, and where training starts from trained weights; otherwise cubic.
        keep_dense: names of layers to leave alone.
        calibration: the examples that the method may read.
        started: whether training starts from trained weights.
    """

    sparsify: str
    when: str | None = None
    keep_dense: tuple[str, ...] = ()
    calibration: Calibration = field(default_factory=Calibration)
    started: bool = False

    def __post_init__(self) -> None:
        (spec, given), pace = self.method, self.pace  # refused before any work
        if not isinstance(pace, BiP):  # whose masks read examples themselves
            self.calibration.check(spec, given)
        if isinstance(pace, (Growth, BiP)) and not spec.exact:
            raise OptionError(
                f"sparsify_when={pace.kind} grows weights anywhere in a layer, and {spec.name} keeps a pattern: "
                "choose another method, such as random_weights, or sparsify_when=cubic."
            )

    @cached_property
    def method(self) -> tuple[PruningSpec, dict[str, Any]]:
        """The record of the method, and its parameters."""
        spec, given = read_sparsify(self.sparsify)
        assert isinstance(spec, PruningSpec), "read_pruning decides"
        return spec, given

    @cached_property
    def pace(self) -> Pace:
        """When to prune."""
        at_once = self.started or self.method[0].when == "start"
        return read_pace(self.when or ("start" if at_once else "cubic"))

    def opened(self, session: Session) -> MasksByMethod:
        """The same: nothing has to be read first."""
        return self

    def plan(self, trainer: Trainer, session: Session) -> dict[str, Any]:
        """What determines the masks.

        Raises:
            OptionError: a layer that the network does not have, too high a sparsity, or a schedule that learns from a
                training that starts again.
            FingerprintMismatch: the examples to read are of other data.
        """
        spec, given = self.method
        kept_of(self._weights(trainer.model), given["sparsity"])
        if self.pace.rewinds and trainer.schedule.reads is not None:
            raise OptionError(
                f"sparsify_when={self.pace.kind} goes back to an early step, and the sampler learns from later ones: "
                "train with a selection or with rs2, or choose sparsify_when=cubic (--sparsify-when cubic)."
            )
        about = {"method": spec.name, **given, "when": asdict(self.pace), "keep_dense": sorted(self.keep_dense)}
        return {"sparsify": about | self.calibration.plan(session)}

    def hooks(self, trainer: Trainer, session: Session) -> list[Hook]:
        """The hook that prunes."""
        spec, given = self.method
        if spec.when == "trained" and not self.started and self.pace.at_once:
            _log.warning(
                "the network is not trained, so the sizes of its weights say little: give trained weights with start= "
                "(--start RUN), or choose a method for the start, such as random_weights"
            )
        _log.info(
            "pruning %g %% of the weights by %s (sparsify_when=%s)", 100 * given["sparsity"], spec.name, self.pace
        )
        presented = np.sort(trainer.schedule.order(0)(np.arange(trainer.schedule.begin(0))))
        choose = self.chooser(trainer.model, session, trainer.seed, presented)
        if isinstance(self.pace, BiP):
            rows = self.calibration.rows(session, presented)
            least = floors(self._weights(trainer.model), {**spec.parameters, **given}.get("min_per_layer", 1.0))
            return [Bilevel(trainer, choose, given["sparsity"], self.pace, rows, least)]
        kind = Growing if isinstance(self.pace, Growth) else Rewinding if self.pace.rewinds else Sparse
        return [kind(trainer, choose, given["sparsity"], self.pace)]

    def masks(self, trainer: Trainer) -> Masks:
        """Those of the trained network."""
        return Masks.from_zeros(trainer.model, self._weights(trainer.model))

    def all_kept(self, model: nn.Module) -> Masks:
        """Masks of a network of which nothing is pruned."""
        return Masks({name: torch.ones_like(weight, dtype=torch.bool) for name, weight in self._weights(model).items()})

    def chooser(self, model: nn.Module, session: Session, seed: int, presented: np.ndarray) -> Callable[[float], Masks]:
        """sparsity -> masks of a network as it is; arguments as in `Calibration.context`."""
        (spec, given), weights = self.method, self._weights(model)
        context = self.calibration.context(model, session, seed, presented)
        return lambda sparsity: Masks(spec.keep(weights, given | {"sparsity": sparsity}, context))

    def _weights(self, model: nn.Module) -> dict[str, Tensor]:
        return prunable(model, keep_dense=self.keep_dense)
