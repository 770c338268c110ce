"""scipy: the Jensen-Shannon distance, whose square is the divergence."""

from __future__ import annotations

from conformance.case import Arrays, Case, Peer
from conformance.paser import distance, our_divergence, outputs


def theirs(data: Arrays) -> Arrays:
    """In float64, of the probabilities."""
    from scipy.spatial.distance import jensenshannon
    from scipy.special import softmax

    p, q = (softmax(data[name].astype(float), axis=1) for name in ("dense", "pruned"))
    return {"divergence": jensenshannon(p, q, axis=1) ** 2}


PEER = Peer(
    "scipy",
    (
        Case("divergence", "50,000 examples, 10 classes", 50_000, outputs, our_divergence, theirs, distance,
             {"largest relative difference": (0, 1e-12)}),
    ),
    ("scipy==1.17.1",),
)  # fmt: skip
