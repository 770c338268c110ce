"""The authors' code of SparCL: which examples its data removal takes, by their counts of forgettings."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap, script

EPOCHS, INTERVAL, REMOVALS, SHARE = 50, 5, 4, 0.32  # of their script, but for the share, 0.3


def correct(n: int, *, ties: bool, across: bool) -> Arrays:
    """(epochs until the last removal, n), whether each example is right.

    Args:
        n: how many.
        ties: whether many examples are forgotten equally often; if not, a quarter of what is removed is never
            forgotten between two removals, and all others are.
        across: whether examples are forgotten between the last epoch before a removal and the first after it.
    """
    rng = np.random.default_rng(0)
    if ties:
        return {"correct": rng.random((REMOVALS * INTERVAL, n)) < rng.random(n)}
    right = np.ones((REMOVALS, INTERVAL, n), dtype=bool)
    for number, part in enumerate(np.split(rng.permutation(n)[: round(SHARE * n)], REMOVALS)):
        others = np.setdiff1d(np.arange(n), part)
        right[number, rng.integers(1, INTERVAL - 1, len(others)), others] = False
        if across and number:
            right[number, 0, part[::2]] = False
    return {"correct": right.reshape(REMOVALS * INTERVAL, n)}


def ours(data: Arrays) -> Arrays:
    """(removals, n) whether an example is left after each removal."""
    from datadiet.sampling import ForgettingRemovalSampler

    n, left = data["correct"].shape[1], []
    sampler = ForgettingRemovalSampler(
        n, epochs=EPOCHS, remove=SHARE, interval=INTERVAL / EPOCHS, until=REMOVALS * INTERVAL / EPOCHS
    )
    for epoch in range(len(data["correct"]) + 1):
        sampler.set_epoch(epoch)
        rows = np.sort(list(sampler))
        if epoch and epoch % INTERVAL == 0:
            left.append(np.isin(np.arange(n), rows))
        if epoch < len(data["correct"]):
            sampler.update(rows, data["correct"][epoch, rows])
    return {"left": np.array(left)}


def theirs(data: Arrays) -> Arrays:
    """The same, by their statistics and their order of them; their main takes the first ones away."""
    code: Any = script("main_sparse_train_w_data_gradient_efficient.py", "--output-dir", ".", "--output-name", "x")
    n, left = data["correct"].shape[1], []
    there, count = np.arange(n), round(SHARE * n / REMOVALS)
    for epochs in np.split(data["correct"].astype(int), REMOVALS):
        rows = {row: [None, epochs[:, row], epochs[:, row]] for row in there.tolist()}
        _, forgotten, _, learned = code.compute_forgetting_statistics(rows, EPOCHS)
        order, _, _ = code.sort_examples_by_forgetting([forgotten], [learned], EPOCHS)
        there = np.setdiff1d(there, order[:count])
        left.append(np.isin(np.arange(n), there))
    return {"left": np.array(left)}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many examples are left, and how many of them are the same."""
    return {
        "left by ours": float(a["left"][-1].sum()), "left by theirs": float(b["left"][-1].sum()),
        "same rows": overlap(np.flatnonzero(a["left"][-1]), np.flatnonzero(b["left"][-1])),
    }  # fmt: skip


def first_removal(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How often the examples of the first removal were forgotten; never learned counts as 50 times."""
    right = data["correct"][:INTERVAL]
    events = np.where(right.any(0), (right[:-1] & ~right[1:]).sum(0), EPOCHS)
    ours, theirs = (np.bincount(events[~side["left"][0]], minlength=EPOCHS + 1) for side in (a, b))
    return {
        "removed by ours": float(ours.sum()), "removed by theirs": float(theirs.sum()),
        "largest difference of a count": float(np.abs(ours - theirs).max()),
        "same rows": overlap(np.flatnonzero(~a["left"][0]), np.flatnonzero(~b["left"][0])),
    }  # fmt: skip


PEER = Peer(
    "SparCL",
    (
        Case("forgetting_removal", "4 removals of 8 %, 4,000 examples, no ties", 4000,
             partial(correct, ties=False, across=False), ours, theirs, agreement, {"same rows": (1, 1)}),
        Case("forgetting_removal", "the same, some are forgotten from one count to the next", 4000,
             partial(correct, ties=False, across=True), ours, theirs, agreement, {"same rows": (0.8, 0.999)},
             "the first presentation after a removal is not compared there with the last before it"),
        Case("forgetting_removal", "the first removal, many ties", 4000, partial(correct, ties=True, across=False),
             ours, theirs, first_removal,
             {"removed by ours": (320, 320), "removed by theirs": (320, 320), "largest difference of a count": (0, 0)},
             "ties are random here, and in the order of sorting there"),
    ),
    repository="neu-spiral/SparCL",
)  # fmt: skip
