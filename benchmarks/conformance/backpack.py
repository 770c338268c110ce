"""BackPACK: per-example gradient norms."""

from __future__ import annotations

from functools import partial

from conformance.case import Arrays, Case, Peer
from conformance.gradient_networks import agreement, batch, grouped, network, ours


def theirs(data: Arrays, *, groups: int = 1) -> Arrays:
    """Norms by `BatchL2Grad`; the loss is a sum, since the gradients of a mean are divided by the batch size."""
    import torch
    from backpack import backpack, extend
    from backpack.extensions import BatchL2Grad

    model, loss = extend(network(groups)), extend(torch.nn.CrossEntropyLoss(reduction="sum"))
    norms = []
    for x, y in zip(*(torch.from_numpy(data[name]).split(128) for name in ("x", "y")), strict=True):
        model.zero_grad()
        with backpack(BatchL2Grad()):
            loss(model(x), y).backward()
        norms.append(sum(p.batch_l2 for p in model.parameters()).sqrt())
    return {"norm": torch.cat(norms).numpy()}


PEER = Peer(
    "BackPACK",
    (
        Case("grand", "1,024 images, two convolutions and a linear layer", 1024, batch, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-4)}),
        Case("grand", "the same, one convolution in 4 groups", 1024, batch, grouped, partial(theirs, groups=4),
             agreement, {"median ratio": (1.0001, 2)},
             "the groups of a convolution are not taken into account there"),
    ),
    ("backpack-for-pytorch==1.7.1",),
)  # fmt: skip
