"""statsmodels: the leverages of least squares."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference
from conformance.vectors import clustered, kept

DRAWS = 300


def ours(data: Arrays) -> Arrays:
    """Leverages, and how often each row is drawn."""
    from datadiet.geometry import Matrix
    from datadiet.randomness import generator
    from datadiet.selectors import sensitivity
    from datadiet.selectors.sensitivity import leverage

    x = data["x"]
    draws = [sensitivity(x, kept(len(x)), rng=generator(seed))[0] for seed in range(DRAWS)]
    return {"leverage": leverage(Matrix.open(x)), "times": np.bincount(np.concatenate(draws), minlength=len(x))}


def theirs(data: Arrays) -> Arrays:
    """The diagonal of the hat matrix."""
    from statsmodels.api import OLS

    fitted = OLS(np.zeros(len(data["x"])), data["x"].astype(float)).fit()
    return {"leverage": fitted.get_influence().hat_matrix_diag}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart; and how often rows are drawn, compared with what their leverages ask for.

    The variance is that of the numbers of draws, each divided by the variance that its probability gives.
    """
    q = kept(len(data["x"])) * b["leverage"] / b["leverage"].sum()
    away = (a["times"] - DRAWS * q) ** 2 / (DRAWS * q * (1 - q))
    return {
        "largest relative difference": relative_difference(a["leverage"], b["leverage"]),
        "largest probability": float(q.max()),
        "variance of the draws": float(away.mean()),
    }


PEER = Peer(
    "statsmodels",
    (
        Case("sensitivity", "kind=leverage, 500 of 5,000 vectors, 300 draws", 5000, clustered, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-6), "largest probability": (0.1, 1),
              "variance of the draws": (0.9, 1.1)}),
    ),
    ("statsmodels==0.15.0",),
)  # fmt: skip
