"""Logits in few bytes: the k largest of each example, with 8-bit values, and how much is left for the other classes.

A row holds, for one view of one example, 3 k + 4 bytes: the k classes (their low bytes, then their high bytes, the
largest logit first), how far each logit is below the largest one (uint8, in steps of 1/255 of the largest distance),
that largest distance (float16), and the distance of a common logit that the other classes get (float16). That one is
chosen so that the softmax at temperature 1 gives the other classes together what they had, spread evenly ("marginal
smoothing"; Shen and Xing: A Fast Knowledge Distillation Framework for Visual Recognition, ECCV 2022, arXiv 2112.01528).
Logits, not probabilities, are kept, so that a student may use any temperature. Only differences of logits matter to a
softmax, so the largest is 0 when they are unpacked.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["MOST_CLASSES", "pack", "packed_width", "unpack"]

MOST_CLASSES = 1 << 16  # that fit into two bytes


def packed_width(top: int) -> int:
    """The bytes of a row.

    >>> packed_width(10)
    34
    """
    return 3 * top + 4


def pack(logits: Tensor, top: int) -> Tensor:
    """The rows of some logits.

    Args:
        logits: (B, C) with top < C <= 65,536.
        top: how many of the largest are kept, at least 1.

    Returns:
        (B, 3 top + 4) uint8, on the device of the logits.
    """
    values, classes = logits.float().topk(top, dim=1)
    below = values[:, :1] - values
    largest = below[:, -1:].half().float()  # as it is stored, so that the steps fit it
    steps = torch.where(largest > 0, below / largest * 255, 0.0).round().clamp(0, 255)
    log_p = logits.float().log_softmax(dim=1)
    kept = log_p.gather(1, classes).exp().sum(dim=1, keepdim=True)
    rest = (1 - kept).clamp_min(torch.finfo(torch.float32).tiny).log() - math.log(logits.shape[1] - top)
    others = (log_p.max(dim=1, keepdim=True).values - rest).clamp(0, torch.finfo(torch.float16).max)
    parts = [
        (classes & 255).to(torch.uint8),
        (classes >> 8).to(torch.uint8),
        steps.to(torch.uint8),
        torch.cat([largest, others], dim=1).half().view(torch.uint8),
    ]
    return torch.cat(parts, dim=1)


def unpack(rows: Tensor, top: int, classes: int) -> Tensor:
    """Logits whose largest is 0.

    Args:
        rows: (B, 3 top + 4) uint8.
        top: how many were kept.
        classes: C.

    Returns:
        (B, C) float32, on the device of the rows.
    """
    places = rows[:, :top].long() + (rows[:, top : 2 * top].long() << 8)
    steps = rows[:, 2 * top : 3 * top].float()
    distances = rows[:, 3 * top :].clone(memory_format=torch.contiguous_format).view(torch.float16).float()
    logits = (-distances[:, 1:]).expand(-1, classes).clone()
    return logits.scatter_(1, places, -steps / 255 * distances[:, :1])
