"""The authors' code of SeTa: the rows of every epoch of a training whose losses stay as they are."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, script

GROUPS, WINDOW, EPOCHS = 5, 0.6, 16  # 0.875 of them is a whole number


def apart(n: int) -> Arrays:
    """Losses in five groups of different sizes, with nothing between them."""
    rng = np.random.default_rng(0)
    group = rng.choice(GROUPS, n, p=[0.4, 0.25, 0.15, 0.12, 0.08])
    return {"loss": (group + 0.2 * rng.random(n)).astype(np.float32)}


def skewed(n: int) -> Arrays:
    """Losses as they are in a training: most are low."""
    return {"loss": np.random.default_rng(0).gamma(1, 1, n).astype(np.float32)}


def ours(data: Arrays, *, epochs: int = EPOCHS, ratio: float = 0.0) -> Arrays:
    """(epochs, n) which rows are presented."""
    from datadiet.sampling import SeTaSampler

    n = len(data["loss"])
    sampler = SeTaSampler(n, epochs=epochs, ratio=ratio, groups=GROUPS, window=WINDOW)
    sampler.update(np.arange(n), data["loss"])
    presented = np.zeros((epochs, n), dtype=bool)
    for epoch in range(epochs):
        sampler.set_epoch(epoch)
        presented[epoch, list(sampler)] = True
    return {"presented": presented}


def theirs(data: Arrays, *, epochs: int = EPOCHS, ratio: float = 0.0, starts: int = 0) -> Arrays:
    """The same; `starts`: their k-means takes the best of so many, each to the end, and not one."""
    import torch

    code: Any = script("seta.py")
    n = len(data["loss"])
    if starts:
        code.KMeans = partial(code.KMeans, n_init=starts, tol=0)
    data_set = code.SeTa(list(range(n)), epochs, ratio, GROUPS, WINDOW)
    data_set.scores = torch.from_numpy(data["loss"])
    sampler = data_set.sampler
    presented = np.zeros((epochs, n), dtype=bool)
    for epoch in range(epochs):
        presented[epoch, np.array(list(sampler), dtype=int)] = True
    return {"presented": presented}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """Epochs with the same rows, and how many rows of all epochs are the same."""
    same = a["presented"] == b["presented"]
    return {"epochs": float(len(same)), "equal epochs": float(same.all(1).sum()), "equal rows": float(same.mean())}


def drawn(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows the first and the last epoch have, and how the lengths of the others differ."""
    ours, theirs = (side["presented"].sum(1) for side in (a, b))
    return {
        "first of ours": float(ours[0]), "first of theirs": float(theirs[0]),
        "last of ours": float(ours[-1]), "last of theirs": float(theirs[-1]),
        "largest relative difference": float(np.abs(ours / theirs - 1).max()),
    }  # fmt: skip


PEER = Peer(
    "SeTa",
    (
        Case("seta", "16 epochs, losses in 5 separate groups", 5000, apart, ours, theirs, agreement,
             {"equal epochs": (16, 16)}),
        Case("seta", "the same, 20 epochs", 5000, apart, partial(ours, epochs=20), partial(theirs, epochs=20),
             agreement, {"equal epochs": (19, 19)},
             "0.875 of the epochs are rounded down there, and the last part begins an epoch earlier"),
        Case("seta", "16 epochs, a tenth left out at random", 5000, apart, partial(ours, ratio=0.1),
             partial(theirs, ratio=0.1), drawn,
             {"first of ours": (4500, 4500), "first of theirs": (4500, 4500), "last of ours": (4500, 4500),
              "last of theirs": (4500, 4500), "largest relative difference": (0, 0.03)}),
        Case("seta", "16 epochs, losses without gaps", 5000, skewed, ours, theirs, agreement,
             {"equal rows": (0.8, 0.9999)}, "k-means starts once at random there, and ends in another optimum"),
        Case("seta", "the same, the best of 50 starts of theirs", 5000, skewed, ours, partial(theirs, starts=50),
             agreement, {"equal rows": (0.9999, 1)}),
    ),
    repository="mrazhou/SeTa",
)  # fmt: skip
