"""The authors' code of NIRVANA: the divergence by which it chooses between sets of examples to prune with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference, script
from conformance.pruned_networks import images, network

CANDIDATES = 6


def prune(model: Any, candidate: int) -> None:
    """Half of the weights of each layer, at random, and more for some candidates."""
    import torch

    draws = torch.Generator().manual_seed(candidate)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(torch.rand(parameter.shape, generator=draws) > 0.5 + 0.05 * (candidate % 3))


def ours(data: Arrays) -> Arrays:
    """The best candidate, and the divergence of each."""
    import torch

    from datadiet.sparsity.best_of import best_of

    probe = [(torch.from_numpy(data["x"]), torch.from_numpy(data["y"]))]
    best, found = best_of(network(), range(CANDIDATES), prune, probe)
    return {"best": np.array([best]), "divergence": np.array(found)}


def theirs(data: Arrays) -> Arrays:
    """The same; their networks give their outputs a name."""
    import torch

    measure = script("Llama/dataset/evaluator.py").compute_influence_loss
    found = []
    for candidate in range(CANDIDATES):
        dense, pruned = network(), network()
        prune(pruned, candidate)
        both = ((lambda x, model=model: SimpleNamespace(logits=model(x))) for model in (dense, pruned))
        found.append(measure(*both, torch.from_numpy(data["x"]), device="cpu"))
    return {"best": np.array([np.argmin(found)]), "divergence": np.array(found)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The candidates, and how far the divergences are apart."""
    return {
        "largest relative difference": relative_difference(a["divergence"], b["divergence"]),
        "least / greatest divergence": b["divergence"].min() / b["divergence"].max(),
        "same choice": a["best"][0] == b["best"][0],
    }


PEER = Peer(
    "NIRVANA",
    (
        Case("best_of", "6 pruned networks, 1,000 examples; the least of theirs is taken by us", 1000, images, ours,
             theirs, agreement, {"same choice": (1, 1), "largest relative difference": (0, 1e-5)}),
    ),
    repository="iDEA-iSAIL-Lab-UIUC/NIRVANA",
)  # fmt: skip
