"""A teacher for trainers that are not ours: what it says of a batch, and the loss that a student then minimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from datadiet.data.batch import sent
from datadiet.errors import OptionError
from datadiet.models.running import logits_of, placed
from datadiet.tasks import Classification
from datadiet.training.distill import auto_kd_weight, check_distillation

__all__ = ["Teaching"]


@dataclass(eq=False)
class Teaching:
    """How a student learns from a teacher: `attach(trainer, teacher=Teaching(network, kd_weight=0.5))`.

    The loss of an example is that of `datadiet.training.distill`, so weights of a selection multiply both terms.

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

    @torch.no_grad()
    def logits(self, index: np.ndarray, inputs: Mapping[str, Any], device: torch.device) -> Tensor:
        """What the teacher says of a batch, (B, C) float32.

        Args:
            index: (B,) positions of the examples.
            inputs: what the student was given, without labels.
            device: of the student.
        """
        if not isinstance(self.teacher, nn.Module):
            rows = np.ascontiguousarray(np.asarray(self.teacher[index], dtype=np.float32))
            return sent(torch.from_numpy(rows), device)
        self.teacher = placed(self.teacher, device).eval()
        found = self.teacher(**inputs)
        return logits_of(found).float()

    def losses(self, logits: Tensor, targets: Tensor, taught: Tensor, losses: Tensor, share: float) -> Tensor:
        """The losses (B,) that the student minimises.

        Args:
            logits: (B, C) of the student.
            targets: (B,) labels.
            taught: (B, C) of the teacher.
            losses: (B,) on the labels.
            share: of the data that the epoch shows.

        Raises:
            OptionError: the teacher has other classes.
        """
        if taught.shape != logits.shape:
            raise OptionError(
                f"the teacher gives logits of shape {tuple(taught.shape)}, and the student of shape "
                f"{tuple(logits.shape)}: give a teacher of the same classes."
            )
        weight = auto_kd_weight(min(1.0, share)) if self.kd_weight == "auto" else float(self.kd_weight)
        away = Classification(logits.shape[1]).divergence(logits, taught, targets, self.temperature)
        return (1 - weight) * losses + weight * self.temperature**2 * away
