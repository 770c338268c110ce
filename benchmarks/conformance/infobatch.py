"""The authors' package of InfoBatch: which part of an epoch is left out, and the weights."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, overlap

LAST = 0.875  # the share of the epochs after which all rows are taken


def losses(n: int) -> Arrays:
    """The latest loss of every example."""
    return {"loss": np.random.default_rng(0).gamma(1, 1, n).astype(np.float32)}


def passed(epoch: int, epochs: int) -> range:
    """The epochs up to this one, from the last few of those that are pruned on: the losses stay the same."""
    return range(max(0, min(epoch, int(LAST * epochs)) - 3), epoch + 1)


def ours(data: Arrays, *, epoch: int, epochs: int) -> Arrays:
    """The rows of an epoch, after those before it, and their weights."""
    from datadiet.sampling import InfoBatchSampler

    sampler = InfoBatchSampler(len(data["loss"]), epochs=epochs)
    sampler.update(np.arange(len(data["loss"])), data["loss"])
    for number in passed(epoch, epochs):
        sampler.set_epoch(number)
        rows = np.array(list(sampler))
    weights = sampler.weights(rows)
    return {"rows": rows, "weights": np.ones(len(rows)) if weights is None else weights}


def theirs(data: Arrays, *, epoch: int, epochs: int) -> Arrays:
    """The same; their sampler counts from 1, since it is started once when it is made."""
    import sys

    import torch

    sys.path.insert(0, str(checkout()))
    from infobatch import InfoBatch

    data_set = InfoBatch(list(range(len(data["loss"]))), epochs)
    data_set.scores = torch.from_numpy(data["loss"]).clone()
    sampler = data_set.sampler
    for number in passed(epoch, epochs):
        sampler.iterations = number + 1
        rows = np.array(list(sampler))
    return {"rows": rows, "weights": data_set.weights[rows].numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows an epoch has, those of a high loss that both keep, and the weights."""
    n, high = len(data["loss"]), np.flatnonzero(data["loss"] >= data["loss"].mean())
    _, in_ours, in_theirs = np.intersect1d(a["rows"], b["rows"], return_indices=True)
    return {
        "rows of ours": len(a["rows"]), "rows of theirs": len(b["rows"]),
        "high losses in ours": overlap(high, a["rows"]), "high losses in theirs": overlap(high, b["rows"]),
        "largest difference of a weight": float(np.abs(a["weights"][in_ours] - b["weights"][in_theirs]).max()),
        "weights of ours / n": float(a["weights"].sum() / n), "weights of theirs / n": float(b["weights"].sum() / n),
    }  # fmt: skip


def case(what: str, epoch: int, epochs: int, rows: int, theirs_by_n: tuple[float, float], difference: float,
         why: str = "") -> Case:  # fmt: skip
    """An epoch of 10,000 examples, of which both keep as many rows."""
    same = (1.0, 1.0)
    expected = {
        "rows of ours": (rows, rows), "rows of theirs": (rows, rows), "high losses in ours": same,
        "high losses in theirs": same, "largest difference of a weight": (difference, difference),
        "weights of ours / n": (0.9999, 1.0001), "weights of theirs / n": theirs_by_n,
    }  # fmt: skip
    sides = (partial(side, epoch=epoch, epochs=epochs) for side in (ours, theirs))
    return Case("infobatch", what, 10_000, losses, *sides, agreement, expected, why)


PEER = Peer(
    "InfoBatch",
    (
        case("an epoch that is pruned, 10,000 examples", 10, 300, 6850, (0.9999, 1.0001), 0),
        case("an epoch of the annealing phase, 10,000 examples", 290, 300, 10_000, (1.05, 2), 1,
             "the weights are reset there only if 0.875 times the number of epochs is whole"),
        case("the same of 304 epochs, of which 0.875 is whole", 290, 304, 10_000, (1, 1), 0),
    ),
    repository="NUS-HPC-AI-Lab/InfoBatch",
)  # fmt: skip
