"""The authors' code of GraNet: how much is pruned at a step, and which weights are then exchanged."""

from __future__ import annotations

import math
from functools import partial
from typing import Any
from unittest import mock

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout
from conformance.grown_layers import LAYERS, agreement, named, network, sparse
from conformance.pruned_networks import equal_masks

STEPS, EVERY, STEP, SPARSITY, SHARE = 1000, 10, 300, 0.9, 0.5
LEAST = 0.005  # of their share at the last step


def dense(n: int) -> Arrays:
    """The layers before any weight is pruned."""
    rng, data = np.random.default_rng(1), dict(sparse(n))
    return data | {name: rng.normal(size=data[name].shape).astype(np.float32) for name in LAYERS}


def masking(data: Arrays) -> Any:
    """Their masks at this step, all ones; they ask for a GPU, and get the processor."""
    import sys
    from types import SimpleNamespace

    import torch

    sys.path.insert(0, str(checkout() / "CIFAR"))
    from sparselearning.core import CosineDecay, Masking

    model, gradients = network(data), named(data, "gradient ")
    for name, weight in model.named_parameters():
        weight.grad = gradients[name]
    given = {"sparse_init": "ERK", "fix": False, "update_frequency": EVERY, "method": "GMP", "rm_first": False,
             "multiplier": 1, "init_prune_epoch": 0, "final_prune_epoch": 1, "init_density": 1.0,
             "final_density": 1 - SPARSITY}  # fmt: skip
    decay, optimizer = CosineDecay(SHARE, STEPS, LEAST), torch.optim.SGD(model.parameters(), lr=0.1)
    found = Masking(optimizer, SHARE, prune_rate_decay=decay, train_loader=range(STEPS), args=SimpleNamespace(**given))
    with mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor):
        found.add_module(model)
    for _ in range(STEP):
        decay.step()
    found.prune_rate = decay.get_dr()
    return found


def our_pruning(data: Arrays) -> Arrays:
    """The sparsity of the pace, of the largest weights of both layers."""
    from datadiet.sparsity.global_magnitude import global_magnitude
    from datadiet.sparsity.prune_and_grow import Growth

    sparsity = Growth("granet", 0, 1).sparsity(SPARSITY, STEP / STEPS)
    return {name: mask.numpy() for name, mask in global_magnitude(named(data), sparsity, min_per_layer=0).items()}


def their_pruning(data: Arrays) -> Arrays:
    """Their pruning at this step."""
    found = masking(data)
    found.pruning(STEP)
    return {name: found.masks[name].bool().numpy() for name in LAYERS}


def our_exchange(data: Arrays, *, alike: bool, method: str = "granet") -> Arrays:
    """The masks after an exchange; `alike` with their share and their rounding."""
    from datadiet.sparsity.allocation import draws
    from datadiet.sparsity.prune_and_grow import Growth, prune_and_grow

    masks = named(data, "kept ")
    share = Growth("granet", 0, 1, SHARE).exchanged(STEP / STEPS)
    if alike:
        kept = int(masks[LAYERS[0]].sum())  # as many of each
        theirs = LEAST + (SHARE - LEAST) / 2 * (1 + math.cos(math.pi * STEP / STEPS))
        share = (math.ceil(theirs * kept) + 0.5) / kept
    scores = {name: gradient.abs() for name, gradient in named(data, "gradient ").items()}
    scores = draws(masks, 0) if method == "set" else scores
    after = prune_and_grow(named(data), masks, scores, share)
    return {"share": np.array([share]), **{name: mask.numpy() for name, mask in after.items()}}


def their_exchange(data: Arrays) -> Arrays:
    """Their exchange at this step."""
    found = masking(data)
    found.masks = {name: mask.float() for name, mask in named(data, "kept ").items()}
    found.truncate_weights(STEP)
    return {"share": np.array([found.prune_rate]), **{name: found.masks[name].bool().numpy() for name in LAYERS}}


def their_draws(data: Arrays) -> Arrays:
    """What they drop, and grow at random."""
    import torch

    found, kept = masking(data), named(data, "kept ")
    found.masks = {name: mask.float() for name, mask in kept.items()}
    found.gather_statistics()
    result = {}
    for name, weight in named(data).items():
        stay = found.magnitude_death(found.masks[name], weight, name)
        torch.manual_seed(0)
        with mock.patch.object(torch.Tensor, "cuda", lambda tensor: tensor):
            after = found.random_growth(name, stay.byte(), int(kept[name].sum() - stay.sum()), weight)
        result |= {name: after.bool().numpy(), f"stay {name}": stay.numpy()}
    return result


def drawn(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Whether ours keeps what is not dropped there, and the counts."""
    stay = sum(b[f"stay {name}"].sum() for name in LAYERS)
    return {
        "dropped by ours alone": sum((b[f"stay {name}"] & ~a[name]).sum() for name in LAYERS),
        "grown by ours": sum(a[name].sum() for name in LAYERS) - stay,
        "grown by theirs": sum(b[name].sum() for name in LAYERS) - stay,
    }


EQUAL = "equal entries of the masks"
PEER = Peer(
    "GraNet",
    (
        Case("prune_and_grow", "granet, the pruning at 30 % of the window, 256,000 weights", 1000, dense, our_pruning,
             their_pruning, equal_masks, {EQUAL: (0.99999, 0.999999)}, "the weight at the threshold is pruned there"),
        Case("prune_and_grow", "granet, the exchange then, a tenth kept", 1000, sparse,
             partial(our_exchange, alike=False), their_exchange, agreement, {EQUAL: (0.999, 0.99999)},
             "the share falls to 0.005 there, and a number of weights is rounded up"),
        Case("prune_and_grow", "the same with their share, rounded up", 1000, sparse,
             partial(our_exchange, alike=True), their_exchange, agreement, {EQUAL: (1, 1)}),
        Case("prune_and_grow", "set, the same share, grown at random", 1000, sparse,
             partial(our_exchange, alike=True, method="set"), their_draws, drawn,
             {"dropped by ours alone": (0, 0), "grown by ours": (10190, 10190), "grown by theirs": (9700, 10700)},
             "each weight is drawn for itself there, so that the number is random too"),
    ),
    repository="VITA-Group/GraNet",
)  # fmt: skip
