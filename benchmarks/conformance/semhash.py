"""semhash: near-duplicate vectors through an approximate index."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap

COSINE = 0.95


def copies(n: int) -> Arrays:
    """Random directions; the last third are near-copies of the first, of a cosine around 0.98."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 64)).astype(np.float32)
    x[n - n // 3 :] = x[: n // 3] + 0.2 * rng.normal(size=(n // 3, 64)).astype(np.float32)
    return {"x": x}


def ours(data: Arrays) -> Arrays:
    """SemDeDup in one cluster, preferring earlier rows as theirs does."""
    from datadiet.selectors import semdedup

    earlier = -np.arange(len(data["x"]), dtype=np.float64)
    return {"kept": np.sort(semdedup(data["x"], epsilon=1 - COSINE, clusters=1, hardness=earlier))}


def theirs(data: Arrays) -> Arrays:
    """Their deduplication of given vectors."""
    from semhash import SemHash

    class Encoder:
        def encode(self, inputs: list[str], **_: object) -> np.ndarray:
            return data["x"][[int(text) for text in inputs]]

    names = [str(row) for row in range(len(data["x"]))]
    found = SemHash.from_embeddings(embeddings=data["x"], records=names, model=Encoder())
    return {"kept": np.sort([int(name) for name in found.self_deduplicate(threshold=COSINE).selected])}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many of the kept rows are the same, either way."""
    return {"ours in theirs": overlap(a["kept"], b["kept"]), "theirs in ours": overlap(b["kept"], a["kept"])}


PEER = Peer(
    "semhash",
    (
        Case("semdedup", "5,000 vectors, a third of them near-copies, cosine 0.95", 5000, copies, ours, theirs,
             agreement, {"ours in theirs": (0.999, 1), "theirs in ours": (0.999, 1)},
             "the index there is approximate, and may miss a pair"),
    ),
    ("semhash==0.5.0",),
)  # fmt: skip
