"""The authors' code of Data Diet: EL2N and GraNd of their small network, and their count of forgetting events."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, relative_difference
from conformance.forgetting import EPOCHS, correct
from conformance.gradient_networks import batch

CHANNELS, SIZE = (8, 16), 50


def images(n: int) -> Arrays:
    """Images, labels and weights."""
    weights = {name: value.numpy() for name, value in network().state_dict().items()}
    return {**batch(n), **weights}


def network() -> Any:
    """Their network in torch: padding is at the end of rows and columns where a convolution halves them."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    layers, width = [], 3
    for channels in CHANNELS:
        layers += [nn.Conv2d(width, channels, 3, padding=1), nn.ReLU(), nn.ZeroPad2d((0, 1, 0, 1))]
        layers += [nn.Conv2d(channels, channels, 3, stride=2), nn.ReLU()]
        width = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)).eval()


def ours(data: Arrays, *, method: str) -> Arrays:
    """`el2n` from one forward pass, or `grand` by the engine."""
    import torch

    import datadiet as dd
    from datadiet import scorers
    from datadiet.tasks.classification import output_signals

    model, found = network(), []
    for x, y in zip(*(torch.from_numpy(data[name]).split(SIZE) for name in ("x", "y")), strict=True):
        if method == "grand":
            found.append(dd.grad_norms(model, x, y))
        else:
            with torch.no_grad():
                features = model[:-1](x)
                found.append(output_signals(model[-1](features), y, features)["error_norm"])
    return {"score": getattr(scorers, method)(torch.cat(found).numpy())}


def their_package() -> None:
    """Make it importable without TensorFlow, which only loads their data."""
    import sys
    from types import ModuleType

    sys.path.insert(0, str(checkout()))
    for name in ("tensorflow", "tensorflow_datasets"):
        sys.modules[name] = ModuleType(name)


def theirs(data: Arrays, *, kind: str) -> Arrays:
    """Channels last, and labels as vectors."""
    their_package()
    from data_diet import models, scores

    layers = sorted({int(name.partition(".")[0]) for name in data if "." in name})
    names = [*(f"Conv_{i}" for i in range(len(layers) - 1)), "Dense_0"]
    parameters = {
        name: {"kernel": data[f"{layer}.weight"].transpose((2, 3, 1, 0) if "Conv" in name else (1, 0)),
               "bias": data[f"{layer}.bias"]}
        for name, layer in zip(names, layers, strict=True)
    }  # fmt: skip
    function = models.get_apply_fn_test(models.SimpleCNN(CHANNELS, 10))
    x, y = data["x"].transpose(0, 2, 3, 1), np.eye(10, dtype=np.float32)[data["y"]]
    return {"score": scores.compute_scores(function, parameters, {}, x, y, SIZE, kind)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {"largest relative difference": relative_difference(a["score"], b["score"])}


def our_events(data: Arrays) -> Arrays:
    """Of the first run."""
    from datadiet.scorers import forgetting

    return {"events": forgetting(data["correct"][0])}


def their_events(data: Arrays) -> Arrays:
    """In batches, as they train; infinite for what is never learned."""
    their_package()
    import tempfile
    from pathlib import Path
    from types import SimpleNamespace

    from data_diet import forgetting

    n = data["correct"].shape[2]
    found = forgetting.init_forget_stats(SimpleNamespace(num_train_examples=n))
    for epoch in data["correct"][0].astype(np.int32):
        for rows in np.split(np.arange(n), n // SIZE):
            found = forgetting.update_forget_stats(found, rows, epoch[rows])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "forget_scores").mkdir()
        forgetting.save_forget_scores(folder, 0, found)
        return {"events": forgetting.load_forget_scores(folder, 0)}


def events_agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The largest difference where something is learned; elsewhere, whether theirs is infinite and ours every epoch."""
    never = ~data["correct"][0].any(0)
    return {
        "largest difference": float(np.abs(a["events"] - b["events"])[~never].max()),
        "never learned": float(never.sum()),
        "infinite in theirs": float(np.isinf(b["events"])[never].mean()),
        "every epoch in ours": float((a["events"] == EPOCHS)[never].mean()),
    }


PEER = Peer(
    "data_diet",
    (
        Case("el2n", "1,000 images, four convolutions", 1000, images, partial(ours, method="el2n"),
             partial(theirs, kind="l2_error"), agreement, {"largest relative difference": (0, 1e-5)}),
        Case("grand", "1,000 images, four convolutions", 1000, images, partial(ours, method="grand"),
             partial(theirs, kind="grad_norm"), agreement, {"largest relative difference": (0, 1e-5)}),
        Case("forgetting", f"{EPOCHS} epochs, 5,000 examples", 5000, correct, our_events, their_events,
             events_agreement,
             {"largest difference": (0, 0), "infinite in theirs": (1, 1), "every epoch in ours": (1, 1)},
             "what is never learned counts infinitely there, and every epoch here"),
    ),
    ("jax==0.10.2", "flax==0.12.8"),
    repository="mansheej/data_diet",
)  # fmt: skip
