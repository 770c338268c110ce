"""A public implementation of epsilon-greedy and UCB, since the authors' is not public."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, member, overlap

SHARE, EPSILON, ALPHA, CONFIDENCE, EPOCHS = 0.3, 0.1, 0.8, 1.0, 3


def losses(n: int) -> Arrays:
    """(epochs, n) losses that fall, and vary."""
    rng = np.random.default_rng(0)
    level = rng.gamma(1, 1, n)
    return {"loss": (level * rng.gamma(4, 0.25, (EPOCHS, n)) * np.linspace(1, 0.3, EPOCHS)[:, None]).astype("f4")}


def ours(data: Arrays, *, method: str) -> Arrays:
    """The rows after epochs in which all examples were seen."""
    from datadiet import sampling

    n = data["loss"].shape[1]
    if method == "ucb":
        sampler: Any = sampling.UCBSampler(n, SHARE, confidence=CONFIDENCE, alpha=ALPHA)
    else:
        sampler = sampling.EpsilonGreedySampler(n, SHARE, epsilon=EPSILON, alpha=ALPHA)
    for epoch, values in enumerate(data["loss"], 1):
        sampler.update(np.arange(n), values)
        sampler.set_epoch(epoch)
    return {"rows": np.array(list(sampler))}


def theirs(data: Arrays, *, method: str, first: bool) -> Arrays:
    """The same; `first`: the first loss is the first score, as in ours, and not a step from their constant."""
    import torch

    code = member(f"pruner/{method}.py", dataset_pruner={"DatasetPruner": object})
    pruner = object.__new__(code.UCB if method == "ucb" else code.EpsilonGreedy)
    n = data["loss"].shape[1]
    start = data["loss"][0].astype(float) if first else {"ucb": np.zeros(n), "epsilon_greedy": np.ones(n)}[method]
    given = {"num_train_samples": n, "ratio": SHARE, "alpha": ALPHA, "scores": start}
    given |= {"epsilon": EPSILON if method == "epsilon_greedy" else 0.0, "confidence": CONFIDENCE}
    given |= {"uncertainties": start.copy(), "variances": np.zeros(n)}
    vars(pruner).update(given)
    for values in torch.from_numpy(data["loss"][first:]):
        pruner.update_batch_score(values, np.arange(n))
    rows, others = pruner.sample_with_epsilon_greedy(EPOCHS)
    return {"rows": np.array(rows), "others": np.array(others)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows there are, and whether theirs, without those that are drawn at random, are in ours."""
    greedy = b["rows"][: len(b["rows"]) - len(b["others"])]
    return {
        "rows of ours": float(len(a["rows"])), "rows of theirs": float(len(b["rows"])),
        "rows drawn at random": float(len(b["others"])), "greedy rows in ours": overlap(greedy, a["rows"]),
    }  # fmt: skip


def case(method: str, what: str, first: bool, least: tuple[float, float], why: str = "") -> Case:
    """One method after three epochs."""
    counts = {"rows of ours": (3000, 3000), "rows of theirs": (3000, 3000)}
    return Case(method, what, 10_000, losses, partial(ours, method=method),
                partial(theirs, method=method, first=first), agreement, counts | {"greedy rows in ours": least},
                why)  # fmt: skip


PEER = Peer(
    "dataset_pruning",
    (
        case("epsilon_greedy", "30 % of 10,000 examples after 3 epochs, a tenth of them at random", False,
             (0.9, 0.9999), "the first loss moves a score from 1 there, and is the score here"),
        case("epsilon_greedy", "the same, after the first loss is their score", True, (1, 1)),
        case("ucb", "30 % of 10,000 examples after 3 epochs", False, (0.9, 0.9999),
             "the first loss moves the mean and the variance from 0 there, and is the mean here"),
        case("ucb", "the same, after the first loss is their mean", True, (1, 1)),
    ),
    ("timm==1.0.31",),
    "sodabori/dataset_pruning",
)  # fmt: skip
