"""Pruning in torch itself: the smallest weights of all layers, of each, and of every four; at random; and gradually."""

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


def drawn(data: Arrays, *, seed: int = 0) -> Arrays:
    """The same share of each layer, at random."""
    import datadiet as dd

    masks = dd.sparsify(network(data), "random_weights", SPARSITY, layers="uniform", seed=seed)
    return {name: value.numpy() for name, value in masks.state_dict().items() if name in data}


def our_draws(data: Arrays) -> Arrays:
    """Of two seeds."""
    return {**drawn(data), **{f"other {name}": mask for name, mask in drawn(data, seed=1).items()}}


def their_draws(data: Arrays) -> Arrays:
    """One layer after the other."""
    import torch
    from torch.nn.utils import prune

    model = network(data)
    torch.manual_seed(0)
    for layer in (model[0], model[2]):
        prune.random_unstructured(layer, "weight", amount=SPARSITY)
    return {"0.weight": model[0].weight_mask.bool().numpy(), "2.weight": model[2].weight_mask.bool().numpy()}


def drawn_agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The counts of layers, and the share of what is kept that the other draws keep too."""
    kept = sum(b[name].sum() for name in data)
    return {
        "largest difference of a layer's count": max(abs(a[name].sum() - b[name].sum()) for name in data),
        "kept by both": sum((a[name] & b[name]).sum() for name in data) / kept,
        "by two seeds of ours": sum((a[name] & a[f"other {name}"]).sum() for name in data) / kept,
    }


def progress(n: int) -> Arrays:
    """Of a training of so many steps."""
    return {"at": np.arange(n + 1) / n}


def our_pace(data: Arrays) -> Arrays:
    """Between a quarter and three quarters of the training."""
    from datadiet.sparsity import Pace

    pace = Pace("cubic", 0.25, 0.75)
    return {"sparsity": np.array([pace.sparsity(SPARSITY, at) for at in data["at"]])}


def their_pace(data: Arrays) -> Arrays:
    """By the scheduler of torch.ao, whose steps are those of the training."""
    import torch
    from torch.ao.pruning import CubicSL, WeightNormSparsifier

    n = len(data["at"]) - 1
    sparsifier = WeightNormSparsifier(sparsity_level=SPARSITY)
    sparsifier.prepare(torch.nn.Sequential(torch.nn.Linear(1, 1)), [{"tensor_fqn": "0.weight"}])
    scheduler = CubicSL(sparsifier, init_sl=0.0, init_t=n // 4, delta_t=1, total_t=n // 2)
    found = []
    for _ in data["at"]:
        found.append(sparsifier.groups[0]["sparsity_level"])
        scheduler.step()
    return {"sparsity": np.array(found)}


def pace_agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The largest difference of the sparsity at a step."""
    return {"largest difference": float(np.abs(a["sparsity"] - b["sparsity"]).max()), "at the end": a["sparsity"][-1]}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The share of weights on which both agree."""
    return {"equal entries of the masks": float(np.mean([(a[name] == b[name]).mean() for name in data]))}


PEER = Peer(
    "torch",
    (
        Case("global_magnitude", "a million weights, 90 % pruned", 2000, weights, ours, theirs, agreement,
             {"equal entries of the masks": (1, 1)}),
        Case("layer_magnitude", "a million weights, 90 % of each layer pruned", 2000, weights, our_layers,
             their_layers, agreement, {"equal entries of the masks": (1, 1)}),
        Case("n_m", "a million weights, two of every four pruned", 2000, weights, our_pattern, their_pattern, agreement,
             {"equal entries of the masks": (1, 1)}),
        Case("random_weights", "layers=uniform, 90 % of each layer", 2000, weights, our_draws, their_draws,
             drawn_agreement, {"largest difference of a layer's count": (0, 0), "kept by both": (0.09, 0.11),
                               "by two seeds of ours": (0.09, 0.11)}, "draws are random"),
        Case("cubic", "the sparsity at each of 1,000 steps", 1000, progress, our_pace, their_pace, pace_agreement,
             {"largest difference": (0, 1e-12)}),
    ),
)  # fmt: skip
