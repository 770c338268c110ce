"""The authors' code of DataInf, on the gradients of two layers."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference, script

LAYERS = {"first": (16, 24), "second": (4, 16)}


def gradients(n: int) -> Arrays:
    """Of training and reference examples, which have a part in common; one layer ten times as large as the other."""
    rng = np.random.default_rng(0)
    made = {}
    for scale, (name, shape) in zip((1.0, 0.1), LAYERS.items(), strict=True):
        common = rng.normal(size=shape)
        for part, size in (("", n), ("val_", 50)):
            own = rng.normal(size=(size, *shape))
            made[part + name] = (scale * (own + rng.normal(size=(size, 1, 1)) * common)).astype(np.float32)
    return made


def ours(data: Arrays) -> Arrays:
    """Layer by layer."""
    from datadiet.scorers import datainf

    rows = [[data[part + name].reshape(len(data[part + name]), -1) for name in LAYERS] for part in ("", "val_")]
    blocks = np.cumsum([0] + [layer.shape[1] for layer in rows[0]]).tolist()
    return {"score": datainf(*(np.concatenate(layers, axis=1) for layers in rows), blocks=blocks)}


def theirs(data: Arrays) -> Arrays:
    """With the other sign: the influence of up-weighting an example."""
    import torch

    def named(part: str) -> dict[int, dict[str, torch.Tensor]]:
        layers = {name: torch.from_numpy(data[part + name]) for name in LAYERS}
        return {row: {name: layer[row] for name, layer in layers.items()} for row in range(len(data[part + "first"]))}

    engine = script("src/influence.py").IFEngine()
    engine.preprocess_gradients(named(""), named("val_"), None)
    engine.compute_hvp_proposed()
    engine.compute_IF()
    return {"score": -engine.IF_dict["proposed"]}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {"largest relative difference": relative_difference(a["score"], b["score"])}


PEER = Peer(
    "DataInf",
    (
        Case("datainf", "2,000 examples, 50 for reference, two layers, damping 0.1", 2000, gradients, ours, theirs,
             agreement, {"largest relative difference": (0, 1e-5)}),
    ),
    repository="ykwon0407/DataInf",
)  # fmt: skip
