"""cleanlab: the quality of labels from predictions."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, rank_correlation
from conformance.dual import probabilities


def predictions(n: int) -> Arrays:
    """The logits of the last epoch, their probabilities, and labels, a tenth of them wrong."""
    data = probabilities(n)
    z = data["logits"][-1].astype(float)
    p = np.exp(z - z.max(1, keepdims=True))
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(n) < 0.1, rng.integers(0, 10, n), data["labels"])
    return {"logits": data["logits"][-1], "p": p / p.sum(1, keepdims=True), "labels": labels}


def ours(data: Arrays) -> Arrays:
    """The loss as we measure it from the logits."""
    import torch

    from datadiet.scorers import loss
    from datadiet.tasks.classification import output_signals

    signals = output_signals(torch.from_numpy(data["logits"]), torch.from_numpy(data["labels"]))
    return {"score": loss(signals["loss"].numpy())}


def theirs(data: Arrays) -> Arrays:
    """The self-confidence, low = suspicious."""
    from cleanlab.rank import get_label_quality_scores

    return {"score": get_label_quality_scores(data["labels"], data["p"], method="self_confidence")}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Of the ranks, where theirs has the other sign, and of the probability that the loss stands for."""
    ratio = np.exp(-a["score"].astype(float)) / b["score"]
    return {
        "rank correlation": rank_correlation(a["score"], b["score"]),
        "largest relative difference of exp(-loss)": float(np.abs(ratio - 1).max()),
    }


PEER = Peer(
    "cleanlab",
    (
        Case("loss", "10,000 predictions, beside self_confidence", 10_000, predictions, ours, theirs, agreement,
             {"rank correlation": (-1, -0.99999), "largest relative difference of exp(-loss)": (0, 1e-5)},
             "low = suspicious there"),
    ),
    ("cleanlab==2.9.0",),
)  # fmt: skip
