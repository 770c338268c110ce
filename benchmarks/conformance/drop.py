"""The authors' code of DRoP: quotas of classes, and the distance to the mean of the class."""

from __future__ import annotations

import importlib
import sys
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, checkout, relative_difference
from conformance.vectors import clustered

CLASSES = 10


def their_code(module: str) -> Any:
    """A module of their package, which is the folder of the repository."""
    sys.path.insert(0, str(checkout().parent))
    return importlib.import_module(f"{checkout().name}.{module}")


def classes(n: int, *, growth: float = 1.0, share: float = 0.2625, whole: bool = False) -> Arrays:
    """Labels of ten classes, each so many times as large as the one before, their recalls, and how many are kept."""
    parts = growth ** np.arange(CLASSES)
    labels = np.repeat(np.arange(CLASSES), np.round(n * parts / parts.sum()).astype(int))
    recall = 1 - np.arange(3, CLASSES + 3) / 16 if whole else np.random.default_rng(1).uniform(0.5, 0.9, CLASSES)
    return {"labels": labels, "recall": recall, "k": np.array(int(share * len(labels)))}


def ours(data: Arrays, *, weighting: str) -> Arrays:
    """How many of each class are kept."""
    from datadiet.selectors import class_quota

    rows = class_quota(data["labels"], int(data["k"]), recall=data["recall"], weighting=weighting)
    return {"counts": np.bincount(data["labels"][rows], minlength=CLASSES)}


def theirs(data: Arrays) -> Arrays:
    """Their quotas, and a selection with them by random scores; what quotas leave over is drawn from all."""
    labels, k, n = data["labels"], int(data["k"]), len(data["labels"])
    pool = [(None, label) for label in labels.tolist()]
    data_set = SimpleNamespace(num_classes=CLASSES, full_length=n, selected_idxs=range(n),
                               get_pool_dataset=lambda augmented: pool)  # fmt: skip
    measured = {"overall": {"accuracy": 1.0}, "classwise": [{"recall": recall} for recall in data["recall"].tolist()]}
    quotas = their_code("quoters").DRoP("recall")(data_set, {0: {0: measured}}, k)
    np.random.seed(0)  # noqa: NPY002  theirs draws from the global state
    scores = np.random.default_rng(0).random(n)
    choose = their_code("diversifiers.auto").Auto()
    rows = their_code("utils").get_idxs_from_scores(1, choose, quotas, data_set, scores, k, scores)
    return {"counts": np.bincount(labels[rows], minlength=CLASSES), "quotas": np.array(quotas) * k}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many they keep outside their quotas, and how far ours are from these and from what they keep."""
    return {
        "outside their quotas": float(b["counts"].sum() - np.floor(b["quotas"] + 1e-6).sum()),
        "largest difference to the quotas": float(np.abs(a["counts"] - b["quotas"]).max()),
        "largest difference to the counts": float(np.abs(a["counts"] - b["counts"]).max()),
    }


def our_distances(data: Arrays) -> Arrays:
    """Euclidean."""
    from datadiet.scorers import supervised_prototypes

    return {"distance": supervised_prototypes(data["x"], data["labels"], spherical=False)}


def their_distances(data: Arrays) -> Arrays:
    """By their scorer, of a network that hands on its input."""
    import torch

    rows = torch.utils.data.TensorDataset(torch.from_numpy(data["x"]), torch.from_numpy(data["labels"]))
    model = SimpleNamespace(set_eval_mode=lambda enable_dropout: None, extractor=lambda x: x, device="cpu")
    scorer = their_code("scorers").SSPY(strategy=1, aug_key=False)
    found = scorer.score(model, SimpleNamespace(full_datasets={"train": {False: rows}}, num_classes=CLASSES))
    return {"distance": found}


def distances_agree(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {"largest relative difference": relative_difference(a["distance"], b["distance"])}


PEER = Peer(
    "fair-data-pruning",
    (
        Case("class_quota", "weighting=count, 2,625 of 10,000, recalls that give whole quotas", 10_000,
             partial(classes, whole=True), partial(ours, weighting="count"), theirs, agreement,
             {"largest difference to the counts": (0, 0)}),
        Case("class_quota", "the same, other recalls", 10_000, classes, partial(ours, weighting="count"), theirs,
             agreement, {"largest difference to the quotas": (0, 1.001), "outside their quotas": (1, 10)},
             "quotas are cut to whole numbers there, and the rest is drawn from all"),
        Case("class_quota", "3,000 of 10,000, each class 1.6 times as large as the one before", 10_000,
             partial(classes, growth=1.6, share=0.3), partial(ours, weighting="count"), theirs, agreement,
             {"largest difference to the quotas": (0, 2), "outside their quotas": (1, 20)},
             "they are cut again there when what full classes cannot take is shared out"),
        Case("class_quota", "the same, 2,625 of 10,000", 10_000, partial(classes, growth=1.6),
             partial(ours, weighting="count"), theirs, agreement, {"largest difference to the quotas": (30, 100)},
             "the class after one that becomes full is skipped there, as a list shrinks while it is walked through"),
        Case("class_quota", "3,000 of 10,000, weighting=density", 10_000, partial(classes, growth=1.6, share=0.3),
             partial(ours, weighting="density"), theirs, agreement, {"largest difference to the quotas": (500, 1000)},
             "the number is in proportion to 1 - recall there, in the paper the kept share"),
        Case("supervised_prototypes", "5,000 vectors, 10 classes, spherical=False", 5000, clustered, our_distances,
             their_distances, distances_agree, {"largest relative difference": (0, 1e-5)}),
    ),
    repository="avysogorets/fair-data-pruning",
)  # fmt: skip
