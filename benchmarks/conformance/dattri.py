"""dattri: KNN-Shapley, and influence through an explicit inverse."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference
from conformance.neighbour_values import K, agreement, ours, split

L2 = 1e-2


def loader(size: int, *arrays: np.ndarray) -> Any:
    """Batches of tensors, in order."""
    import torch

    rows = torch.utils.data.TensorDataset(*map(torch.from_numpy, arrays))
    return torch.utils.data.DataLoader(rows, batch_size=size, shuffle=False)


def theirs(data: Arrays) -> Arrays:
    """The mean of their values, (reference, training), over reference examples."""
    from dattri.algorithm import KNNShapleyAttributor

    train, asked = loader(500, data["x"], data["y"]), loader(500, data["val_x"], data["val_y"])
    return {"value": KNNShapleyAttributor(k_neighbors=K).attribute(train, asked).mean(0).numpy()}


def head(n: int) -> Arrays:
    """Features of two classes and a fitted softmax head without a bias."""
    from datadiet.scorers.refit_head import refit_head

    data = split(n)
    narrow = {name: value % 2 if name.endswith("y") else value[:, :8].copy() for name, value in data.items()}
    theta = refit_head(narrow["x"], narrow["y"], l2=L2, bias=False)[1]
    return {**narrow, "theta": theta.astype(np.float32)}


def our_influence(data: Arrays) -> Arrays:
    """First order: of leaving each example out on the mean reference loss."""
    from datadiet.scorers import influence_last_layer
    from datadiet.scorers.refit_head import head_probabilities

    p, val_p = (head_probabilities(data[name], data["theta"].astype(float), bias=False) for name in ("x", "val_x"))
    score = influence_last_layer(
        data["x"], p, data["y"], data["val_x"], val_p, data["val_y"], l2=L2, order="first", bias=False
    )
    return {"value": score}


def their_influence(data: Arrays, *, batch: int) -> Arrays:
    """The mean over reference examples of the inner products, and n times smaller as ours are."""
    import torch
    from dattri.algorithm import IFAttributorExplicit
    from dattri.task import AttributionTask

    model = torch.nn.Linear(data["x"].shape[1], 2, bias=False)
    state = {"weight": torch.from_numpy(data["theta"])}
    model.load_state_dict(state)

    def loss(parameters: Any, batched: Any) -> Any:
        inputs, targets = batched
        outputs = torch.func.functional_call(model, parameters, inputs)
        return torch.nn.functional.cross_entropy(outputs, targets.long().reshape(-1))

    found = IFAttributorExplicit(AttributionTask(loss, model, state), regularization=L2)
    train, asked = loader(batch, data["x"], data["y"]), loader(500, data["val_x"], data["val_y"])
    found.cache(train)
    return {"value": found.attribute(train, asked).mean(1).detach().numpy() / len(data["x"])}


def influence_agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Pearson correlation, and the scale."""
    ratio = float(np.median(b["value"] / a["value"]))
    return {
        "correlation": float(np.corrcoef(a["value"], b["value"])[0, 1]),
        "median ratio": ratio,
        "largest relative difference": relative_difference(a["value"], b["value"]),
    }


PEER = Peer(
    "dattri",
    (
        Case("knn_shapley", "1,000 training and 100 reference vectors, K = 5", 1000, split, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-5)}),
        Case("influence_last_layer", "order=first, 2,000 examples in one batch", 2000, head, our_influence,
             partial(their_influence, batch=2000), influence_agreement, {"largest relative difference": (0, 1e-3)}),
        Case("influence_last_layer", "order=first, 2,000 examples in batches of 200", 2000, head, our_influence,
             partial(their_influence, batch=200), influence_agreement, {"median ratio": (5, 1e3)},
             "the inverses of the batches are summed there, instead of inverting the mean"),
    ),
    ("dattri==0.3.0",),
)  # fmt: skip
