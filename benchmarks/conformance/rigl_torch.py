"""rigl-torch: which weights are dropped and grown at a step of the training, and how many."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.grown_layers import agreement, named, network, sparse

EVERY, END, SHARE = 100, 1000, 0.3  # steps between exchanges, the last step, and what is exchanged at first


def ours(data: Arrays, *, step: int) -> Arrays:
    """The masks after an exchange, in a window as long as their schedule."""
    from datadiet.sparsity.prune_and_grow import Growth, prune_and_grow

    pace = Growth("rigl", 0, 1, SHARE)
    scores = {name: gradient.abs() for name, gradient in named(data, "gradient ").items()}
    share = pace.exchanged(step / END)
    masks = prune_and_grow(named(data), named(data, "kept "), scores, share)
    return {"share": np.array([share]), **{name: mask.numpy() for name, mask in masks.items()}}


def theirs(data: Arrays, *, step: int) -> Arrays:
    """The masks of their scheduler, which draws those of the start: ours take their place."""
    import torch
    from rigl_torch.RigL import RigLScheduler

    model = torch.nn.Sequential(torch.nn.Linear(2, 2, bias=False), network(data))  # they leave the first layer dense
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler: Any = RigLScheduler(
        model, optimizer, dense_allocation=0.1, T_end=END, delta=EVERY, alpha=SHARE, ignore_linear_layers=False
    )
    scheduler.backward_masks[1:] = named(data, "kept ").values()
    model[1].load_state_dict(named(data))
    scheduler.step = step - 1
    gradients = named(data, "gradient ")
    torch.stack([(gradients[name] * weight).sum() for name, weight in model[1].named_parameters()]).sum().backward()
    scheduler()
    masks = dict(zip(gradients, scheduler.backward_masks[1:], strict=True))
    return {"share": np.array([scheduler.cosine_annealing()]), **{name: mask.numpy() for name, mask in masks.items()}}


def case(what: str, step: int) -> Case:
    """The same masks."""
    return Case("prune_and_grow", what, 1000, sparse, partial(ours, step=step), partial(theirs, step=step), agreement,
                {"equal entries of the masks": (1, 1)})  # fmt: skip


PEER = Peer(
    "rigl-torch",
    (
        case("rigl, 256,000 weights, a tenth kept, early", step=100),
        case("the same, late", step=700),
    ),
    ("rigl-torch==0.5.2",),
)
