"""DeepCore within classes: CRAIG and stratified draws, by the functions of its classes."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, overlap
from conformance.vectors import clustered

CLASSES = 5


def classes(n: int) -> Arrays:
    """Vectors of five classes of the same size."""
    return {**clustered(n), "labels": np.arange(n) % CLASSES}


def medoids(n: int) -> int:
    """How many are kept: few enough that no two are equally good, as two that stand for nothing but each other are."""
    return n // 20


def our_medoids(data: Arrays) -> Arrays:
    """A weight for every row, 0 for what is not kept."""
    from datadiet.selectors import craig

    n = len(data["x"])
    rows, weights = craig(data["x"], medoids(n), labels=data["labels"])
    return {"weights": np.bincount(rows, weights, minlength=n)}


def their_medoids(data: Arrays) -> Arrays:
    """The same of theirs, which gets the distances of given vectors in place of gradients."""
    sys.path.insert(0, str(checkout()))
    from deepcore.methods.craig import Craig
    from deepcore.methods.methods_utils.euclidean import euclidean_dist_pair_np

    n = len(data["x"])
    method = SimpleNamespace(
        args=SimpleNamespace(print_freq=10**9, num_classes=CLASSES), dst_train=SimpleNamespace(targets=data["labels"]),
        model=SimpleNamespace(embedding_recorder=nullcontext()), balance=True, n_train=n, fraction=medoids(n) / n,
        calc_gradient=lambda rows: euclidean_dist_pair_np(data["x"][rows]), _greedy="LazyGreedy",
        calc_weights=lambda matrix, rows: Craig.calc_weights(None, matrix, rows),
    )  # fmt: skip
    found = Craig.finish_run(method)
    return {"weights": np.bincount(found["indices"], found["weights"], minlength=n)}


def medoids_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same, and how much larger their weights are."""
    rows = np.flatnonzero(a["weights"])
    more = (b["weights"] - a["weights"])[rows]
    return {
        "same rows": overlap(np.flatnonzero(b["weights"]), rows),
        "least excess of their weights": float(more.min()),
        "largest excess of their weights": float(more.max()),
    }


def halves(n: int) -> Arrays:
    """Labels of ten classes of 15, 35, 55, … examples, a tenth of which ends in a half."""
    return {"labels": np.repeat(np.arange(10), np.arange(15, 215, 20) * n // 1050)}


def our_draw(data: Arrays) -> Arrays:
    """How many of each class a stratified draw has."""
    from datadiet.selectors import random

    labels = data["labels"]
    return {"counts": np.bincount(labels[random(len(labels), len(labels) // 10, labels=labels)], minlength=10)}


def their_draw(data: Arrays) -> Arrays:
    """The same of theirs."""
    import torch

    sys.path.insert(0, str(checkout()))
    from deepcore.methods.uniform import Uniform

    data_set = SimpleNamespace(targets=torch.from_numpy(data["labels"]))
    method = SimpleNamespace(random_seed=0, n_train=len(data["labels"]), num_classes=10, fraction=0.1, replace=False,
                             dst_train=data_set)  # fmt: skip
    return {"counts": np.bincount(data["labels"][Uniform.select_balance(method)], minlength=10)}


def draws_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many are drawn, and the largest difference of the number from a class."""
    return {
        "drawn by ours": float(a["counts"].sum()),
        "drawn by theirs": float(b["counts"].sum()),
        "largest difference": float(np.abs(a["counts"] - b["counts"]).max()),
    }


PEER = Peer(
    "DeepCore",
    (
        Case("craig", "100 of 2,000 vectors, 5 classes", 2000, classes, our_medoids, their_medoids, medoids_agree,
             {"same rows": (1, 1), "least excess of their weights": (1, 1), "largest excess of their weights": (1, 1)},
             "each medoid is counted once more there"),
        Case("by_class", "random, 105 of 1,050 examples, of 10 classes", 1050, halves, our_draw, their_draw,
             draws_agree, {"drawn by ours": (105, 105), "drawn by theirs": (110, 110), "largest difference": (1, 1)},
             "each class is rounded by itself there"),
    ),
    repository="PatrickZH/DeepCore",
)  # fmt: skip
