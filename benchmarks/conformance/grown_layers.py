"""Sparse layers in the middle of their training, of which weights are dropped and grown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from conformance.case import Arrays
from conformance.pruned_networks import equal_masks

__all__ = ["agreement", "named", "network", "sparse"]

LAYERS = ("0.weight", "2.weight")


def sparse(n: int) -> Arrays:
    """Two layers between n and 128 units: weights, masks with a tenth of them, and gradients."""
    rng, found = np.random.default_rng(0), {}
    for name, shape in zip(LAYERS, ((128, n), (n, 128)), strict=True):
        kept = rng.permutation(128 * n).reshape(shape) < 128 * n // 10
        found[name] = np.where(kept, rng.normal(size=shape), 0).astype(np.float32)
        found[f"kept {name}"] = kept
        found[f"gradient {name}"] = rng.normal(size=shape).astype(np.float32)
    return found


def named(data: Arrays, what: str = "") -> dict[str, Any]:
    """The weights, or with "kept " or "gradient " before their names what belongs to them."""
    import torch

    return {name: torch.from_numpy(data[f"{what}{name}"]) for name in LAYERS}


def network(data: Arrays) -> Any:
    """Both layers, with these weights."""
    from torch import nn

    n = data[LAYERS[0]].shape[1]
    model = nn.Sequential(nn.Linear(n, 128, bias=False), nn.ReLU(), nn.Linear(128, n, bias=False))
    model.load_state_dict(named(data))
    return model


def agreement(data: Arrays, a: Arrays, b: Arrays) -> Mapping[str, float]:
    """The masks, and the share of the kept weights that is exchanged."""
    masks = [{name: side[name] for name in LAYERS} for side in (a, b)]
    return {**equal_masks(data, *masks), "ours exchanged": a["share"].max(), "theirs exchanged": b["share"].max()}
