"""Lightweight coresets, by the authors of a package of coresets: sensitivities around the mean of the data."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference, script
from conformance.vectors import clustered, kept

DRAWS = 300


def their_code() -> Any:
    """Their class, without what they compile."""
    package, old = ModuleType("coresets"), ModuleType("sklearn.cluster.k_means_")
    package.Coreset, package.sensitivity = script("coresets/coreset.py").Coreset, None  # type: ignore[attr-defined]
    old._init_centroids = None  # type: ignore[attr-defined]
    sys.modules |= {"coresets": package, "sklearn.cluster.k_means_": old}
    return script("coresets/k_means_coreset.py").KMeansLightweightCoreset


def ours(data: Arrays) -> Arrays:
    """One cluster, in which every example has the same loss: half of the sensitivity is even, half is the distance."""
    from datadiet.randomness import generator
    from datadiet.selectors import sensitivity

    x = data["x"]
    p, sums = np.full(len(x), np.nan), np.empty(DRAWS)
    for seed in range(DRAWS):
        rows, weights = sensitivity(x, kept(len(x)), kind="clustering", clusters=1, hardness=np.ones(len(x)),
                                    rng=generator(seed))  # fmt: skip
        p[rows] = 1 / (kept(len(x)) * weights)
        sums[seed] = weights @ cost(x[rows])
    return {"p": p, "sums": sums}


def theirs(data: Arrays) -> Arrays:
    """Their probabilities, and draws with replacement."""
    np.random.seed(0)  # noqa: NPY002  theirs draws from the global state
    found, sums = their_code()(data["x"].astype(float)), np.empty(DRAWS)
    for draw in range(DRAWS):
        x, weights = found.generate_coreset(kept(len(data["x"])))
        sums[draw] = weights @ cost(x)
    return {"p": found.p, "sums": sums}


def cost(x: np.ndarray) -> np.ndarray:
    """(n,) the squared distance to the nearer of two points: what the sums are of."""
    return np.min([np.square(x.astype(float) - point).sum(1) for point in (0.0, 1.0)], axis=0)


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Probabilities of the rows drawn, and the mean and the deviation of weighted sums, as shares of the true sum."""
    drawn, true = ~np.isnan(a["p"]), cost(data["x"]).sum()
    found = {"largest relative difference": relative_difference(a["p"][drawn], b["p"][drawn])}
    for name, side in (("ours", a), ("theirs", b)):
        found[f"mean of {name}"] = float(side["sums"].mean() / true)
        found[f"deviation of {name}"] = float(side["sums"].std() / true)
    return found


PEER = Peer(
    "coresets",
    (
        Case("sensitivity", "kind=clustering, 200 of 2,000 vectors, 1 cluster, 300 draws", 2000, clustered, ours,
             theirs, agreement,
             {"largest relative difference": (0, 1e-5), "mean of ours": (0.998, 1.002),
              "mean of theirs": (0.998, 1.002), "deviation of ours": (0.008, 0.011),
              "deviation of theirs": (0.008, 0.011)},
             "draws are random, and with replacement there"),
    ),
    repository="zalanborsos/coresets",
)  # fmt: skip
