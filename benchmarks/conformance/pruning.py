"""Pruning in torch itself: the smallest weights of the whole network, of each layer, and of every four in a row."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer

SPARSITY = 0.9


def weights(n: int) -> Arrays:
    """Two layers of n inputs."""
    rng = np.random.default_rng(0)
    return {"0.weight": rng.normal(size=(256, n)).astype("f4"), "2.weight": rng.normal(size=(n, 256)).astype("f4") * 2}


def network(data: Arrays) -> Any:
    """Both layers."""
    import torch
    from torch import nn

    n = data["0.weight"].shape[1]
    model = nn.Sequential(nn.Linear(n, 256, bias=False), nn.ReLU(), nn.Linear(256, n, bias=False))
    model.load_state_dict({name: torch.from_numpy(value) for name, value in data.items()})
    return model


def ours(data: Arrays) -> Arrays:
    """Without a minimum for each layer."""
    import datadiet as dd

    masks = dd.sparsify(network(data), "global_magnitude", SPARSITY, min_per_layer=0)
    return {name: value.numpy() for name, value in masks.state_dict().items() if name in data}


def theirs(data: Arrays) -> Arrays:
    """Global, unstructured, by L1."""
    from torch.nn.utils import prune

    model = network(data)
    layers = [(model[0], "weight"), (model[2], "weight")]
    prune.global_unstructured(layers, pruning_method=prune.L1Unstructured, amount=SPARSITY)
    return {"0.weight": model[0].weight_mask.bool().numpy(), "2.weight": model[2].weight_mask.bool().numpy()}


def our_layers(data: Arrays) -> Arrays:
    """The same share of each layer."""
    import datadiet as dd

    masks = dd.sparsify(network(data), "layer_magnitude", SPARSITY)
    return {name: value.numpy() for name, value in masks.state_dict().items() if name in data}


def their_layers(data: Arrays) -> Arrays:
    """One layer after the other, by L1."""
    from torch.nn.utils import prune

    model = network(data)
    for layer in (model[0], model[2]):
        prune.l1_unstructured(layer, "weight", amount=SPARSITY)
    return {"0.weight": model[0].weight_mask.bool().numpy(), "2.weight": model[2].weight_mask.bool().numpy()}


def our_pattern(data: Arrays) -> Arrays:
    """2:4."""
    import datadiet as dd

    masks = dd.sparsify(network(data), "n_m", 0.5)
    return {name: value.numpy() for name, value in masks.state_dict().items() if name in data}


def their_pattern(data: Arrays) -> Arrays:
    """2:4, by the sparsifier of torch.ao."""
    from torch.ao.pruning import WeightNormSparsifier

    model = network(data)
    sparsifier = WeightNormSparsifier(sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2)
    sparsifier.prepare(model, [{"tensor_fqn": name} for name in data])
    sparsifier.step()
    sparsifier.squash_mask()
    return {name: (value != 0).numpy() for name, value in model.state_dict().items() if name in data}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The share of weights on which both agree."""
    return {"equal entries of the masks": float(np.mean([(a[name] == b[name]).mean() for name in data]))}


PEER = Peer(
    "torch",
    (
        Case("global_magnitude", "a million weights, 90 % pruned", 2000, weights, ours, theirs, agreement,
             {"equal entries of the masks": (1, 1)}),
        Case("layer_magnitude", "the same, 90 % of each layer", 2000, weights, our_layers, their_layers, agreement,
             {"equal entries of the masks": (1, 1)}),
        Case("n_m", "the same, two of every four", 2000, weights, our_pattern, their_pattern, agreement,
             {"equal entries of the masks": (1, 1)}),
    ),
)  # fmt: skip
