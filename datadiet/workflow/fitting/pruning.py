"""Model pruning within a training: from what the user says to the hook that prunes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.files import array_digest
from datadiet.randomness import derive, mix64
from datadiet.runtime import settings
from datadiet.sparsity import MASKS, Pace, PruningSpec, read_pace, read_sparsify
from datadiet.sparsity.allocation import kept_of
from datadiet.sparsity.bip import BiP
from datadiet.sparsity.cost import ModelCost, costs_of
from datadiet.sparsity.masks import Masks
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.prune_and_grow import Growth
from datadiet.sparsity.spec import Context
from datadiet.table import Selection
from datadiet.training import Trainer
from datadiet.training.bilevel import Bilevel
from datadiet.training.growing import Growing
from datadiet.training.hooks import Hook
from datadiet.training.sparse import Rewinding, Sparse
from datadiet.workflow.checkpoints import last_checkpoint
from datadiet.workflow.fitting.schedules import rows_of
from datadiet.workflow.session import Session

__all__ = ["PruningOptions", "say_costs"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class PruningOptions:
    """What the user says about model pruning.

    Attributes:
        sparsify: such as "global_magnitude:0.9"; or masks that stay as they are, also as "masks:RUN", which are the
            zeros of its last checkpoint; None = nothing is pruned.
        when: such as "start", "cubic:0.25-0.75", "rigl" or "bip"; None = at once for methods that do not need a trained
            network, and where training starts from trained weights; otherwise cubic.
        keep_dense: names of layers to leave alone.
        on: a selection of the examples that methods may read; None = all that are trained on.
        started: whether training starts from trained weights.
    """

    sparsify: str | Masks | None
    when: str | None = None
    keep_dense: Sequence[str] = ()
    on: Selection | str | Path | None = None
    started: bool = False

    def __post_init__(self) -> None:
        if self.sparsify is None and (self.when or self.keep_dense or self.on is not None):
            raise OptionError(
                "sparsify_when, sparsify_on and keep_dense are about model pruning: give sparsify= (--sparsify)."
            )
        if isinstance(self.sparsify, str) and not self.sparsify.startswith(MASKS):
            (spec, _), pace = self.method, self.pace  # refused before any work
            if isinstance(pace, (Growth, BiP)) and not spec.exact:
                raise OptionError(
                    f"sparsify_when={pace.kind} grows weights anywhere in a layer, and {spec.name} keeps a pattern: "
                    "choose another method, such as random_weights, or sparsify_when=cubic."
                )
        elif self.sparsify is not None and (self.keep_dense or self.on is not None):
            raise OptionError(
                "masks stay as they are: leave out keep_dense= (--keep-dense) and sparsify_on= (--sparsify-on)."
            )
        elif self.sparsify is not None and (
            not isinstance(self.sparsify, (Masks, str)) or self.when not in (None, "start")
        ):
            raise OptionError(
                f"sparsify of type {type(self.sparsify).__name__}, sparsify_when={self.when!r}: give the name of a "
                "method, or Masks, which hold from the start."
            )

    def opened(self, session: Session) -> PruningOptions:
        """The same, with the masks of a run as `Masks`.

        Raises:
            OptionError: the run has no checkpoint, or its network has no zeros.
            DataError: its weights are not those of this network.
        """
        if not isinstance(self.sparsify, str) or not self.sparsify.startswith(MASKS):
            return self
        path = last_checkpoint(self.sparsify.removeprefix(MASKS), "sparsify=masks")
        masks = Masks.from_zeros(session.model.loaded(path, session.fresh(0)))
        if masks.density() == 1:
            raise OptionError(f"{path} has no weights that are zero: name a run that was pruned.")
        return replace(self, sparsify=masks)

    @cached_property
    def method(self) -> tuple[PruningSpec, dict[str, Any]]:
        """The record of the method, and its parameters."""
        assert isinstance(self.sparsify, str)
        return read_sparsify(self.sparsify)

    @cached_property
    def pace(self) -> Pace:
        """When to prune."""
        if isinstance(self.sparsify, Masks):
            return Pace()
        at_once = self.started or self.method[0].when == "start"
        return read_pace(self.when or ("start" if at_once else "cubic"))

    def plan(self, trainer: Trainer, session: Session) -> dict[str, Any]:
        """What pruning adds to the plan of a run; nothing if there is none.

        Raises:
            OptionError: a layer that the network does not have, masks of another network, too high a sparsity, or a
                schedule that learns from a training that starts again.
            FingerprintMismatch: `on` is a selection from other data.
        """
        if self.sparsify is None:
            return {}
        if isinstance(self.sparsify, Masks):
            self.sparsify.check(trainer.model)
            kept = {name: mask.cpu().contiguous().numpy() for name, mask in self.sparsify.items()}
            return {"sparsify": {name: array_digest(mask) for name, mask in kept.items()}}
        spec, given = self.method
        kept_of(self._weights(trainer.model), given["sparsity"])
        if self.pace.rewinds and trainer.schedule.reads is not None:
            raise OptionError(
                f"sparsify_when={self.pace.kind} goes back to an early step, and the sampler learns from later ones: "
                "train with a selection or with rs2, or choose sparsify_when=cubic (--sparsify-when cubic)."
            )
        rows = self._rows(session)
        about = {"method": spec.name, **given, "when": asdict(self.pace), "keep_dense": sorted(self.keep_dense)}
        return {"sparsify": about | ({} if rows is None else {"on": array_digest(rows)})}

    def hooks(self, trainer: Trainer, session: Session) -> list[Hook]:
        """The hook that prunes while the network trains, if one does."""
        if self.sparsify is None:
            return []
        if isinstance(self.sparsify, Masks):
            masks, device = self.sparsify, trainer.feed.device
            return [Sparse(trainer, lambda _: masks.to(device), 1 - masks.density(), self.pace)]
        presented = np.sort(trainer.schedule.order(0)(np.arange(trainer.schedule.begin(0))))
        choose = self.chooser(trainer.model, session, trainer.seed, presented)
        if isinstance(self.pace, BiP):
            chosen = self._rows(session)
            rows = presented if chosen is None else chosen
            return [Bilevel(trainer, choose, self.method[1]["sparsity"], self.pace, rows)]
        kind = Growing if isinstance(self.pace, Growth) else Rewinding if self.pace.rewinds else Sparse
        return [kind(trainer, choose, self.method[1]["sparsity"], self.pace)]

    def masks(self, trainer: Trainer) -> Masks | None:
        """Those of the trained network, if it was pruned."""
        if self.sparsify is None:
            return None
        return Masks.from_zeros(
            trainer.model, self.sparsify if isinstance(self.sparsify, Masks) else self._weights(trainer.model)
        )

    def chooser(self, model: nn.Module, session: Session, seed: int, presented: np.ndarray) -> Callable[[float], Masks]:
        """sparsity -> masks of a network as it is.

        Args:
            model: the network.
            session: of its data.
            seed: of the training.
            presented: rows of the examples that a method may read, unless `on` says which.
        """
        (spec, given), weights, seed = self.method, self._weights(model), derive(seed, "sparsity")
        chosen = self._rows(session)
        rows = presented if chosen is None else chosen
        drawn = rows[np.argsort(mix64(seed, "examples", rows), kind="stable")]

        def batches(n: int) -> Iterator[Batch]:
            """Of these examples, n drawn at random; 0 = all."""
            return session.feed.batches(drawn[:n] if n else drawn, session.recipe.batch_size)

        context = Context(model, session.task.losses, batches, seed)
        return lambda sparsity: Masks(spec.keep(weights, given | {"sparsity": sparsity}, context))

    def _rows(self, session: Session) -> np.ndarray | None:
        """The rows of the examples that methods may read, if the user names them."""
        if self.on is None:
            return None
        selection = Selection.read(self.on) if isinstance(self.on, (str, Path)) else self.on
        return rows_of(selection.placed(session.source).indices, session.source)

    def _weights(self, model: nn.Module) -> dict[str, Tensor]:
        dense = (self.keep_dense,) if isinstance(self.keep_dense, str) else self.keep_dense
        return prunable(model, keep_dense=dense)


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
