"""semhash: vectors that are near one of another set, through an approximate index."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.leaks_sklearn import COSINE, agreement, leaking, ours


def theirs(data: Arrays) -> Arrays:
    """Their deduplication against an index of the reference."""
    from semhash import SemHash

    class Encoder:
        def encode(self, inputs: list[str], **_: object) -> np.ndarray:
            return data["x"][[int(text) for text in inputs]]

    names = [f"reference {row}" for row in range(len(data["reference"]))]
    index = SemHash.from_embeddings(embeddings=data["reference"], records=names, model=Encoder())
    found = index.deduplicate([str(row) for row in range(len(data["x"]))], threshold=COSINE)
    return {"kept": np.sort([int(name) for name in found.selected])}


PEER = Peer(
    "semhash",
    (
        Case("decontaminate", "5,000 vectors, a reference of 1,000, cosine 0.95", 5000, leaking, ours, theirs,
             agreement, {"ours in theirs": (0.999, 1), "theirs in ours": (0.999, 1)}),
    ),
    ("semhash==0.5.0",),
)  # fmt: skip
