"""The authors' code for forgetting events."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, script

EPOCHS, RUNS = 50, 3


def correct(n: int) -> Arrays:
    """(runs, epochs, n): examples of every difficulty, some of which are never learned."""
    rng = np.random.default_rng(0)
    ease = np.where(rng.random(n) < 0.1, 0.0, rng.random(n))
    return {"correct": rng.random((RUNS, EPOCHS, n)) < ease * np.linspace(0.2, 1, EPOCHS)[:, None]}


def ours(data: Arrays) -> Arrays:
    """Events, the mean over runs."""
    from datadiet.scorers import forgetting

    return {"events": forgetting(data["correct"])}


def theirs(data: Arrays) -> Arrays:
    """Events, the sum over runs."""
    code = script("order_examples_by_forgetting.py")
    unlearned, learned = [], []
    for run in data["correct"].astype(int):
        rows = {i: [None, right, right] for i, right in enumerate(run.T.tolist())}
        _, forgotten, _, first = code.compute_forgetting_statistics(rows, EPOCHS)
        unlearned.append(forgotten)
        learned.append(first)
    order, counts = code.sort_examples_by_forgetting(unlearned, learned, EPOCHS)
    events = np.empty(len(order))
    events[order] = counts
    return {"events": events}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The largest difference of a sum over runs."""
    return {"largest difference": float(np.abs(a["events"] * RUNS - b["events"]).max())}


PEER = Peer(
    "example_forgetting",
    (
        Case("forgetting", f"{RUNS} runs of {EPOCHS} epochs, 5,000 examples", 5000, correct, ours, theirs, agreement,
             {"largest difference": (0, 1e-4)}),
    ),
    repository="mtoneva/example_forgetting",
)  # fmt: skip
