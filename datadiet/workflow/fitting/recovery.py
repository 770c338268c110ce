"""What prune and recover finds: a row for each network, and what each of them cost."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from datadiet.errors import counted
from datadiet.models.narrow import Removed
from datadiet.report.tables import text_table
from datadiet.sparsity.cost import ModelCost
from datadiet.sparsity.masks import Masks
from datadiet.table import Selection
from datadiet.tasks import Evaluation
from datadiet.workflow.fitting.train import TrainResult

__all__ = ["Recovery", "RecoveryRow", "warn_of_losses"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class RecoveryRow:
    """One network: before pruning, after it, or recovered.

    Attributes:
        name: "dense", "pruned", a selection method, "random" or "all data".
        accuracy: on the held-out data.
        worst_class: the recall of the class that has the lowest.
        kept: examples of the recovery data.
        steps: optimizer steps of the recovery.
        pruning: seconds to prune, of the pruned network.
        choosing: seconds to score and select, 0 for random and all data.
        training: seconds of the recovery.
    """

    name: str
    accuracy: float
    worst_class: float
    kept: int = 0
    steps: int = 0
    pruning: float = 0.0
    choosing: float = 0.0
    training: float = 0.0

    @classmethod
    def of(cls, name: str, found: Evaluation, **more: Any) -> RecoveryRow:
        """That of a network with this evaluation."""
        return cls(name, found.accuracy, min(value for value in found.class_recall if value is not None), **more)

    @classmethod
    def recovered(cls, name: str, result: TrainResult, choosing: float = 0.0) -> RecoveryRow:
        """That of a recovery, which was evaluated."""
        assert result.evaluation is not None, "without held-out data nothing is recovered"
        costs = {"steps": result.steps, "choosing": choosing, "training": result.seconds}
        return cls.of(name, result.evaluation, kept=result.kept, **costs)


def warn_of_losses(rows: Sequence[RecoveryRow]) -> None:
    """Report recoveries that did harm."""
    pruned = next(row for row in rows if row.name == "pruned")
    worse = [row for row in rows if row.steps and row.accuracy < pruned.accuracy]
    if worse:
        _log.warning(
            "recovering on %s left the network worse than pruning did: take more than %s (epochs=, --epochs), or a "
            "smaller learning rate (recipe={'lr': …}, --set lr=…)",
            ", ".join(row.name for row in worse), counted(worse[0].steps, "step"),
        )  # fmt: skip


@dataclass(frozen=True, repr=False)
class Recovery:
    """The result of prune and recover; as text, its table.

    Attributes:
        model: the recovered network, in evaluation mode.
        masks: which of its weights are left; None if channels were removed.
        removed: the channels that it lacks, in the order in which they were removed.
        selection: the examples it recovered on.
        rows: dense, pruned, recovered, and the two baselines.
        costs: of the dense and of the pruned network.
    """

    model: nn.Module
    masks: Masks | None
    removed: tuple[Removed, ...]
    selection: Selection
    rows: tuple[RecoveryRow, ...]
    costs: tuple[ModelCost, ModelCost]

    def __repr__(self) -> str:
        return self.table()

    def table(self) -> str:
        """The rows as text; accuracies in percent, costs in seconds."""
        shown = [
            {
                "name": row.name,
                "accuracy": f"{100 * row.accuracy:.2f}",
                "worst": f"{100 * row.worst_class:.1f}",
                **({"kept": row.kept, "steps": row.steps} if row.steps else {}),
                **({"pruning": f"{row.pruning:.1f}"} if row.pruning else {}),
                **({"choosing": f"{row.choosing:.1f}", "training": f"{row.training:.1f}"} if row.steps else {}),
            }
            for row in self.rows
        ]
        heads = (("name", "network", "left"), ("accuracy", "accuracy (%)", "right"), ("worst", "worst class", "right"),
                 ("kept", "examples", "right"), ("steps", "steps", "right"), ("pruning", "pruning (s)", "right"),
                 ("choosing", "choosing (s)", "right"), ("training", "training (s)", "right"))  # fmt: skip
        return text_table(shown, heads)
