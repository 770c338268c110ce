"""The examples that a pruning method reads: those of a selection, or those that are trained on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.files import array_digest
from datadiet.randomness import derive, mix64
from datadiet.sparsity import ChannelSpec, PruningSpec
from datadiet.sparsity.spec import Context
from datadiet.table import Selection
from datadiet.workflow.fitting.schedules import placed_selection, rows_kept
from datadiet.workflow.session import Session

__all__ = ["Calibration"]


@dataclass(frozen=True)
class Calibration:
    """Which examples a pruning method may read.

    Attributes:
        on: a selection of them; None = all that are trained on.
    """

    on: Selection | str | Path | None = None

    def check(self, spec: PruningSpec | ChannelSpec, given: dict[str, Any]) -> None:
        """Refuse a selection for a method that reads no examples.

        Raises:
            OptionError: it is one.
        """
        if self.on is not None and not spec.reads_examples(given):
            raise OptionError(
                f"{spec.name} reads no examples: leave out sparsify_on= (--sparsify-on), or choose a method that reads "
                "some, such as snip, wanda or channels with importance=taylor."
            )

    def plan(self, session: Session) -> dict[str, Any]:
        """What it adds to the plan of a run; nothing without a selection.

        Raises:
            FingerprintMismatch: the selection is of other data.
        """
        rows = self._rows(session)
        return {} if rows is None else {"on": array_digest(rows)}

    def context(self, model: nn.Module, session: Session, seed: int, presented: np.ndarray) -> Context:
        """What a method may read besides the weights.

        Args:
            model: the network.
            session: of its data.
            seed: of the training.
            presented: rows of the examples that are trained on.

        Raises:
            FingerprintMismatch: the selection is of other data.
        """
        rows, seed = self.rows(session, presented), derive(seed, "sparsity")
        drawn = rows[np.argsort(mix64(seed, "examples", rows), kind="stable")]

        def batches(n: int) -> Iterator[Batch]:
            """Of these examples, n drawn at random; 0 = all."""
            return session.feed.batches(drawn[:n] if n else drawn, session.recipe.batch_size)

        return Context(model, session.task.losses, batches, seed)

    def rows(self, session: Session, presented: np.ndarray) -> np.ndarray:
        """Rows of the examples: those of the selection, or those that are trained on.

        Raises:
            FingerprintMismatch: the selection is of other data.
        """
        chosen = self._rows(session)
        return presented if chosen is None else chosen

    def _rows(self, session: Session) -> np.ndarray | None:
        if self.on is None:
            return None
        return rows_kept(placed_selection(self.on, session.source), session.source)[0]
