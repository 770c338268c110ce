"""The authors' code of Moderate coreset."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, overlap, relative_difference, script
from conformance.vectors import clustered

SHARE = 0.3


def ours(data: Arrays) -> Arrays:
    """Distances, and the rows of the middle band."""
    from datadiet.scorers import moderate
    from datadiet.selectors import band

    distance = moderate(data["x"], data["labels"])
    return {"distance": distance, "rows": band(distance, int(SHARE * len(distance)))}


def theirs(data: Arrays) -> Arrays:
    """Distances, and the rows that are not in their file of dropped ones."""
    import sys
    from types import ModuleType, SimpleNamespace

    theirs = ModuleType("datasets")  # a folder of theirs, which the library of that name would hide
    theirs.__path__ = [str(checkout() / "datasets")]
    sys.modules["datasets"] = theirs
    code = script("selection.py")
    distance = code.get_distance(data["x"], data["labels"])
    dropped = code.get_prune_idx(SimpleNamespace(rate=SHARE), distance)
    return {"distance": distance, "rows": np.setdiff1d(np.arange(len(distance)), dropped)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far the distances are apart, and how many rows are the same."""
    return {
        "largest relative difference": relative_difference(a["distance"], b["distance"]),
        "same rows": overlap(a["rows"], b["rows"]),
    }


PEER = Peer(
    "2023_ICLR_Moderate-DS",
    (
        Case("moderate", "3,000 of 10,000 vectors, with band", 10_000, clustered, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-5), "same rows": (0.999, 1)}),
    ),
    repository="tmllab/2023_ICLR_Moderate-DS",
)  # fmt: skip
