"""CORDS: CRAIG of the inputs, as for a convex loss."""

from __future__ import annotations

import logging
import sys
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, overlap
from conformance.vectors import clustered


def kept(n: int) -> int:
    """How many are kept: few enough that no two are equally good, as two that stand for nothing but each other are."""
    return n // 20


def ours(data: Arrays) -> Arrays:
    """A weight for every row, 0 for what is not kept."""
    from datadiet.selectors import craig

    n = len(data["x"])
    rows, weights = craig(data["x"], kept(n))
    return {"weights": np.bincount(rows, weights, minlength=n)}


def theirs(data: Arrays, *, ordered: bool = False, plain: bool = False) -> Arrays:
    """The same of theirs.

    Args:
        data: vectors.
        ordered: give them a sampler that keeps the order, in place of one that shuffles.
        plain: give them the distance, in place of its square.
    """
    import torch

    code, n = their_code(), len(data["x"])
    if ordered:
        code.SubsetRandomSampler = list
    if plain:
        code.CRAIGStrategy.distance = lambda self, x, y: torch.cdist(x.double(), y.double()).float()
    rows = torch.utils.data.TensorDataset(torch.from_numpy(data["x"]), torch.zeros(n, dtype=torch.long))
    loader, model = torch.utils.data.DataLoader(rows, batch_size=250), torch.nn.Identity()
    torch.manual_seed(0)
    strategy = code.CRAIGStrategy(loader, loader, model, None, "cpu", 1, False, True, "PerClass", logging.getLogger())
    found, weights = strategy.select(kept(n), model.state_dict())
    return {"weights": np.bincount(found, weights.numpy(), minlength=n)}


def their_code() -> Any:
    """Their file, without the strategies beside it and what these need."""
    package = ModuleType("strategies")
    package.__path__ = [str(checkout() / "cords" / "selectionstrategies" / "SL")]
    sys.modules[package.__name__] = package
    from strategies import craigstrategy

    return craigstrategy


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same, and how many weights; and the distances that are left, also of random rows."""
    rows, their_rows = (np.flatnonzero(side["weights"]) for side in (a, b))
    both = np.intersect1d(rows, their_rows)
    drawn = np.random.default_rng(0).choice(len(data["x"]), len(rows), replace=False)
    left = [np.min([np.linalg.norm(data["x"] - data["x"][row], axis=1) for row in taken], 0).sum()
            for taken in (rows, their_rows, drawn)]  # fmt: skip
    return {
        "same rows": overlap(rows, their_rows),
        "same weights": float((a["weights"][both] == b["weights"][both]).mean()),
        "their distances / ours": float(left[1] / left[0]),
        "those of random rows": float(left[2] / left[0]),
    }


PEER = Peer(
    "cords",
    (
        Case("craig", "100 of 2,000 vectors, one class", 2000, clustered, ours, theirs, agreement,
             {"same rows": (0, 0.2), "their distances / ours": (1.05, 1.2)},
             "places in a shuffled order are taken for rows there"),
        Case("craig", "the same, without shuffling", 2000, clustered, ours, partial(theirs, ordered=True), agreement,
             {"same rows": (0.8, 0.99)}, "distances are squared there"),
        Case("craig", "the same, without squares", 2000, clustered, ours, partial(theirs, ordered=True, plain=True),
             agreement, {"same rows": (1, 1), "same weights": (1, 1)}),
    ),
    install=("apricot-select==0.6.1",),
    repository="decile-team/cords",
)  # fmt: skip
