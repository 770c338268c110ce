"""What training minimises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from datadiet.data.batch import Batch
from datadiet.tasks import Task

__all__ = ["Forward", "Objective", "SupervisedLoss"]

Forward = Callable[[Batch], Tensor]  # the logits of the network in training mode, at the recipe's precision


class Objective(Protocol):
    """Turns a batch into the losses to train on. Code that drops examples of a batch is an objective, not a sampler."""

    def __call__(self, forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
        """The outputs (B, …) and the differentiable losses (B,), which the loop weights and averages."""
        ...


@dataclass(frozen=True)
class SupervisedLoss:
    """The loss of the task on the targets: cross-entropy for classification."""

    task: Task

    def __call__(self, forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
        """The outputs and the losses of a batch."""
        outputs = forward(batch)
        return outputs, self.task.losses(outputs, batch.targets)
