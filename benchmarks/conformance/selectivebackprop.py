"""The authors' code of selective backprop: how often each example of a batch is chosen."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout
from conformance.composer import DRAWS, losses, ours

BETA = 1  # the exponent for which they choose half


def theirs(data: Arrays) -> Arrays:
    """The share of the draws in which each example is chosen, and how many are on average."""
    import sys
    from types import SimpleNamespace

    sys.path.insert(0, str(checkout()))
    from lib import calculators, selectors

    n, counts = len(data["loss"]), np.zeros(len(data["loss"]))
    batch = [SimpleNamespace(example=SimpleNamespace(loss=float(loss))) for loss in data["loss"]]
    selector = selectors.SamplingSelector(calculators.BatchedRelativeProbabilityCalculator("cpu", 0, n, BETA))
    np.random.seed(0)  # noqa: NPY002  their draws come from the global state
    for _ in range(DRAWS):
        counts += [marked.example.select for marked in selector.mark(batch)]
    return {"share": counts / DRAWS, "kept": counts.sum() / DRAWS}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many of a batch are chosen, how often the one with the highest loss, and whether theirs is the percentile."""
    top, rank = data["loss"].argmax(), data["loss"].argsort().argsort()
    return {
        "kept by ours": float(a["kept"]),
        "kept by theirs": float(b["kept"]),
        "highest loss, ours": float(a["share"][top]),
        "highest loss, theirs": float(b["share"][top]),
        "theirs from the percentile": float(np.abs(b["share"] - rank / len(rank)).max()),
    }


PEER = Peer(
    "SelectiveBackprop",
    (
        Case("selective_backprop", "half of a batch of 128, 2,000 draws", 128, losses, partial(ours, keep=0.5), theirs,
             agreement,
             {"kept by ours": (64, 64), "kept by theirs": (62, 65), "highest loss, ours": (0.7, 0.9),
              "highest loss, theirs": (0.97, 1), "theirs from the percentile": (0, 0.05)},
             "each example is drawn for itself there, with its percentile among the latest losses as the chance"),
    ),
    repository="angelajiang/SelectiveBackprop",
)  # fmt: skip
