"""A well-known implementation of SNIP in torch, which others build on."""

from __future__ import annotations

from functools import partial
from typing import Any

from conformance.case import Arrays, Case, Peer, script
from conformance.pruned_networks import as_masks, equal_masks, images, network

SPARSITY = 0.875


def beginning(data: Arrays, norm: bool) -> tuple[Any, list[Any]]:
    """The network with log-probabilities as outputs, one batch, and a seed."""
    import torch
    from torch import nn

    batch = torch.from_numpy(data["x"]), torch.from_numpy(data["y"])
    model = nn.Sequential(*network(norm=norm), nn.LogSoftmax(1))
    torch.manual_seed(0)
    return model, [batch]


def ours(data: Arrays, *, norm: bool) -> Arrays:
    """The masks of `dd.sparsify`, after the draws that their function begins with."""
    from torch import nn

    import datadiet as dd

    model, batches = beginning(data, norm)
    for layer in model:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.xavier_normal_(layer.weight)
    masks = dd.sparsify(model, "snip", SPARSITY, batches=batches, examples=0, min_per_layer=0)
    return {name: mask.numpy() for name, mask in masks.state_dict().items()}


def theirs(data: Arrays, *, norm: bool) -> Arrays:
    """Their masks."""
    model, batches = beginning(data, norm)
    return as_masks(model, script("snip.py").SNIP(model, 1 - SPARSITY, batches, "cpu"))


def case(what: str, norm: bool) -> Case:
    """The same masks."""
    return Case("snip", what, 256, images, partial(ours, norm=norm), partial(theirs, norm=norm), equal_masks,
                {"equal entries of the masks": (1, 1)})  # fmt: skip


PEER = Peer(
    "snip",
    (
        case("256 images, 87.5 % of 26,032 weights pruned, drawn anew", norm=False),
        case("the same with BatchNorm", norm=True),
    ),
    repository="mil-ad/snip",
)
