"""The authors' code of Wanda: the norms of the inputs that it multiplies weights by."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, script

SPARSITY, D, P = 0.5, 256, 128


def inputs(n: int) -> Arrays:
    """Inputs whose columns differ in size, and a weight."""
    rng = np.random.default_rng(0)
    return {
        "x": (rng.normal(size=(n, D)) * np.exp(rng.normal(size=D))).astype(np.float32),
        "weight": rng.normal(size=(P, D)).astype(np.float32),
    }


def layer(data: Arrays) -> Any:
    """A linear layer with the weight."""
    import torch

    linear = torch.nn.Linear(D, P, bias=False)
    linear.weight = torch.nn.Parameter(torch.from_numpy(data["weight"]))
    return linear


def ours(data: Arrays) -> Arrays:
    """The mask of `dd.sparsify`."""
    import torch

    import datadiet as dd

    model = torch.nn.Sequential(layer(data))
    x = torch.from_numpy(data["x"])
    masks = dd.sparsify(model, "wanda", SPARSITY, batches=[(x, torch.zeros(len(x), dtype=torch.int64))], examples=0)
    return {"kept": masks.state_dict()["0.weight"].numpy()}


def theirs(data: Arrays) -> Arrays:
    """The mask from their norms, as in their loop over layers: the smallest half of each row goes."""
    import torch

    linear = layer(data)
    wrapped = script("lib/layerwrapper.py").WrappedGPT(linear)
    for part in torch.from_numpy(data["x"]).split(100):
        wrapped.add_batch(part, linear(part))
    metric = linear.weight.detach().abs() * wrapped.scaler_row.sqrt()
    kept = torch.ones_like(metric, dtype=torch.bool)
    kept.scatter_(1, metric.sort(dim=1, stable=True)[1][:, : int(D * SPARSITY)], False)
    return {"kept": kept.numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The share of weights on which both agree."""
    return {"equal entries of the mask": float((a["kept"] == b["kept"]).mean())}


PEER = Peer(
    "wanda",
    (
        Case("wanda", "a layer of 128 x 256, 2,000 inputs, half pruned", 2000, inputs, ours, theirs, agreement,
             {"equal entries of the mask": (0.9999, 1)}),
    ),
    repository="locuslab/wanda",
)  # fmt: skip
