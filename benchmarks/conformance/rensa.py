"""rensa: MinHash in Rust."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.duplicates import EXPECTED, THRESHOLD, against_exact, ours, shingled, texts


def theirs(data: Arrays) -> Arrays:
    """The texts that are not taken for near-copies of an earlier one, with as many hash functions."""
    from rensa import RMinHash, RMinHashDeduplicator

    found, kept = RMinHashDeduplicator(THRESHOLD, 256, True, num_bands=64, seed=42), []
    for row, shingles in enumerate(shingled(data)):
        sketch = RMinHash(256, 42)
        sketch.update(sorted(shingles))
        if found.add(str(row), sketch):
            kept.append(row)
    return {"kept": np.array(kept)}


PEER = Peer(
    "rensa",
    (
        Case("minhash", "3,000 texts, a third of them near-copies, threshold 0.7", 3000, texts, ours, theirs,
             against_exact, EXPECTED,
             "the coefficient is estimated there from the hash values"),
    ),
    ("rensa==0.5.0",),
)  # fmt: skip
