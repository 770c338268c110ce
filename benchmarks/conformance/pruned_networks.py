"""A small network of convolutions that is pruned, made of torch's layers or of a peer's."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Arrays

__all__ = ["as_masks", "equal_masks", "images", "network", "pruned"]


def images(n: int) -> Arrays:
    """Images of 16 x 16 and labels of 10 classes, as many of each, in turn."""
    rng = np.random.default_rng(0)
    return {"x": rng.normal(size=(n, 3, 16, 16)).astype(np.float32), "y": np.arange(n) % 10}


def network(layers: Any = None, norm: bool = False) -> Any:
    """Three convolutions and a linear layer, 26,032 weights, the same each time.

    Args:
        layers: a module with Conv2d, Linear and BatchNorm2d; None = torch's.
        norm: whether BatchNorm follows each convolution.
    """
    import torch
    from torch import nn

    kinds, parts, before = layers or nn, [], 3
    for width in (16, 32, 64):
        parts += [kinds.Conv2d(before, width, 3, stride=2, padding=1)]
        parts += [kinds.BatchNorm2d(width)] if norm else []
        parts, before = [*parts, nn.ReLU()], width
    model = nn.Sequential(*parts, nn.Flatten(), kinds.Linear(256, 10))
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
            centre = float(norm and parameter.ndim == 1)  # of a normalisation, and of biases, which it takes away
            parameter.copy_(centre + scale * torch.randn(parameter.shape, generator=draws))
    return model


def as_masks(model: Any, kept: Any) -> Arrays:
    """Named masks, from those of the layers in order."""
    names = [name for name, parameter in model.named_parameters() if parameter.ndim > 1]
    return {name: mask.detach().bool().numpy() for name, mask in zip(names, kept, strict=True)}


def pruned(data: Arrays, *, method: str, sparsity: float, norm: bool = False, size: int = 0, **how: Any) -> Arrays:
    """The masks of `dd.sparsify`.

    Args:
        data: images and labels.
        method: its name.
        sparsity: the share that is pruned.
        norm: whether the network has BatchNorm.
        size: of the batches; 0 = all in one.
        how: parameters of the method.
    """
    import torch

    import datadiet as dd

    parts = [torch.from_numpy(data[name]).split(size or len(data["x"])) for name in ("x", "y")]
    masks = dd.sparsify(network(norm=norm), method, sparsity, batches=list(zip(*parts, strict=True)), **how)
    return {name: mask.numpy() for name, mask in masks.state_dict().items()}


def equal_masks(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The share of weights on which both agree, and how many each keeps."""
    return {
        "equal entries of the masks": sum((a[name] == b[name]).sum() for name in a) / sum(a[name].size for name in a),
        "kept by ours": sum(mask.sum() for mask in a.values()),
        "kept by theirs": sum(mask.sum() for mask in b.values()),
    }
