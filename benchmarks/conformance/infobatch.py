"""The authors' package of InfoBatch: which part of an epoch is left out, and the weights."""

from __future__ import annotations

from functools import partial

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout

EPOCHS = 300  # 0.875 of them is not a whole number


def losses(n: int) -> Arrays:
    """The latest loss of every example."""
    return {"loss": np.random.default_rng(0).gamma(1, 1, n).astype(np.float32)}


def ours(data: Arrays, *, epoch: int) -> Arrays:
    """The rows of an epoch and the weights of all."""
    from datadiet.sampling import InfoBatchSampler

    sampler = InfoBatchSampler(len(data["loss"]), epochs=EPOCHS)
    sampler.update(np.arange(len(data["loss"])), data["loss"])
    sampler.set_epoch(epoch)
    rows = np.array(list(sampler))
    weights = sampler.weights(rows)
    return {"rows": rows, "weights": np.ones(len(rows)) if weights is None else weights}


def theirs(data: Arrays, *, epoch: int) -> Arrays:
    """The same, after as many epochs of their sampler."""
    import sys

    import torch

    sys.path.insert(0, str(checkout()))
    from infobatch import InfoBatch

    data_set = InfoBatch(list(range(len(data["loss"]))), EPOCHS)
    data_set.scores = torch.from_numpy(data["loss"]).clone()
    sampler = data_set.sampler
    for number in range(max(0, epoch - 3), epoch + 1):  # a few epochs suffice, since the losses stay the same
        sampler.iterations = number
        rows = np.array(list(sampler))
    return {"rows": rows, "weights": data_set.weights[rows].numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows an epoch has, and the sum of the weights as a share of all examples."""
    n = len(data["loss"])
    return {
        "rows of ours": len(a["rows"]), "rows of theirs": len(b["rows"]),
        "weights of ours / n": float(a["weights"].sum() / n), "weights of theirs / n": float(b["weights"].sum() / n),
    }  # fmt: skip


PEER = Peer(
    "InfoBatch",
    (
        Case("infobatch", "an epoch that is pruned, 10,000 examples", 10_000, losses, partial(ours, epoch=10),
             partial(theirs, epoch=10), agreement,
             {"weights of ours / n": (0.9999, 1.0001), "weights of theirs / n": (0.9995, 1.0005)}),
        Case("infobatch", "an epoch of the annealing phase, 10,000 examples", 10_000, losses,
             partial(ours, epoch=290), partial(theirs, epoch=290), agreement,
             {"weights of ours / n": (1, 1), "weights of theirs / n": (1.05, 2)},
             "the weights are reset there only if 0.875 times the number of epochs is whole"),
    ),
    repository="NUS-HPC-AI-Lab/InfoBatch",
)  # fmt: skip
