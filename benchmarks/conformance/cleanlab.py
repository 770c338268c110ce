"""cleanlab: the quality of labels from predictions, and KNN-Shapley of the data among themselves."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, rank_correlation
from conformance.dual import probabilities


def predictions(n: int) -> Arrays:
    """The probabilities of the last epoch, and labels, a tenth of them wrong."""
    data = probabilities(n)
    z = data["logits"][-1].astype(float)
    p = np.exp(z - z.max(1, keepdims=True))
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(n) < 0.1, rng.integers(0, 10, n), data["labels"])
    return {"p": p / p.sum(1, keepdims=True), "labels": labels}


def ours(data: Arrays) -> Arrays:
    """The loss of the last epoch."""
    from datadiet.scorers import loss

    return {"score": loss(-np.log(data["p"][np.arange(len(data["p"])), data["labels"]]))}


def theirs(data: Arrays) -> Arrays:
    """The self-confidence, low = suspicious."""
    from cleanlab.rank import get_label_quality_scores

    return {"score": get_label_quality_scores(data["labels"], data["p"], method="self_confidence")}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Of the ranks; theirs has the other sign."""
    return {"rank correlation": rank_correlation(a["score"], b["score"])}


PEER = Peer(
    "cleanlab",
    (
        Case("loss", "10,000 predictions, beside self_confidence", 10_000, predictions, ours, theirs, agreement,
             {"rank correlation": (-1, -0.99999)}, "low = suspicious there"),
    ),
    ("cleanlab==2.9.0",),
)  # fmt: skip
