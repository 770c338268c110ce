"""Checkpoints of a small network, and what a step on each training example does to reference examples there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, relative_difference
from conformance.gradient_networks import batch, network

__all__ = ["LR", "agreement", "loader", "networks", "one_reference", "ours", "ours_on_itself", "states", "trained"]

LR = (0.1, 0.05, 0.01)


def trained(n: int, *, references: int = 64) -> Arrays:
    """Images with labels, others as a reference, and the weights after each of three epochs, `epoch/parameter`."""
    import torch

    data = batch(n + references)
    x, y = torch.from_numpy(data["x"][:n]), torch.from_numpy(data["y"][:n])
    found = {"x": x.numpy(), "y": y.numpy(), "val_x": data["x"][n:], "val_y": data["y"][n:]}
    model = network()
    for epoch, lr in enumerate(LR):
        optimiser = torch.optim.SGD(model.parameters(), lr)
        for rows in torch.arange(n).split(32):
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            optimiser.step()
        found |= {f"{epoch}/{name}": value.numpy().copy() for name, value in model.state_dict().items()}
    return found


def states(data: Arrays) -> list[dict[str, Any]]:
    """The weights at each checkpoint."""
    import torch

    names = [name.partition("/")[2] for name in data if name.startswith("0/")]
    return [{name: torch.from_numpy(data[f"{epoch}/{name}"]) for name in names} for epoch in range(len(LR))]


def networks(data: Arrays) -> Iterator[Any]:
    """The network at each checkpoint."""
    for state in states(data):
        model = network()
        model.load_state_dict(state)
        yield model


def loader(data: Arrays, prefix: str = "", size: int = 64) -> Any:
    """Batches of images and labels, in order."""
    import torch

    rows = torch.utils.data.TensorDataset(*(torch.from_numpy(data[prefix + name]) for name in ("x", "y")))
    return torch.utils.data.DataLoader(rows, size)


def ours(method: str, data: Arrays) -> Arrays:
    """`grad_dot` or `grad_cos` over the checkpoints."""
    import torch

    from datadiet import scorers
    from datadiet.signals.gradients import PerExample, dots

    signals = []
    for model in networks(data):
        engine = PerExample(model)
        mean = dots.reference_gradient(engine, loader(data, "val_"))
        signals.append(torch.cat([dots.gradient_dots(engine, mean, x, y)[method] for x, y in loader(data)]).numpy())
    return {"score": getattr(scorers, method)(np.stack(signals)[None], lr=LR)}


def ours_on_itself(data: Arrays) -> Arrays:
    """`self_influence` over the checkpoints."""
    import torch

    import datadiet as dd
    from datadiet import scorers

    norms = [torch.cat([dd.grad_norms(model, x, y) for x, y in loader(data)]).numpy() for model in networks(data)]
    return {"score": scorers.self_influence(np.stack(norms)[None], lr=LR)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart, and how alike."""
    return {
        "largest relative difference": relative_difference(a["score"], b["score"]),
        "correlation": float(np.corrcoef(a["score"], b["score"])[0, 1]),
    }


one_reference = partial(trained, references=1)
