"""dattri: TracIn with and without cosines, and DataInf."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.checkpoints import LR, agreement, loader, one_reference, ours, ours_on_itself, states, trained
from conformance.dattri import loader as batches
from conformance.gradient_networks import network

SAME, DAMPING = {"largest relative difference": (0, 1e-5)}, 0.1


def task(model: Any, checkpoints: Any) -> Any:
    """Cross-entropy of a network, called with one example or with several."""
    import torch
    from dattri.task import AttributionTask

    def loss(parameters: Any, batched: Any) -> Any:
        inputs, targets = batched
        outputs = torch.func.functional_call(model, parameters, inputs.reshape(-1, *shape))
        return torch.nn.functional.cross_entropy(outputs, targets.reshape(-1))

    shape = (model.in_features,) if isinstance(model, torch.nn.Linear) else (3, 32, 32)
    return AttributionTask(loss, model, checkpoints)


def theirs(data: Arrays, *, cosine: bool = False, own: bool = False, project: bool = False) -> Arrays:
    """TracIn: the mean over reference examples, or on the examples themselves."""
    from dattri.algorithm import TracInAttributor

    found = TracInAttributor(task(network(), states(data)), LR, cosine)
    if not project:
        found.projector_kwargs = None  # which cannot be asked for otherwise
    values = found.self_attribute(loader(data)) if own else found.attribute(loader(data), loader(data, "val_")).mean(1)
    return {"score": values.detach().numpy() / sum(LR)}


def head(n: int) -> Arrays:
    """Features of ten classes and the weights of a linear layer."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n + 50, 32)).astype(np.float32), rng.integers(0, 10, n + 50)
    weight = rng.normal(size=(10, 32)).astype(np.float32) / 5
    return {"x": x[:n], "y": y[:n], "val_x": x[n:], "val_y": y[n:], "weight": weight}


def gradients(data: Arrays, prefix: str = "") -> np.ndarray:
    """(n, 320): (p - y) h' of each example."""
    x, y = (data[prefix + name] for name in ("x", "y"))
    exp = np.exp(x @ data["weight"].T)
    error = exp / exp.sum(1, keepdims=True) - np.eye(10, dtype=np.float32)[y]
    return (error[:, :, None] * x[:, None]).reshape(len(x), -1)


def our_datainf(data: Arrays) -> Arrays:
    """DataInf of one layer."""
    from datadiet.scorers import datainf

    return {"score": datainf(gradients(data), gradients(data, "val_"), damping=DAMPING)}


def their_datainf(data: Arrays) -> Arrays:
    """The mean over reference examples, with our damping."""
    import torch
    from dattri.algorithm import IFAttributorDataInf

    model = torch.nn.Linear(32, 10, bias=False)
    model.load_state_dict({"weight": torch.from_numpy(data["weight"])})
    damping = DAMPING * float(np.square(gradients(data)).mean())
    found = IFAttributorDataInf(task(model, model.state_dict()), regularization=damping)
    train = batches(50, data["x"], data["y"])
    found.cache(train)
    return {"score": found.attribute(train, batches(50, data["val_x"], data["val_y"])).mean(1).detach().numpy()}


PEER = Peer(
    "dattri",
    (
        Case("grad_dot", "TracIn, 3 checkpoints, 512 images, 64 for reference", 512, trained,
             partial(ours, "grad_dot"), theirs, agreement, SAME),
        Case("grad_dot", "the same, with their projection", 512, trained, partial(ours, "grad_dot"),
             partial(theirs, project=True), agreement, {"correlation": (0.5, 0.999)},
             "gradients are projected there to 512 random directions"),
        Case("self_influence", "3 checkpoints, 512 images on themselves, not projected", 512, trained, ours_on_itself,
             partial(theirs, own=True), agreement, SAME),
        Case("grad_cos", "3 checkpoints, 512 images, 1 for reference, not projected", 512, one_reference,
             partial(ours, "grad_cos"), partial(theirs, cosine=True), agreement, SAME),
        Case("grad_cos", "the same, 64 for reference", 512, trained, partial(ours, "grad_cos"),
             partial(theirs, cosine=True), agreement, {"correlation": (0.8, 0.9999)},
             "the mean of the cosines there; here the cosine with the mean gradient"),
        Case("datainf", "one layer, 500 examples, 50 for reference, the same damping", 500, head, our_datainf,
             their_datainf, agreement, SAME),
    ),
    ("dattri==0.3.0",),
)  # fmt: skip
