"""The authors' code of CCS: cutoff and budgets of the strata."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, script

SHARE, BETA, STRATA = 0.1, 0.3, 50


def margins(n: int) -> Arrays:
    """AUM-like scores: most high, some low."""
    rng = np.random.default_rng(0)
    return {"aum": (rng.beta(4, 1.5, n) * 10 - 3).astype(np.float32)}


def ours(data: Arrays) -> Arrays:
    """Kept rows."""
    from datadiet.selectors import ccs

    return {"rows": ccs(-data["aum"], int(SHARE * len(data["aum"])), beta=BETA, strata=STRATA)}


def theirs(data: Arrays) -> Arrays:
    """Their cutoff, then their sampling, back in positions of the whole."""
    import torch

    code = script("core/data/Coreset.py").CoresetSelection
    n = len(data["aum"])
    scores = {"accumulated_margin": torch.from_numpy(data["aum"])}
    scores, left = code.mislabel_mask(scores, "accumulated_margin", int(BETA * n), False, "accumulated_margin")
    chosen, _ = code.stratified_sampling(scores, "accumulated_margin", int(SHARE * n))
    return {"rows": left.numpy()[chosen]}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Rows that the cutoff would drop, and the largest difference of the number in a stratum."""
    aum = data["aum"]
    edge = np.sort(aum)[int(BETA * len(aum))]
    edges = np.linspace(edge, aum.max(), STRATA + 1)
    counts = [np.histogram(aum[side["rows"]], edges)[0] for side in (a, b)]
    return {
        "ours below the cutoff": float((aum[a["rows"]] < edge).sum()),
        "theirs below the cutoff": float((aum[b["rows"]] < edge).sum()),
        "largest difference in a stratum": float(np.abs(counts[0] - counts[1]).max()),
        "kept by ours": float(len(a["rows"])),
        "kept by theirs": float(len(b["rows"])),
    }


PEER = Peer(
    "Coverage-centric-coreset-selection",
    (
        Case("ccs", "1,000 of 10,000 scores, beta = 0.3, 50 strata", 10_000, margins, ours, theirs, agreement,
             {"ours below the cutoff": (0, 0), "theirs below the cutoff": (0, 0),
              "largest difference in a stratum": (0, 1)},
             "draws within a stratum are random; who gets what remains of an even share differs"),
    ),
    repository="haizhongzheng/Coverage-centric-coreset-selection",
)  # fmt: skip
