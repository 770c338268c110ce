"""A teacher for trainers that are not ours: what it says of a batch, and the loss that a student then minimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from datadiet.data.batch import sent
from datadiet.errors import OptionError
from datadiet.models.running import logits_of, placed
from datadiet.signals.targets import as_rows
from datadiet.tasks import Classification
from datadiet.training.distill import auto_kd_weight, check_distillation

__all__ = ["Teaching"]


@dataclass(eq=False)
class Teaching:
    """How a student learns from a teacher: `attach(trainer, teacher=Teaching(network, kd_weight=0.5))`.

    In a loop of your own, `losses` takes the place of the cross-entropy. The loss of an example is that of
    `datadiet.training.distill`, so weights of a selection multiply both terms.

    >>> taught = Teaching(np.array([[0.0, 0.0], [3.0, 1.0]]), kd_weight=1.0, temperature=1.0)
    >>> student = torch.tensor([[2.0, 0.0]])
    >>> taught.losses(student, torch.tensor([1]), [1], inputs=None)  # the same distribution
    tensor([0.])

    Attributes:
        teacher: a network that takes what the student takes, or its logits (n, C), a row for each example of the data
            set: an array, or `dd.open_vectors` of stored ones.
        kd_weight: of the distillation term, in [0, 1]; "auto" follows from the share of the data that an epoch shows.
        temperature: of both softmaxes, positive.

    Raises:
        OptionError: a teacher that is neither, or a number out of range.
    """

    teacher: Any
    kd_weight: float | str = "auto"
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if not isinstance(self.teacher, nn.Module) and len(getattr(self.teacher, "shape", ())) != 2:
            raise OptionError(
                f"a teacher of type {type(self.teacher).__name__}: give a network, or its logits as an array (n, C)."
            )
        check_distillation(0.0 if self.kd_weight == "auto" else self.kd_weight, self.temperature)

    def check(self, n: int) -> None:
        """Refuse logits of other data than n examples."""
        if not isinstance(self.teacher, nn.Module) and len(self.teacher) != n:
            raise OptionError(
                f"the teacher's logits have {len(self.teacher)} rows, and the data set {n} examples: give one for each."
            )

    def losses(
        self,
        logits: Tensor,
        targets: Tensor,
        index: Tensor | np.ndarray,
        inputs: Any,
        *,
        share: float = 1.0,
        losses: Tensor | None = None,
    ) -> Tensor:
        """The losses (B,) that the student minimises: their mean, or their weighted mean, goes backwards.

        Args:
            logits: (B, C) of the student.
            targets: (B,) integers in 0..C-1.
            index: (B,) positions of the examples in the data set.
            inputs: what the student was given: a tensor, or a mapping of arguments.
            share: of the data that the epoch shows, in (0, 1], which "auto" follows from.
            losses: (B,) on the labels; None = their cross-entropy.

        Raises:
            OptionError: the teacher has other classes, or no row for an example.
        """
        if not 0 < share <= 1:
            raise OptionError(f"share={share}: give the share of the data that the epoch shows, above 0 and at most 1.")
        taught = self._logits(index, inputs, logits.device)
        if taught.shape != logits.shape:
            raise OptionError(
                f"the teacher gives logits of shape {tuple(taught.shape)}, and the student of shape "
                f"{tuple(logits.shape)}: give a teacher of the same classes."
            )
        if losses is None:
            losses = functional.cross_entropy(logits.float(), targets, reduction="none")
        weight = auto_kd_weight(share) if self.kd_weight == "auto" else float(self.kd_weight)
        away = Classification(logits.shape[1]).divergence(logits, taught, targets, self.temperature)
        return (1 - weight) * losses + weight * self.temperature**2 * away

    @torch.no_grad()
    def _logits(self, index: Tensor | np.ndarray, inputs: Any, device: torch.device) -> Tensor:
        """What the teacher says of a batch, (B, C) float32."""
        if isinstance(self.teacher, nn.Module):
            self.teacher = placed(self.teacher, device).eval()
            found = self.teacher(**inputs) if isinstance(inputs, Mapping) else self.teacher(inputs)
            return logits_of(found).float()
        rows = as_rows(index).cpu().numpy()
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.teacher):
            raise OptionError(
                f"the teacher's logits have {len(self.teacher)} rows, and the batch has example "
                f"{rows.max() if rows.min() >= 0 else rows.min()}: give a row for each example of the data set."
            )
        return sent(torch.from_numpy(np.ascontiguousarray(np.asarray(self.teacher[rows], dtype=np.float32))), device)
