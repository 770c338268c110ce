"""submodlib: greedy submodular selection in C++."""

from __future__ import annotations

from conformance.apricot import agreement, our_cut, ours
from conformance.case import Arrays, Case, Peer
from conformance.vectors import clustered, cosines, kept


def theirs(data: Arrays) -> Arrays:
    """Facility location from the kernel, lazily."""
    import numpy as np
    from submodlib import FacilityLocationFunction

    n = len(data["x"])
    function = FacilityLocationFunction(n=n, mode="dense", sijs=cosines(data["x"]), separate_rep=False)
    taken = function.maximize(budget=kept(n), optimizer="LazyGreedy", show_progress=False)
    return {"rows": np.array([row for row, _ in taken])}


def their_cut(data: Arrays) -> Arrays:
    """Graph cut; their lambda is on the other sum, so that it is one half where ours is 2."""
    import numpy as np
    from submodlib import GraphCutFunction

    n = len(data["x"])
    function = GraphCutFunction(n=n, mode="dense", lambdaVal=0.5, ggsijs=cosines(data["x"]), separate_rep=False)
    taken = function.maximize(budget=kept(n), optimizer="LazyGreedy", show_progress=False)
    return {"rows": np.array([row for row, _ in taken])}


PEER = Peer(
    "submodlib",
    (
        Case("facility_location", "200 of 2,000 vectors, the same kernel", 2000, clustered, ours, theirs, agreement,
             {"same order up to": (1, 1)}),
        Case("graph_cut", "200 of 2,000 vectors, the same kernel", 2000, clustered, our_cut, their_cut, agreement,
             {"same order up to": (1, 1)}),
    ),
    ("submodlib-py==0.0.3",),
)  # fmt: skip
