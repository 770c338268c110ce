"""The logits and targets of a user's training loop as (B, C) and (B,), or one sentence that says what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.errors import OptionError

__all__ = ["as_classes"]


def as_classes(logits: Any, targets: Any, soft: bool = False) -> tuple[Tensor, Tensor]:
    """Logits and class numbers.

    Args:
        logits: (B, C) numbers, C >= 2: a tensor or an array.
        targets: (B,) or (B, 1) class numbers, or (B, C) with a single 1 in each row (one-hot).
        soft: also take (B, C) probabilities, by their largest.

    Returns:
        logits (B, C), and targets (B,) int64 on their device.

    Raises:
        OptionError: anything else. On an accelerator class numbers out of range are found by torch, later.
    """
    z, y = _tensor(logits, "logits"), _tensor(targets, "targets")
    if z.ndim != 2 or z.shape[1] < 2 or not z.is_floating_point():
        raise OptionError(f"logits have dtype {z.dtype} and shape {tuple(z.shape)}: {_logits_advice(z, y)}")
    y = y.to(z.device)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if tuple(y.shape) == tuple(z.shape):
        return z, _from_rows(y, soft)
    if y.ndim != 1 or len(y) != len(z):
        raise OptionError(
            f"targets of shape {tuple(y.shape)} for logits of shape {tuple(z.shape)}: give one class number per "
            "example, shape (B,), (B, 1) or one-hot (B, C)."
        )
    return z, _numbers(y, z.shape[1])


def _tensor(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        return torch.as_tensor(array.astype(array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, RuntimeError):
        raise OptionError(f"{name} are a {type(values).__name__}: give a tensor.") from None


def _logits_advice(z: Tensor, y: Tensor) -> str:
    if z.ndim > 2:
        return "a Recorder takes one label per example, shape (B, C); pool over pixels or tokens first."
    if (z.ndim == 2 and z.shape[1] == 1) or (z.ndim == 1 and y.ndim == 1 and len(y) == len(z) > 1):
        return "for a model with a single output z pass (B, 2), torch.stack([torch.zeros_like(z), z], 1)."
    return "give floats of shape (B, C), also for a batch of one."


def _from_rows(y: Tensor, soft: bool) -> Tensor:
    """The class of each row of one-hot or soft targets (B, C)."""
    ones, zeros = (y == 1).sum(dim=1), (y == 0).sum(dim=1)
    if bool(((ones == 1) & (zeros == y.shape[1] - 1)).all()):
        return y.int().argmax(dim=1)
    if bool(((ones + zeros) == y.shape[1]).all()):
        raise OptionError("some targets have several classes, or none: a Recorder takes one label per example.")
    if not soft:
        raise OptionError(
            "targets are probabilities (mixup, smoothing, a teacher): pass the hard labels, or take the largest with "
            "Recorder(soft_targets=True)."
        )
    return y.argmax(dim=1)


def _numbers(y: Tensor, classes: int) -> Tensor:
    if y.is_complex() or (y.is_floating_point() and bool((y != y.round()).any())):
        raise OptionError("targets are not whole numbers: give class numbers.")
    y = y.to(torch.int64)
    if y.device.type == "cpu" and len(y) and (int(y.min()) < 0 or int(y.max()) >= classes):
        wrong = int(y[(y < 0) | (y >= classes)][0])
        hint = "leave ignored examples out of update" if wrong < 0 else "give logits for all classes"
        raise OptionError(f"a target is {wrong}, but the logits have classes 0 to {classes - 1}: {hint}.")
    return y
