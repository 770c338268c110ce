"""torch-pruning: which channels go for half of the parameters. The groups are those that it finds, on both sides."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.pruned_networks import images, network

STEPS = 400  # ratios of channels that are tried, more than there are channels


def uneven(n: int) -> Arrays:
    """Images, and the channels of the second convolution that become large."""
    return {**images(n), "large": np.arange(3)}


def beginning(data: Arrays) -> tuple[Any, Any]:
    """The network with BatchNorm and gradients, and an example."""
    import torch

    model, x = network(norm=True).train(), torch.from_numpy(data["x"])
    with torch.no_grad():
        model[3].weight[data.get("large", [])] *= 30
    torch.nn.functional.cross_entropy(model(x), torch.from_numpy(data["y"])).backward()
    return model.eval(), x[:2]


def channels(removed: Any, left: int) -> Arrays:
    """Layers and their outputs that are gone, as numbers, and how many parameters are left."""
    return {"gone": np.array(sorted({1000 * int(layer) + place for layer, place in removed})), "left": np.array([left])}


def ours(data: Arrays, *, importance: str, sparsity: float = 0.5, norms: bool = True) -> Arrays:
    """Of `shrink`; without norms, those of BatchNorm add nothing to the importance."""
    from torch import nn

    from datadiet.sparsity import shrink

    model, example = beginning(data)
    layers = [(name, layer) for name, layer in model.named_children() if hasattr(layer, "weight")]
    counted = {
        f"{name}.weight": (layer.weight * layer.weight.grad).abs() * (not isinstance(layer, nn.BatchNorm2d))
        for name, layer in layers
    }
    small, removed = shrink(model, sparsity, example, importance=importance if norms else counted)
    gone = [
        (name, place)
        for name, layer in layers
        for place in removed.get(name, {}).get("out", ())
        if isinstance(layer, nn.Conv2d)
    ]
    return channels(gone, sum(parameter.numel() for parameter in small.parameters()))


def theirs(data: Arrays, *, importance: str, sparsity: float = 0.5) -> Arrays:
    """Of their pruner, with the least ratio of channels that takes away as many parameters."""
    import torch_pruning

    kind = {"magnitude": torch_pruning.importance.GroupMagnitudeImportance,
            "taylor": torch_pruning.importance.GroupTaylorImportance}[importance]  # fmt: skip

    def pruned(ratio: float) -> tuple[Any, int]:
        model, example = beginning(data)
        pruner = torch_pruning.pruner.BasePruner(
            model, example, kind(), global_pruning=True, pruning_ratio=ratio, max_pruning_ratio=0.9,
            ignored_layers=[model[-1]],
        )  # fmt: skip
        pruner.step()
        gone = [(layer, place) for layer, out, places in pruner.pruning_history() if out for place in places]
        return gone, sum(parameter.numel() for parameter in model.parameters())

    low, high, whole = 0, STEPS, pruned(0)[1]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if pruned(middle / STEPS)[1] <= (1 - sparsity) * whole else (middle, high)
    return channels(*pruned(high / STEPS))


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The channels that go, of the second convolution too, and the parameters that are left."""
    both, either = np.intersect1d(a["gone"], b["gone"]), np.union1d(a["gone"], b["gone"])
    second = [int((side["gone"] // 1000 == 3).sum()) for side in (a, b)]
    return {
        "same channels": len(both) / len(either),
        "of the second convolution, ours": second[0],
        "of the second convolution, theirs": second[1],
        "parameters of ours": a["left"][0],
        "parameters of theirs": b["left"][0],
    }


def case(importance: str, what: str, low: float, high: float, why: str = "", arrays: Any = images, **how: Any) -> Case:
    """The channels that go; `norms` is for ours alone."""
    theirs_how = {name: value for name, value in how.items() if name != "norms"}
    return Case(
        "channels", what, 256, arrays, partial(ours, importance=importance, **how),
        partial(theirs, importance=importance, **theirs_how), agreement, {"same channels": (low, high)}, why,
    )  # fmt: skip


PEER = Peer(
    "torch-pruning",
    (
        case("magnitude", "half of the parameters of three convolutions with BatchNorm", 1, 1),
        case("taylor", "the same, importance=taylor", 0.8, 0.99, "the weights of BatchNorm are left out there"),
        case("taylor", "the same, without the weights of BatchNorm", 1, 1, norms=False),
        case("magnitude", "80 % of the parameters, most of one layer small", 0.5, 0.9,
             "each layer keeps a tenth here; their limit of 90 % is compared with the width before, not after",
             uneven, sparsity=0.8),
    ),
    ("torch-pruning==1.6.1",),
)  # fmt: skip
