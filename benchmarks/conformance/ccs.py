"""The authors' code of CCS: cutoff and budgets of the strata, and the hardest of each class."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap, script

SHARE, BETA, STRATA = 0.1, 0.3, 50
CLASSES = 10


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


def labelled(n: int, *, tail: float) -> Arrays:
    """Scores with labels of ten classes, each so many times as large as the one before."""
    sizes = np.round(n * tail ** np.arange(CLASSES) / (tail ** np.arange(CLASSES)).sum()).astype(int)
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(CLASSES), sizes))
    return {**margins(len(labels)), "labels": labels}


def our_classes(data: Arrays) -> Arrays:
    """The hardest of each class."""
    from datadiet.selectors import top_k
    from datadiet.selectors.by_class import per_class

    def hardest(members: np.ndarray, quota: int) -> np.ndarray:
        return top_k(-data["aum"][members], quota, prefer="hardest")

    return {"rows": np.sort(per_class(data["labels"], int(SHARE * len(data["aum"])), hardest))}


def their_classes(data: Arrays) -> Arrays:
    """Their selection by a score, balanced."""
    import torch

    code = script("core/data/Coreset.py").CoresetSelection
    scores = {name: torch.from_numpy(data[key]) for name, key in (("accumulated_margin", "aum"), ("targets", "labels"))}
    return {"rows": np.sort(code.score_monotonic_selection(scores, "accumulated_margin", SHARE, False, True).numpy())}


def class_agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same, and the kept shares of the largest and the smallest class."""
    sizes = np.bincount(data["labels"])
    found = {"same rows": overlap(a["rows"], b["rows"])}
    for name, side in (("ours", a), ("theirs", b)):
        share = np.bincount(data["labels"][side["rows"]], minlength=CLASSES) / sizes
        found |= {f"least share of {name}": float(share.min()), f"largest share of {name}": float(share.max())}
    return found


PEER = Peer(
    "Coverage-centric-coreset-selection",
    (
        Case("ccs", "1,000 of 10,000 scores, beta = 0.3, 50 strata", 10_000, margins, ours, theirs, agreement,
             {"ours below the cutoff": (0, 0), "theirs below the cutoff": (0, 0),
              "largest difference in a stratum": (0, 1)},
             "draws within a stratum are random; who gets what remains of an even share differs"),
        Case("by_class", "top_k, 10 classes of 1,000 scores", 10_000, partial(labelled, tail=1.0), our_classes,
             their_classes, class_agreement, {"same rows": (1, 1)}),
        Case("by_class", "top_k, each class 1.3 times as large as the one before", 10_000, partial(labelled, tail=1.3),
             our_classes, their_classes, class_agreement,
             {"least share of ours": (0.095, 0.1), "largest share of ours": (0.1, 0.105),
              "least share of theirs": (0.095, 0.1), "largest share of theirs": (0.9, 1)},
             "each class keeps as many there as the last class should, or all it has"),
    ),
    repository="haizhongzheng/Coverage-centric-coreset-selection",
)  # fmt: skip
