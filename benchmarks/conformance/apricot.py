"""apricot: greedy submodular selection from a kernel."""

from __future__ import annotations

from conformance.case import Arrays, Case, Peer, overlap, same_order
from conformance.vectors import clustered, cosines, kept


def ours(data: Arrays) -> Arrays:
    """Facility location over all pairs."""
    from datadiet.selectors import facility_location

    return {"rows": facility_location(data["x"], kept(len(data["x"])))}


def theirs(data: Arrays) -> Arrays:
    """The same from the kernel, lazily."""
    from apricot import FacilityLocationSelection

    found = FacilityLocationSelection(kept(len(data["x"])), metric="precomputed", optimizer="lazy")
    return {"rows": found.fit(cosines(data["x"])).ranking}


def our_cut(data: Arrays) -> Arrays:
    """Graph cut over all pairs, lambda = 2."""
    from datadiet.selectors import graph_cut

    return {"rows": graph_cut(data["x"], kept(len(data["x"])), weight=2.0)}


def their_cut(data: Arrays) -> Arrays:
    """The same from the kernel; their alpha is our lambda."""
    from apricot import GraphCutSelection

    found = GraphCutSelection(kept(len(data["x"])), metric="precomputed", alpha=2.0, optimizer="naive")
    return {"rows": found.fit(cosines(data["x"])).ranking}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Whether the same rows are taken, in the same order."""
    return {"same rows": overlap(a["rows"], b["rows"]), "same order up to": same_order(a["rows"], b["rows"])}


PEER = Peer(
    "apricot",
    (
        Case("facility_location", "200 of 2,000 vectors, the same kernel", 2000, clustered, ours, theirs, agreement,
             {"same order up to": (1, 1)}),
        Case("graph_cut", "200 of 2,000 vectors, the same kernel", 2000, clustered, our_cut, their_cut, agreement,
             {"same order up to": (1, 1)}),
    ),
    ("apricot-select==0.6.1",),
)  # fmt: skip
