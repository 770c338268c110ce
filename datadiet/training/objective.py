"""What a training step minimises: an objective turns a batch into outputs and losses, one per example."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from datadiet.data.batch import Batch
from datadiet.tasks import Task

__all__ = ["Forward", "Objective", "Supervised", "autocast"]

Forward = Callable[[Batch], Tensor]  # the logits of the network in training mode, at the recipe's precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Objective(Protocol):
    """What is minimised. The loop weights and averages the losses, so that weights multiply all terms of an example.

    Code that drops examples of a batch is an objective, not a sampler.
    """

    def __call__(self, forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
        """The outputs (B, …) of the network and the differentiable losses (B,)."""
        ...


@dataclass(frozen=True)
class Supervised:
    """The loss of the task."""

    task: Task

    def __call__(self, forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
        """The outputs (B, …) and the losses (B,) on the targets."""
        outputs = forward(batch)
        return outputs, self.task.losses(outputs, batch.targets)


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """The context in which a network runs in training at a precision of the recipe."""
    dtype = _DTYPES.get(precision)
    return torch.autocast(device.type, dtype=dtype, enabled=dtype is not None)
