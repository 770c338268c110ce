"""The authors' code of ZCore: draws and their redundancy, without the random start."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, script

DRAWS, NEIGHBOURS = 20_000, 50


def spread(n: int) -> Arrays:
    """Vectors of 8 numbers whose lengths differ much, so that scores are more than the noise of the draws."""
    rng = np.random.default_rng(0)
    return {"x": (rng.normal(size=(n, 8)) * np.exp(rng.normal(size=(n, 1)))).astype(np.float32)}


def ours(data: Arrays) -> Arrays:
    """Scores by two seeds."""
    from datadiet.scorers import zcore

    score, other = (zcore(data["x"], draws=DRAWS, neighbours=NEIGHBOURS, seed=seed) for seed in (0, 1))
    return {"score": score, "other seed": other}


def theirs(data: Arrays) -> Arrays:
    """Scores of one of their workers, which does all the draws."""
    from types import SimpleNamespace

    np.random.seed(0)  # noqa: NPY002  theirs draws from the global state
    code = script("core/coreset/zcore.py")
    code.init_worker(data["x"])
    how = SimpleNamespace(dataset="", trial=0, sample_dim=2, redund_nn=NEIGHBOURS, redund_exp=4)
    return {"score": code.sample_score(how, code.embedding_preprocess(data["x"]), DRAWS)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Correlation with theirs, and between two seeds of ours; ranks also depend on the random start of ours."""
    return {
        "correlation": float(np.corrcoef(a["score"], b["score"])[0, 1]),
        "between two seeds of ours": float(np.corrcoef(a["score"], a["other seed"])[0, 1]),
    }


PEER = Peer(
    "zcore",
    (
        Case("zcore", "500 vectors, 20,000 draws, 50 neighbours (ours twice)", 500, spread, ours, theirs,
             agreement, {"correlation": (0.95, 1), "between two seeds of ours": (0.95, 1)},
             "draws are random, and ours starts at random numbers in [0, 1]"),
    ),
    repository="voxel51/zcore",
)  # fmt: skip
