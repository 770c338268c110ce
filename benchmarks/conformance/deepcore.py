"""DeepCore: k-center and herding, by the functions of its classes."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, overlap
from conformance.vectors import clustered, kept


def our_centers(data: Arrays) -> Arrays:
    """From the first row on, as theirs here."""
    from datadiet.selectors import k_center

    return {"rows": np.sort(k_center(data["x"], kept(len(data["x"])), start=0))}


def their_centers(data: Arrays) -> Arrays:
    """Rows in ascending order; the first is given, since they draw it."""
    import sys

    import torch

    np.in1d = np.isin  # noqa: NPY201  a name that numpy had when theirs was written
    sys.path.insert(0, str(checkout()))
    from deepcore.methods.kcentergreedy import k_center_greedy
    from deepcore.methods.methods_utils import euclidean_dist

    k = kept(len(data["x"]))
    rows = k_center_greedy(torch.from_numpy(data["x"]), k - 1, euclidean_dist, "cpu", 0, None, [0], 10**9)
    return {"rows": np.sort(rows)}


def our_herding(data: Arrays) -> Arrays:
    """Greedy matching of the mean, of vectors as they are."""
    from datadiet.selectors import herding

    return {"rows": herding(data["x"], kept(len(data["x"])), normalise=False)}


def their_herding(data: Arrays, *, metric: str) -> Arrays:
    """Their loop; with the negative distance, its argmax becomes the argmin of the definition."""
    import sys
    from types import SimpleNamespace

    import torch

    sys.path.insert(0, str(checkout()))
    from deepcore.methods.herding import Herding
    from deepcore.methods.methods_utils import euclidean_dist

    measure = euclidean_dist if metric == "distance" else lambda a, b: -euclidean_dist(a, b)
    method = SimpleNamespace(args=SimpleNamespace(print_freq=10**9), metric=measure)
    return {"rows": Herding.herding(method, torch.from_numpy(data["x"]), kept(len(data["x"])))}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same."""
    return {"same rows": overlap(a["rows"], b["rows"])}


def herding_agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same, and how far the mean of each selection is from that of all."""
    mean = data["x"].mean(0)
    away = {
        name: float(np.linalg.norm(data["x"][side["rows"]].mean(0) - mean))
        for name, side in (("ours", a), ("theirs", b))
    }
    return {**agreement(data, a, b), "distance of our mean": away["ours"], "distance of their mean": away["theirs"]}


PEER = Peer(
    "DeepCore",
    (
        Case("k_center", "200 of 2,000 vectors, the same first", 2000, clustered, our_centers, their_centers, agreement,
             {"same rows": (1, 1)}),
        Case("herding", "200 of 2,000 vectors, normalise=False", 2000, clustered, our_herding,
             partial(their_herding, metric="distance"), herding_agreement, {"same rows": (0, 0.5)},
             "the largest distance is taken there, where the definition has the smallest"),
        Case("herding", "the same, with the negative distance given to them", 2000, clustered, our_herding,
             partial(their_herding, metric="negative"), herding_agreement, {"same rows": (0.99, 1)}),
    ),
    repository="PatrickZH/DeepCore",
)  # fmt: skip
