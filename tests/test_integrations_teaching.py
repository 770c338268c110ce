"""The losses of a batch with a teacher, in a loop that is not ours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from datadiet.errors import OptionError
from datadiet.integrations import Teaching
from datadiet.training.distill import auto_kd_weight

N, DIM, CLASSES = 12, 5, 3
INDEX = torch.tensor([7, 0, 11, 3])


class Named(nn.Linear):
    """Takes its inputs by name."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return super().forward(x)


def networks() -> tuple[Named, Named]:
    torch.manual_seed(0)
    return Named(DIM, CLASSES), Named(DIM, CLASSES)


def expected(z: Tensor, t: Tensor, y: Tensor, w: float, temperature: float) -> Tensor:
    """(1 - w) CE + w T^2 KL(teacher || student), an example at a time."""
    found = []
    for student, teacher, label in zip(z, t, y, strict=True):
        p, q = (teacher / temperature).softmax(0), (student / temperature).softmax(0)
        away = sum(p[c] * (p[c].log() - q[c].log()) for c in range(CLASSES))
        found.append((1 - w) * -student.softmax(0)[label].log() + w * temperature**2 * away)
    return torch.stack(found)


@pytest.mark.parametrize("kind", ["network", "named inputs", "logits"])
def test_the_losses_are_those_of_the_formula_and_teach_only_the_student(kind: str) -> None:
    student, teacher = networks()
    data, labels = torch.randn(N, DIM), torch.randint(0, CLASSES, (N,))
    x, y = data[INDEX], labels[INDEX]
    given: Any = teacher(data).detach().numpy() if kind == "logits" else teacher
    inputs: Any = {"network": x, "named inputs": {"x": x}, "logits": None}[kind]
    losses = Teaching(given, kd_weight=0.7, temperature=2.0).losses(student(x), y, INDEX, inputs)
    torch.testing.assert_close(losses, expected(student(x), teacher(x), y, 0.7, 2.0))
    losses.mean().backward()
    assert student.weight.grad is not None and teacher.weight.grad is None


def test_the_weight_follows_the_share_and_the_losses_on_the_labels_may_be_given() -> None:
    student, teacher = networks()
    x, y = torch.randn(4, DIM), torch.randint(0, CLASSES, (4,))
    smooth = functional.cross_entropy(student(x), y, reduction="none", label_smoothing=0.1)
    plain = functional.cross_entropy(student(x), y, reduction="none")
    found = Teaching(teacher).losses(student(x), y, INDEX, x, share=0.5, losses=smooth)
    wanted = expected(student(x), teacher(x), y, auto_kd_weight(0.5), 4.0)
    torch.testing.assert_close(found, wanted + (1 - auto_kd_weight(0.5)) * (smooth - plain))


def test_logits_without_a_row_for_an_example() -> None:
    z, y = torch.zeros(4, CLASSES), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(OptionError, match="11 rows, and the batch has example 11: give a row for each example"):
        Teaching(np.zeros((N - 1, CLASSES))).losses(z, y, INDEX, None)
    with pytest.raises(OptionError, match="the batch has example -1"):
        Teaching(np.zeros((N, CLASSES))).losses(z, y, INDEX - 1, None)
