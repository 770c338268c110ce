"""torchdistill: the loss of a student and its gradient."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference

TEMPERATURE, CLASSES = 4.0, 10


def logits(n: int) -> Arrays:
    """Of a student and of its teacher, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, n)
    student, noise = (rng.normal(size=(n, CLASSES)).astype(np.float32) for _ in range(2))
    return {"student": 2 * student, "teacher": noise + 6 * np.eye(CLASSES, dtype=np.float32)[labels], "labels": labels}


def ours(data: Arrays, *, weight: float) -> Arrays:
    """The mean over the batch, as a training takes it."""
    import torch

    from datadiet.data.batch import Batch
    from datadiet.tasks.classification import Classification
    from datadiet.training.distill import Distillation

    student, teacher, labels = (torch.from_numpy(data[name]) for name in ("student", "teacher", "labels"))
    student.requires_grad_()
    objective = Distillation(Classification(CLASSES), lambda _: teacher, weight, TEMPERATURE)
    loss = objective(lambda _: student, Batch(student, labels, torch.arange(len(labels))))[1].mean()
    return {"loss": loss.detach().numpy(), "gradient": torch.autograd.grad(loss, student)[0].numpy()}


def theirs(data: Arrays, *, weight: float) -> Arrays:
    """Their weight is that of the labels."""
    import torch
    from torchdistill.losses.mid_level import KDLoss

    student, teacher, labels = (torch.from_numpy(data[name]) for name in ("student", "teacher", "labels"))
    student.requires_grad_()
    criterion = KDLoss("fc", "output", "fc", "output", TEMPERATURE, alpha=1 - weight)
    loss = criterion({"fc": {"output": student}}, {"fc": {"output": teacher}}, labels)
    return {"loss": loss.detach().numpy(), "gradient": torch.autograd.grad(loss, student)[0].numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The ratio of the losses, and how far the gradients are apart."""
    return {
        "ratio of losses": float(a["loss"] / b["loss"]),
        "largest relative difference of gradients": relative_difference(a["gradient"], b["gradient"]),
    }


PEER = Peer(
    "torchdistill",
    (
        Case("distillation", "weight 0.75, temperature 4, 10,000 examples", 10_000, logits, partial(ours, weight=0.75),
             partial(theirs, weight=0.75), agreement,
             {"ratio of losses": (0.99999, 1.00001), "largest relative difference of gradients": (0, 1e-5)}),
        Case("distillation", "the same, weight 1", 10_000, logits, partial(ours, weight=1.0),
             partial(theirs, weight=1.0), agreement, {"ratio of losses": (15.999, 16.001)},
             "without labels the factor of the squared temperature is left out there"),
    ),
    ("torchdistill==1.1.5",),
)  # fmt: skip
