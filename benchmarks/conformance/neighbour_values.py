"""KNN-Shapley on the same features, for the peers that compute it."""

from __future__ import annotations

from conformance.case import Arrays, relative_difference
from conformance.vectors import clustered

__all__ = ["K", "agreement", "ours", "split"]

K, ASKED = 5, 100


def split(n: int) -> Arrays:
    """Training and reference vectors with labels, a tenth of them wrong."""
    import numpy as np

    both = clustered(n + ASKED)
    rng = np.random.default_rng(1)
    labels = np.where(rng.random(n + ASKED) < 0.1, rng.integers(0, 10, n + ASKED), both["labels"])
    return {"x": both["x"][:n], "y": labels[:n], "val_x": both["x"][n:], "val_y": labels[n:]}


def ours(data: Arrays) -> Arrays:
    """The mean over reference examples."""
    from datadiet.scorers import knn_shapley

    return {"value": knn_shapley(data["x"], data["y"], data["val_x"], data["val_y"], k=K)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {"largest relative difference": relative_difference(a["value"], b["value"])}
