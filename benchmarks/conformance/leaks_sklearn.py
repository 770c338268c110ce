"""scikit-learn: the nearest reference vector of each vector, by brute force."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap

COSINE = 0.95

__all__ = ["COSINE", "PEER", "agreement", "leaking", "ours"]


def leaking(n: int) -> Arrays:
    """Random directions and a reference; the first tenth are near-copies of it, of cosines around 0.95."""
    rng = np.random.default_rng(0)
    x, reference = (rng.normal(size=(size, 64)).astype(np.float32) for size in (n, n // 5))
    noise = rng.normal(size=(n // 10, 64)) * rng.uniform(0.1, 0.6, (n // 10, 1))
    x[: n // 10] = reference[: n // 10] + noise
    return {"x": x, "reference": reference}


def ours(data: Arrays) -> Arrays:
    """What is kept, in ascending order."""
    from datadiet.selectors import decontaminate

    return {"kept": np.sort(decontaminate(data["x"], reference=data["reference"], epsilon=1 - COSINE))}


def theirs(data: Arrays) -> Arrays:
    """The same."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=1, metric="cosine", algorithm="brute").fit(data["reference"])
    return {"kept": np.flatnonzero(1 - found.kneighbors(data["x"])[0][:, 0] <= COSINE)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are removed, and how many of the kept rows are the same, either way."""
    return {
        "removed by ours": float(len(data["x"]) - len(a["kept"])),
        "ours in theirs": overlap(a["kept"], b["kept"]), "theirs in ours": overlap(b["kept"], a["kept"]),
    }  # fmt: skip


PEER = Peer(
    "scikit-learn",
    (
        Case("decontaminate", "5,000 vectors, a reference of 1,000, cosine 0.95", 5000, leaking, ours, theirs,
             agreement, {"removed by ours": (100, 400), "ours in theirs": (1, 1), "theirs in ours": (1, 1)}),
    ),
    ("scikit-learn==1.9.1",),
)  # fmt: skip
