"""pyDVL: exact KNN-Shapley values."""

from __future__ import annotations

from conformance.case import Arrays, Case, Peer
from conformance.neighbour_values import K, agreement, ours, split


def theirs(data: Arrays) -> Arrays:
    """The same from a classifier of scikit-learn."""
    from pydvl.valuation.dataset import Dataset
    from pydvl.valuation.methods import KNNShapleyValuation
    from sklearn.neighbors import KNeighborsClassifier

    asked = Dataset(data["val_x"], data["val_y"])
    found = KNNShapleyValuation(KNeighborsClassifier(n_neighbors=K), asked, progress=False)
    return {"value": found.fit(Dataset(data["x"], data["y"])).result.values}


PEER = Peer(
    "pyDVL",
    (
        Case("knn_shapley", "3,000 training and 100 reference vectors, K = 5", 3000, split, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-5)}),
    ),
    ("pyDVL==0.10.0",),
)  # fmt: skip
