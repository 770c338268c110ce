"""Opacus: per-example gradients that are kept; of all layers, of the last one, and of its bias, which is p - y."""

from __future__ import annotations

from functools import partial

from conformance.case import Arrays, Case, Peer
from conformance.gradient_networks import agreement, batch, grouped, network, ours


def our_last(method: str, data: Arrays) -> Arrays:
    """From outputs and features alone, without a backward pass."""
    import torch

    from datadiet import scorers
    from datadiet.tasks.classification import output_signals

    model, needs = network(), {"el2n": ("error_norm",), "grand_last": ("error_norm", "feature_norm")}[method]
    with torch.no_grad():
        features = model[:-1](torch.from_numpy(data["x"]))
        signals = output_signals(model[-1](features), torch.from_numpy(data["y"]), features)
    return {"norm": getattr(scorers, method)(*(signals[name].numpy() for name in needs))}


def theirs(data: Arrays, *, groups: int = 1, last: int = 0) -> Arrays:
    """Norms of the per-example gradients of their wrapped network, which has to be in training mode.

    Args:
        data: images and labels.
        groups: of the second convolution.
        last: of how many of the last tensors; 0 = of all.
    """
    import torch
    from opacus import GradSampleModule

    model = GradSampleModule(network(groups).train())
    wanted, norms = list(model.parameters())[-last:], []
    for x, y in zip(*(torch.from_numpy(data[name]).split(128) for name in ("x", "y")), strict=True):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        norms.append(torch.stack([p.grad_sample.flatten(1).norm(dim=1) for p in wanted]).norm(dim=0))
    return {"norm": torch.cat(norms).numpy()}


PEER = Peer(
    "Opacus",
    (
        Case("grand", "1,024 images, two convolutions and a linear layer", 1024, batch, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-4)}),
        Case("grand", "the same, one convolution in 4 groups", 1024, batch, grouped, partial(theirs, groups=4),
             agreement, {"largest relative difference": (0, 1e-4)}),
        Case("grand_last", "1,024 images, the last layer", 1024, batch, partial(our_last, "grand_last"),
             partial(theirs, last=2), agreement, {"largest relative difference": (0, 1e-4)}),
        Case("el2n", "1,024 images, the bias of the last layer", 1024, batch, partial(our_last, "el2n"),
             partial(theirs, last=1), agreement, {"largest relative difference": (0, 1e-4)}),
    ),
    ("opacus==1.6.0",),
)  # fmt: skip
