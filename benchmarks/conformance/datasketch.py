"""datasketch: MinHash and locality-sensitive hashing in Python."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.duplicates import EXPECTED, THRESHOLD, against_exact, joined, ours, shingled, texts


def theirs(data: Arrays) -> Arrays:
    """One of each group of texts that the index joins, with as many hash functions."""
    from datasketch import MinHash, MinHashLSH

    index, pairs = MinHashLSH(threshold=THRESHOLD, num_perm=256), []
    sets = shingled(data)
    for row, shingles in enumerate(sets):
        sketch = MinHash(num_perm=256)
        sketch.update_batch([shingle.encode() for shingle in shingles])
        pairs += [(other, row) for other in index.query(sketch)]
        index.insert(row, sketch)
    return {"kept": np.unique(joined(len(sets), pairs))}


PEER = Peer(
    "datasketch",
    (
        Case("minhash", "3,000 texts, a third of them near-copies, threshold 0.7", 3000, texts, ours, theirs,
             against_exact, EXPECTED,
             "candidates are joined there without comparing them exactly"),
    ),
    ("datasketch==2.0.0",),
)  # fmt: skip
