"""TRAK's own package: scores from the same projected gradients."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, rank_correlation

WIDTH, ASKED = 64, 50


def gradients(n: int) -> Arrays:
    """Projected gradients of one network, of training and reference examples, and probabilities."""
    rng = np.random.default_rng(0)
    shape = rng.normal(size=(WIDTH, WIDTH)) / np.sqrt(WIDTH) + np.eye(WIDTH)
    drawn = (rng.normal(size=(n + ASKED, WIDTH)) @ shape).astype(np.float32)
    return {"train": drawn[:n], "val": drawn[n:], "p": rng.random(n).astype(np.float32)}


def ours(data: Arrays) -> Arrays:
    """As in the paper, without a regulariser."""
    from datadiet.scorers import trak

    return {"score": trak(data["train"], data["p"], data["val"], l2=0.0)}


def theirs(data: Arrays) -> Arrays:
    """Their score computer in float32, its scores averaged over the reference examples."""
    import torch
    from trak.score_computers import BasicScoreComputer

    train, asked = torch.from_numpy(data["train"]), torch.from_numpy(data["val"])
    computer = BasicScoreComputer(torch.float32, torch.device("cpu"))
    features = computer.get_x_xtx_inv(train, computer.get_xtx(train))
    scores = torch.zeros(len(train), len(asked))
    computer.get_scores(features, asked, scores)
    return {"score": scores.mean(1).numpy() * (1 - data["p"])}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Correlation of ranks, and how much the ratio varies."""
    ratio = a["score"] / b["score"]
    return {
        "rank correlation": rank_correlation(a["score"], b["score"]),
        "spread of the ratio": float(np.quantile(ratio, 0.99) / np.quantile(ratio, 0.01)),
        "median ratio": float(np.median(ratio)),
    }


PEER = Peer(
    "traker",
    (
        Case("trak", "20,000 gradients of 64 numbers, 50 reference examples", 20_000, gradients, ours, theirs,
             agreement, {"rank correlation": (0.99999, 1), "spread of the ratio": (1, 1.01)},
             "the inverse is divided there by the mean of its absolute entries"),
    ),
    ("traker==0.3.2",),
)  # fmt: skip
