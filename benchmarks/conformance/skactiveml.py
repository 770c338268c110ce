"""scikit-activeml: the three measures of uncertainty, from class probabilities."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference
from conformance.cleanlab import predictions

SIGNALS = {"least_confidence": "doubt", "margin": "p_gap", "entropy": "entropy"}
THEIR_NAMES = {"least_confidence": "least_confident", "margin": "margin_sampling", "entropy": "entropy"}


def ours(method: str, data: Arrays) -> Arrays:
    """From logits, as a pass measures them."""
    import torch

    from datadiet import scorers
    from datadiet.tasks.classification import output_signals

    signals = output_signals(torch.from_numpy(np.log(data["p"])), torch.from_numpy(data["labels"]))
    return {"score": getattr(scorers, method)(signals[SIGNALS[method]].numpy())}


def theirs(method: str, data: Arrays) -> Arrays:
    """The utility: of the margin it is 1 less the difference, so that high is uncertain."""
    from skactiveml.pool import uncertainty_scores

    found = uncertainty_scores(data["p"], method=THEIR_NAMES[method])
    return {"score": 1 - found if method == "margin" else found}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Of the values."""
    return {"largest relative difference": relative_difference(a["score"], b["score"])}


PEER = Peer(
    "scikit-activeml",
    tuple(
        Case(method, "10,000 predictions of 10 classes", 10_000, predictions, partial(ours, method),
             partial(theirs, method), agreement, {"largest relative difference": (0, 1e-4)})
        for method in SIGNALS
    ),
    ("scikit-activeml==1.0.1",),
)  # fmt: skip
