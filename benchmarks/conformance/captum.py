"""captum: TracIn of all layers and of the last one, and the gradients that VoG is the spread of."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.checkpoints import LR, agreement, loader, networks, ours, ours_on_itself, states, trained

SAME = {"largest relative difference": (0, 1e-5)}


def load(model: Any, state: Any) -> float:
    """A checkpoint into the network; its learning rate."""
    epoch, weights = state
    model.load_state_dict(weights)
    return LR[epoch]


def tracin(data: Arrays, *, fast: bool = False) -> Any:
    """Their object, for gradients of all layers or of the last one."""
    import torch
    from captum.influence import TracInCP, TracInCPFast

    model = next(networks(data))
    how = {"train_dataset": loader(data), "checkpoints": list(enumerate(states(data))), "checkpoints_load_func": load}
    loss = torch.nn.CrossEntropyLoss(reduction="sum")
    if fast:
        return TracInCPFast(model, model[-1], loss_fn=loss, **how)
    return TracInCP(model, loss_fn=loss, sample_wise_grads_per_batch=True, **how)


def theirs_on_reference(data: Arrays) -> Arrays:
    """The mean over reference examples, and as ours over checkpoints."""
    import torch

    asked = torch.from_numpy(data["val_x"]), torch.from_numpy(data["val_y"])
    return {"score": tracin(data).influence(asked).mean(0).numpy() / sum(LR)}


def theirs_on_itself(data: Arrays, *, fast: bool = False) -> Arrays:
    """Self-influence."""
    return {"score": tracin(data, fast=fast).self_influence().numpy() / sum(LR)}


def our_last_layer(data: Arrays, *, bias: bool = True) -> Arrays:
    """Self-influence of the last layer, from outputs and features alone; of its weight alone without the bias."""
    import torch

    from datadiet import scorers
    from datadiet.tasks.classification import output_signals

    norms = []
    for model in networks(data):
        with torch.no_grad():
            features = model[:-1](torch.from_numpy(data["x"]))
            signals = output_signals(model[-1](features), torch.from_numpy(data["y"]), features)
        needed = (signals[name].numpy() for name in ("error_norm", "feature_norm"))
        norms.append(scorers.grand_last(*needed, bias=bias))
    return {"score": scorers.self_influence(np.stack(norms)[None], lr=LR)}


def our_spread(data: Arrays) -> Arrays:
    """Of the input gradients, batch by batch."""
    import torch

    from datadiet.scorers.vog import vog_spread
    from datadiet.signals.input_gradients import input_gradient_spread

    models = list(networks(data))
    spread = torch.cat([input_gradient_spread(models, x, y) for x, y in loader(data)]).numpy()
    return {"score": vog_spread(spread, data["y"], normalise="class")}


def their_spread(data: Arrays) -> Arrays:
    """The gradients are theirs; the standard deviation and the standard score are numpy's and scipy's."""
    import torch
    from captum.attr import Saliency
    from scipy.stats import zscore

    maps = [
        torch.cat([Saliency(model).attribute(x.requires_grad_(), y, abs=False) for x, y in loader(data)]).numpy()
        for model in networks(data)
    ]
    spread, score = np.std([found.mean(1) for found in maps], axis=0).mean((1, 2)), np.empty(len(data["y"]))
    for label in np.unique(data["y"]):
        score[data["y"] == label] = zscore(spread[data["y"] == label])
    return {"score": score}


PEER = Peer(
    "captum",
    (
        Case("grad_dot", "TracInCP, 3 checkpoints, 512 images, 64 for reference", 512, trained,
             partial(ours, "grad_dot"), theirs_on_reference, agreement, SAME),
        Case("self_influence", "TracInCP, 3 checkpoints, 512 images on themselves", 512, trained, ours_on_itself,
             theirs_on_itself, agreement, SAME),
        Case("self_influence", "the same, of the last layer (TracInCPFast)", 512, trained, our_last_layer,
             partial(theirs_on_itself, fast=True), agreement, {"correlation": (0.9, 0.999)},
             "its bias is left out there"),
        Case("self_influence", "the same, without its bias in ours", 512, trained, partial(our_last_layer, bias=False),
             partial(theirs_on_itself, fast=True), agreement, SAME),
        Case("vog", "Saliency at 3 checkpoints, 512 images, within the class", 512, trained, our_spread, their_spread,
             agreement, {"largest relative difference": (0, 1e-4)}),
    ),
    ("captum==0.9.0",),
)  # fmt: skip
