"""Opacus: per-example gradients that are kept."""

from __future__ import annotations

from functools import partial

from conformance.case import Arrays, Case, Peer
from conformance.gradient_networks import agreement, batch, grouped, network, ours


def theirs(data: Arrays, *, groups: int = 1) -> Arrays:
    """Norms of the per-example gradients of their wrapped network, which has to be in training mode."""
    import torch
    from opacus import GradSampleModule

    model = GradSampleModule(network(groups).train())
    norms = []
    for x, y in zip(*(torch.from_numpy(data[name]).split(128) for name in ("x", "y")), strict=True):
        model.zero_grad()
        torch.nn.functional.cross_entropy(model(x), y).backward()
        norms.append(torch.stack([p.grad_sample.flatten(1).norm(dim=1) for p in model.parameters()]).norm(dim=0))
    return {"norm": torch.cat(norms).numpy()}


PEER = Peer(
    "Opacus",
    (
        Case("grand", "1,024 images, two convolutions and a linear layer", 1024, batch, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-4)}),
        Case("grand", "the same, one convolution in 4 groups", 1024, batch, grouped, partial(theirs, groups=4),
             agreement, {"largest relative difference": (0, 1e-4)}),
    ),
    ("opacus==1.6.0",),
)  # fmt: skip
