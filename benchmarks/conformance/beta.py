"""The authors' code of DUAL's sampling: how often each example is drawn, over many draws."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, script
from conformance.dual import probabilities

SHARE, DRAWS, C = 0.25, 2000, 4.0


def scored(n: int) -> Arrays:
    """The probability of the label at each epoch, and its deviation as the score."""
    p = probabilities(n)["p_true"].astype(np.float64)
    return {"p_true": p, "score": p.std(0)}


def ours(data: Arrays) -> Arrays:
    """Two series of draws with c = 4 and one with c = 5: how often each example is in them."""
    from datadiet.selectors import beta

    n, p_mean = len(data["score"]), data["p_true"].mean(0)

    def often(c: float, seeds: range) -> np.ndarray:
        draws = (np.random.default_rng(seed) for seed in seeds)
        rows = [beta(data["score"], round(SHARE * n), p_mean=p_mean, c=c, rng=rng) for rng in draws]
        return np.bincount(np.concatenate(rows), minlength=n)

    return {"often": often(C, range(DRAWS)), "again": often(C, range(DRAWS, 2 * DRAWS)),
            "other": often(C + 1, range(DRAWS))}  # fmt: skip


def theirs(data: Arrays) -> Arrays:
    """One series of draws with c = 4."""
    code = script("exp_cifar/data_subset.py")
    np.random.seed(0)  # noqa: NPY002  theirs draws from it
    order = np.argsort(data["score"])
    rows = [code.beta_sampling(1 - SHARE, C, data["p_true"], order, data["score"]) for _ in range(DRAWS)]
    return {"often": np.bincount(np.concatenate(rows), minlength=len(order))}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The mean squared difference of two series, as a multiple of what chance alone gives."""

    def beyond_chance(x: np.ndarray, y: np.ndarray) -> float:
        share = (x + y) / (2 * DRAWS)
        inside = (share > 0) & (share < 1)
        return float(np.mean(((x - y) ** 2 / (2 * DRAWS * share * (1 - share) + ~inside))[inside]))

    return {
        "rows of ours": float(a["often"].sum() / DRAWS), "rows of theirs": float(b["often"].sum() / DRAWS),
        "squared difference / chance": beyond_chance(a["often"], b["often"]),
        "of two series of ours": beyond_chance(a["often"], a["again"]),
        "with c = 5 in ours": beyond_chance(a["other"], b["often"]),
    }  # fmt: skip


PEER = Peer(
    "dual-pruning",
    (
        Case("beta", "250 of 1,000 examples, c = 4, 2,000 draws", 1000, scored, ours, theirs, agreement,
             {"rows of ours": (250, 250), "rows of theirs": (250, 250), "squared difference / chance": (0.85, 1.15),
              "of two series of ours": (0.85, 1.15), "with c = 5 in ours": (3, 100)}, "draws are random"),
    ),
    repository="behaapyy/dual-pruning",
)  # fmt: skip
