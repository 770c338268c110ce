"""The learning-rate schedule, as a factor of the highest rate.

It runs over the steps that are really taken. With RS2 or a small subset that compresses the curve, so that the rate
reaches its end within the reduced number of steps, as the RS2 paper prescribes (Okanovic et al. 2024, arXiv
2305.18424): cosine over rounds x ceil(k / B) steps.
"""

from __future__ import annotations

import math

from datadiet.errors import OptionError

__all__ = ["lr_factor"]


def lr_factor(schedule: str, step: int, total: int, warmup: float = 0.25) -> float:
    """The factor for step 0..total-1.

    Args:
        schedule: "onecycle": a linear rise from 1/25 over the first `warmup` share, then half a cosine to 0;
            "cosine": half a cosine to 0; "constant": 1.
        step: the step about to be taken.
        total: all steps of the training.
        warmup: the rise of "onecycle", in [0, 1).

    >>> [round(lr_factor("cosine", step, 4), 3) for step in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    if not 0 <= step < total:
        raise OptionError(f"step {step} is outside the schedule of {total} steps.")
    if schedule == "constant":
        return 1.0
    rise = warmup * total if schedule == "onecycle" else 0.0
    if step < rise:
        return 1 / 25 + (1 - 1 / 25) * step / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / (total - rise)))
