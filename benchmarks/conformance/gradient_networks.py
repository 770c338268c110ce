"""Networks whose per-example gradient norms are compared."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, relative_difference

__all__ = ["agreement", "batch", "grouped", "network", "ours"]


def network(groups: int = 1) -> Any:
    """Two convolutions, the second in groups, and a linear layer; the same weights each time."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2, groups=groups), nn.ReLU(),
        nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(256, 10),
    ).eval()  # fmt: skip


def batch(n: int) -> Arrays:
    """Images of 32 x 32 and labels."""
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(n, 3, 32, 32)).astype(np.float32), "y": rng.integers(0, 10, n)}


def ours(data: Arrays, *, groups: int = 1) -> Arrays:
    """`dd.grad_norms`."""
    import torch

    import datadiet as dd

    model = network(groups)
    parts = zip(*(torch.from_numpy(data[name]).split(128) for name in ("x", "y")), strict=True)
    return {"norm": torch.cat([dd.grad_norms(model, x, y) for x, y in parts]).numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    ratio = b["norm"] / a["norm"]
    return {"largest relative difference": relative_difference(a["norm"], b["norm"]), "median ratio": np.median(ratio)}


grouped = partial(ours, groups=4)
