"""The authors' code of CRAIG: lazy greedy facility location, and the sizes of the clusters."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap, script
from conformance.vectors import clustered

UNUSED = {  # what their file needs to read data sets
    "nearpy": ("Engine",),
    "nearpy.distances": ("EuclideanDistance",),
    "nearpy.filters": ("NearestFilter",),
    "nearpy.hashes": ("RandomBinaryProjections",),
    "tensorflow.contrib.learn.python.learn.datasets.mnist": ("read_data_sets",),
    "tensorflow.examples.tutorials.mnist": ("input_data",),
}


def kept(n: int) -> int:
    """How many are kept: few enough that no two are equally good, as two that stand for nothing but each other are."""
    return n // 20


def centre_first(n: int) -> Arrays:
    """Vectors, the one with the smallest sum of distances first: it is the first that greedy takes."""
    x = clustered(n)["x"]
    sums = [np.linalg.norm(x - row, axis=1).sum() for row in x]
    return {"x": np.roll(x, -int(np.argmin(sums)), axis=0)}


def their_code() -> Any:
    """Their functions."""
    for name, members in UNUSED.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), ModuleType(parts[end - 1]))
        for member in members:
            setattr(sys.modules[name], member, None)
    return script("util.py")


def ours(data: Arrays) -> Arrays:
    """Medoids in the order taken, and their weights."""
    from datadiet.selectors import craig

    rows, weights = craig(data["x"], kept(len(data["x"])))
    return {"rows": rows, "weights": weights}


def theirs(data: Arrays) -> Arrays:
    """The same, without their program in C++."""
    import sklearn.metrics  # noqa: F401  theirs expects it to be imported

    code = their_code()
    similarity, _ = code.similarity(data["x"], metric="euclidean")
    rows, sizes, *_ = code.get_facility_location_submodular_order(similarity, kept(len(data["x"])), 0)
    return {"rows": rows, "weights": sizes}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Rows, the place of row 0 among theirs, weights of the rows that both have, and the sum of distances."""
    n = len(data["x"])
    weights = np.zeros((2, n))
    for side, found in enumerate((a, b)):
        weights[side, found["rows"]] = found["weights"]
    both = np.intersect1d(a["rows"], b["rows"])
    away = [np.min([np.linalg.norm(data["x"] - data["x"][row], axis=1) for row in side["rows"]], 0) for side in (a, b)]
    return {
        "same rows": overlap(a["rows"], b["rows"]),
        "same weights": float((weights[0, both] == weights[1, both]).mean()),
        "place of row 0 in theirs": float(np.append(b["rows"], 0).tolist().index(0) + 1),
        "their distances / ours": float(away[1].sum() / away[0].sum()),
    }


PEER = Peer(
    "craig",
    (
        Case("craig", "100 of 2,000 vectors, one class", 2000, clustered, ours, theirs, agreement,
             {"place of row 0 in theirs": (2, 2), "same rows": (0.8, 0.999)},
             "index 0 is taken there for a request to normalise, so its gain is log 2"),
        Case("craig", "the same, the first to be taken at row 0", 2000, centre_first, ours, theirs, agreement,
             {"same rows": (1, 1), "same weights": (1, 1), "place of row 0 in theirs": (1, 1)}),
    ),
    repository="baharanm/craig",
)  # fmt: skip
