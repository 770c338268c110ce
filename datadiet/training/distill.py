"""Knowledge distillation: a teacher trained on all the data pays back what selection lost.

Hinton, Vinyals and Dean: Distilling the Knowledge in a Neural Network, 2015 (arXiv 1503.02531); for training on a
selection, Ben-Baruch et al.: Distilling the Knowledge in Data Pruning, ICML 2025 (arXiv 2403.07854). The loss of an
example with label y is

    (1 - w) CE(z, y) + w T^2 KL(softmax(t / T) || softmax(z / T))

with the logits z of the student and t of the teacher, the temperature T and the weight w (`kd_weight`), which
multiplies the distillation term. Other libraries give this weight to the cross-entropy, or none at all.

Deviation: the papers average over the batch; here the loss stays per example, so that the weights of a selection or of
a schedule multiply both terms.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from datadiet.data import Normalisation
from datadiet.data.batch import Batch, map_inputs
from datadiet.errors import OptionError
from datadiet.models.running import call_in_run
from datadiet.tasks import Task
from datadiet.training.objective import Forward, autocast

__all__ = ["TeacherNetwork", "Distillation", "MeanOf", "Teacher", "auto_kd_weight", "check_distillation"]


class Teacher(Protocol):
    """What a student learns from."""

    def __call__(self, batch: Batch) -> Tensor:
        """The logits (B, C) for the view of the examples that the batch holds, float32, without gradient."""
        ...


@dataclass(frozen=True)
class TeacherNetwork:
    """A trained network that sees each batch beside the student.

    Attributes:
        network: in evaluation mode, on the device of the batches.
        rescale: from the student's normalisation to its own; None if both are the same.
        precision: of the recipe.
    """

    network: nn.Module
    rescale: Normalisation | None = None
    precision: str = "fp32"

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Tensor:
        """The logits (B, C)."""
        seen = batch if self.rescale is None else replace(batch, inputs=map_inputs(self.rescale, batch.inputs))
        with autocast(self.precision, batch.targets.device):
            return call_in_run(self.network, seen).float()


@dataclass(frozen=True)
class MeanOf:
    """Several teachers, whose logits are averaged."""

    teachers: Sequence[Teacher]

    def __call__(self, batch: Batch) -> Tensor:
        """The mean logits (B, C)."""
        return torch.stack([teacher(batch) for teacher in self.teachers]).mean(dim=0)


@dataclass(frozen=True)
class Distillation:
    """The objective of a student.

    Attributes:
        task: of the student.
        teacher: gives the logits to imitate.
        weight: w in [0, 1], of the distillation term: a number, or what gives the one of the epoch under way.
        temperature: T > 0.
    """

    task: Task
    teacher: Teacher
    weight: float | Callable[[], float]
    temperature: float

    def __post_init__(self) -> None:
        check_distillation(0.0 if callable(self.weight) else self.weight, self.temperature)

    def __call__(self, forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
        """The student's outputs (B, C), and the losses (B,) against the targets and the teacher."""
        outputs, weight = forward(batch), self.current_weight
        losses = outputs.new_zeros(len(batch), dtype=torch.float32)
        if weight < 1:
            losses = losses + (1 - weight) * self.task.losses(outputs, batch.targets)
        if weight > 0:
            taught = self.task.divergence(outputs, self.teacher(batch), batch.targets, self.temperature)
            losses = losses + weight * self.temperature**2 * taught
        return outputs, losses

    @property
    def current_weight(self) -> float:
        """w of the epoch under way."""
        return self.weight() if callable(self.weight) else self.weight

    def __str__(self) -> str:
        """The formula with its numbers.

        >>> print(Distillation(None, None, 0.75, 4.0))
        loss = 0.25 x cross-entropy + 0.75 x 4^2 x KL(teacher || student) at temperature 4
        """
        weight, t = self.current_weight, f"{self.temperature:g}"
        kd = f"{weight:.3g} x {t}^2 x KL(teacher || student) at temperature {t}"
        return f"loss = {1 - weight:.3g} x cross-entropy + {kd}"


def check_distillation(weight: float | str, temperature: float) -> None:
    """Refuse a weight or a temperature that cannot be.

    Raises:
        OptionError: one of them is out of range, or not a number.
    """
    try:
        fits, positive = 0 <= float(weight) <= 1, 0 < float(temperature) < math.inf
    except (TypeError, ValueError):
        raise OptionError(
            f"kd_weight={weight!r}, temperature={temperature!r}: give numbers (--kd-weight, --temperature)."
        ) from None
    if not fits:
        raise OptionError(f"kd_weight={weight}: give auto, or a number from 0 to 1 (--kd-weight).")
    if not positive:
        raise OptionError(f"temperature={temperature}: give a positive number (--temperature).")


def auto_kd_weight(share: float) -> float:
    """The weight of the distillation term for a share of the data: the less is kept, the more the teacher counts.

    w = min(1, 1/4 + 5/4 log10(1 / share)), by our own measurements (`benchmarks/kd_weight.py`): with true labels the
    best weight rises as the share falls, and is hardly better than others above 1/2; with a fifth of the labels wrong
    it is 1 from half of the data on, and lower weights are far worse. The papers give no formula.

    Args:
        share: of the data that an epoch presents, in (0, 1].

    >>> [round(auto_kd_weight(share), 2) for share in (1.0, 0.5, 0.3, 0.1)]
    [0.25, 0.63, 0.9, 1.0]
    """
    return min(1.0, 0.25 - 1.25 * math.log10(share))
