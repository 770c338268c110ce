"""The task: what a model's outputs mean. The training loop and the evaluation go through it.

Classification is the only one today, and `signals/outputs.py` holds its signals; a causal language model would bring
its own loss per example here and its own signals there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Classification", "Task"]


class Task(Protocol):
    """What the training loop and the evaluation need to know."""

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B,) the loss of each example, differentiable."""
        ...

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B,) bool, whether each example is answered right."""
        ...


@dataclass(frozen=True)
class Classification:
    """Single-label classification by softmax cross-entropy.

    Attributes:
        label_smoothing: in [0, 1); smoothing corrupts confidence-based scores, so it is 0 unless asked for.
    """

    label_smoothing: float = 0.0

    def losses(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, C) logits and (B,) labels -> (B,) cross-entropy in nats."""
        return functional.cross_entropy(
            outputs.float(), targets, reduction="none", label_smoothing=self.label_smoothing
        )

    def correct(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(B, C) logits and (B,) labels -> (B,) bool."""
        return torch.eq(outputs.argmax(dim=1), targets)
