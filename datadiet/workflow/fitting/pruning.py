"""Model pruning within a training: from what the user says to the hook that prunes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.files import array_digest
from datadiet.randomness import derive, mix64
from datadiet.sparsity import Pace, PruningSpec, read_sparsify
from datadiet.sparsity.allocation import kept_of
from datadiet.sparsity.masks import Masks
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.spec import Context
from datadiet.table import Selection
from datadiet.training import Trainer
from datadiet.training.hooks import Hook
from datadiet.training.sparse import Rewinding, Sparse
from datadiet.workflow.fitting.schedules import rows_of
from datadiet.workflow.session import Session

__all__ = ["PruningOptions"]


@dataclass(frozen=True)
class PruningOptions:
    """What the user says about model pruning.

    Attributes:
        sparsify: such as "global_magnitude:0.9"; None = nothing is pruned.
        when: such as "start" or "cubic:0.25-0.75"; None = at once for methods that do not need a trained network, and
            where training starts from trained weights; otherwise cubic.
        keep_dense: names of layers to leave alone.
        on: a selection of the examples that methods may read; None = all that are trained on.
        started: whether training starts from trained weights.
    """

    sparsify: str | None
    when: str | None = None
    keep_dense: Sequence[str] = ()
    on: Selection | str | Path | None = None
    started: bool = False

    def __post_init__(self) -> None:
        if self.sparsify is None and (self.when or self.keep_dense or self.on is not None):
            raise OptionError(
                "sparsify_when, sparsify_on and keep_dense are about model pruning: give sparsify= (--sparsify)."
            )
        if self.sparsify is not None:
            _ = self.method, self.pace  # refused before any work

    @cached_property
    def method(self) -> tuple[PruningSpec, dict[str, Any]]:
        """The record of the method, and its parameters."""
        assert self.sparsify is not None
        return read_sparsify(self.sparsify)

    @cached_property
    def pace(self) -> Pace:
        """When to prune."""
        at_once = self.started or self.method[0].when == "start"
        return Pace.read(self.when or ("start" if at_once else "cubic"))

    def plan(self, trainer: Trainer, session: Session) -> dict[str, Any]:
        """What pruning adds to the plan of a run; nothing if there is none.

        Raises:
            OptionError: a layer that the network does not have, too high a sparsity, or a schedule that learns from a
                training that starts again.
            FingerprintMismatch: `on` is a selection from other data.
        """
        if self.sparsify is None:
            return {}
        spec, given = self.method
        kept_of(self._weights(trainer), given["sparsity"])
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
        kind = Rewinding if self.pace.rewinds else Sparse
        return [kind(trainer, self._chooser(trainer, session), self.method[1]["sparsity"], self.pace)]

    def masks(self, trainer: Trainer) -> Masks | None:
        """Those of the trained network, if it was pruned."""
        return None if self.sparsify is None else Masks.from_zeros(trainer.model, self._weights(trainer))

    def _chooser(self, trainer: Trainer, session: Session) -> Callable[[float], Masks]:
        """sparsity -> masks of the network as it is."""
        (spec, given), weights, seed = self.method, self._weights(trainer), derive(trainer.seed, "sparsity")
        rows = self._rows(session)
        if rows is None:
            rows = np.sort(trainer.schedule.order(0)(np.arange(trainer.schedule.begin(0))))
        drawn = rows[np.argsort(mix64(seed, "examples", rows), kind="stable")]

        def batches(n: int) -> Iterator[Batch]:
            """Of the chosen examples, n drawn at random; 0 = all."""
            return session.feed.batches(drawn[:n] if n else drawn, session.recipe.batch_size)

        context = Context(trainer.model, session.task.losses, batches, seed)
        return lambda sparsity: Masks(spec.keep(weights, given | {"sparsity": sparsity}, context))

    def _rows(self, session: Session) -> np.ndarray | None:
        """The rows of the examples that methods may read, if the user names them."""
        if self.on is None:
            return None
        selection = Selection.read(self.on) if isinstance(self.on, (str, Path)) else self.on
        return rows_of(selection.placed(session.source).indices, session.source)

    def _weights(self, trainer: Trainer) -> dict[str, Tensor]:
        dense = (self.keep_dense,) if isinstance(self.keep_dense, str) else self.keep_dense
        return prunable(trainer.model, keep_dense=dense)
