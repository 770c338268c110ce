"""scikit-learn: logistic regression, fitted again without each example."""

from __future__ import annotations

from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer
from conformance.vectors import clustered

DIMENSIONS, ASKED, L2 = 5, 100, 1e-2


def split(n: int) -> Arrays:
    """Features and labels of 10 classes, and 100 for reference."""
    both = clustered(n + ASKED, DIMENSIONS)
    return {
        "x": both["x"][:n], "y": both["labels"][:n], "val_x": both["x"][n:], "val_y": both["labels"][n:],
    }  # fmt: skip


def our_refitted(data: Arrays) -> Arrays:
    """`influence`, which fits the head itself."""
    from datadiet.scorers import influence

    return {"rise": influence(data["x"], data["y"], data["val_x"], data["val_y"], l2=L2)}


def our_last_layer(data: Arrays) -> Arrays:
    """`influence_last_layer`, of the probabilities of their head."""
    from datadiet.scorers import influence_last_layer

    head = fitted(data, np.ones(len(data["x"])))
    p, val_p = (head.predict_proba(with_ones(data[name])) for name in ("x", "val_x"))
    return {"rise": influence_last_layer(data["x"], p, data["y"], data["val_x"], val_p, data["val_y"], l2=L2)}


def theirs(data: Arrays) -> Arrays:
    """The rise of the mean reference loss, by a fit without each example."""
    n = len(data["x"])
    whole, *others = (reference_loss(data, np.arange(n) != left_out) for left_out in range(-1, n))
    return {"rise": np.array(others) - whole}


def reference_loss(data: Arrays, there: np.ndarray) -> float:
    """The mean cross-entropy of the reference, after a fit to the examples that are there."""
    p = fitted(data, there).predict_proba(with_ones(data["val_x"]))
    return float(-np.log(p[np.arange(len(p)), data["val_y"]]).mean())


def fitted(data: Arrays, there: np.ndarray) -> Any:
    """The head; C = 1 / (n l2) also without an example, and the bias is a column, which is regularised as ours is."""
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=1 / (len(there) * L2), fit_intercept=False, solver="newton-cg", tol=1e-10)
    return head.fit(with_ones(data["x"]), data["y"], sample_weight=there.astype(float))


def with_ones(x: np.ndarray) -> np.ndarray:
    """A column of ones for the bias."""
    return np.hstack([x, np.ones((len(x), 1))]).astype(float)


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Their correlation, and the slope of theirs over ours."""
    return {
        "correlation": float(np.corrcoef(a["rise"], b["rise"])[0, 1]),
        "slope": float((a["rise"] @ b["rise"]) / (a["rise"] @ a["rise"].astype(float))),
    }


EXPECTED = {"correlation": (0.999, 1), "slope": (0.97, 1.03)}
WHY = "one Newton step in place of a refit"
PEER = Peer(
    "scikit-learn",
    (
        Case("influence", "300 examples of 5 features, 10 classes, each left out and the head refitted", 300, split,
             our_refitted, theirs, agreement, EXPECTED, WHY),
        Case("influence_last_layer", "the same, order=newton, from their head", 300, split, our_last_layer, theirs,
             agreement, EXPECTED, WHY),
    ),
    ("scikit-learn==1.9.1",),
)  # fmt: skip
