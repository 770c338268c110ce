"""The authors' code of PA&DA: the probabilities of the draws of an epoch, by a network whose outputs are given."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference, script

EPOCHS, EPOCH, CLASSES, BATCH = 10, 5, 10, 256


def outputs(n: int, *, all_drawn: bool) -> Arrays:
    """Outputs and labels, and the rows that the latest epoch presented: each once, or n draws."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, n)
    logits = rng.normal(size=(n, CLASSES)) + 3 * rng.random((n, 1)) * np.eye(CLASSES)[labels]
    drawn = rng.permutation(n) if all_drawn else rng.integers(0, n, n)
    return {"logits": logits.astype(np.float32), "labels": labels, "drawn": drawn}


def ours(data: Arrays, *, others: str) -> Arrays:
    """The probabilities of epoch 5 of 10.

    Args:
        data: outputs, labels and draws.
        others: rows that were not drawn have their norm from an earlier epoch ("earlier"), or 0 ("zero").
    """
    import torch

    from datadiet.sampling import GradientNormSampler
    from datadiet.tasks.classification import output_signals

    logits, labels, n = torch.from_numpy(data["logits"]), torch.from_numpy(data["labels"]), len(data["labels"])
    norms = output_signals(logits, labels)["error_norm"].numpy()
    sampler = GradientNormSampler(n, epochs=EPOCHS)
    sampler.update(np.arange(n), norms if others == "earlier" else np.zeros(n))
    sampler.set_epoch(EPOCH - 1)
    sampler.update(data["drawn"], norms[data["drawn"]])
    sampler.set_epoch(EPOCH)
    return {"p": sampler.probabilities(EPOCH)}


def theirs(data: Arrays, *, epoch: int) -> Arrays:
    """The probabilities with which their training draws at the end of an epoch, for the next."""
    from unittest import mock

    import torch

    code: Any = script("nasbench201/train_panda_201.py")
    code.args.tau, code.args.path_tau = epoch / EPOCHS, 0.0
    code.operatio_gradient_norm_prob = lambda *_: [1.0] * 5  # of the paths, which our network does not have
    n = len(data["labels"])
    one = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.ones_(one.weight)
    network = mock.MagicMock(side_effect=lambda x, path: x * one.weight, parameters=one.parameters)
    rows = torch.from_numpy(data["drawn"]).split(BATCH)
    batches = [(*(torch.from_numpy(data[name])[part] for name in ("logits", "labels")), part) for part in rows]
    told = mock.MagicMock(initial_prob=np.ones(n) / n, initial_indices=list(range(n)))
    told.__len__.return_value = n
    loss, optimizer = torch.nn.CrossEntropyLoss(reduction="none"), torch.optim.SGD(one.parameters(), lr=0.0)
    with mock.patch.object(code.np.random, "choice", wraps=np.random.choice) as choice:
        code.train(epoch, told, batches, network, loss, optimizer)
    return {"p": choice.call_args.kwargs["p"]}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far the probabilities are apart."""
    return {"largest relative difference": relative_difference(a["p"], b["p"])}


def others(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The share of the draws that goes to what was not drawn before."""
    left = np.setdiff1d(np.arange(len(a["p"])), data["drawn"])
    return {"not drawn before, ours": float(a["p"][left].sum()), "theirs": float(b["p"][left].sum())}


once, draws = partial(outputs, all_drawn=True), partial(outputs, all_drawn=False)
SAME = {"largest relative difference": (0, 1e-5)}
PEER = Peer(
    "PA-DA",
    (
        Case("gradient_norm", "5,000 examples, each seen in the latest epoch, tau = 0.5", 5000, once,
             partial(ours, others="earlier"), partial(theirs, epoch=EPOCH), agreement, SAME),
        Case("gradient_norm", "the same, both for epoch 5 of 10", 5000, once, partial(ours, others="earlier"),
             partial(theirs, epoch=EPOCH - 1), agreement, {"largest relative difference": (0.01, 0.2)},
             "tau is that of the epoch before there"),
        Case("gradient_norm", "5,000 draws in the latest epoch, tau = 0.5", 5000, draws,
             partial(ours, others="earlier"), partial(theirs, epoch=EPOCH), others,
             {"not drawn before, ours": (0.33, 0.42), "theirs": (0.15, 0.21)},
             "an example that the latest epoch did not draw has the norm 0 there, and its last norm here"),
        Case("gradient_norm", "the same, with the norm 0 given to ours too", 5000, draws, partial(ours, others="zero"),
             partial(theirs, epoch=EPOCH), agreement, SAME),
    ),
    repository="ShunLu91/PA-DA",
)  # fmt: skip
