"""The authors' code of RS2: which rows each epoch has, without and with replacement, and by classes."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from conformance.case import Arrays, Case, Peer, member, overlap

EPOCHS, CLASSES = 10, 7


def labels(n: int) -> Arrays:
    """Classes of different sizes."""
    return {"labels": np.random.default_rng(0).choice(CLASSES, n, p=np.arange(1, CLASSES + 1) / 28)}


def ours(data: Arrays, *, keep: float, replacement: bool = False, classes: bool = False) -> Arrays:
    """The rows of ten epochs."""
    import datadiet as dd

    given = data["labels"] if classes else None
    sampler = dd.RS2Sampler(len(data["labels"]), keep, replacement=replacement, labels=given)
    return epochs([np.array(list(sampler)) for _ in range(EPOCHS)])


def theirs(data: Arrays, *, keep: float, replacement: bool = False, classes: bool = False) -> Arrays:
    """The same: a selection for each epoch."""
    from types import SimpleNamespace

    class Labelled(list):
        targets = data["labels"]

    name = "Uniform" if replacement else "UniformNoReplacement"
    file = {"Uniform": "uniform", "UniformNoReplacement": "uniform_no_replacement"}[name]
    kind = getattr(member(f"src/DeepCore/deepcore/methods/{file}.py"), name)
    asked = SimpleNamespace(n_class=CLASSES, extremely_small_data=False)
    method = kind(Labelled(range(len(data["labels"]))), asked, keep, random_seed=0, balance=classes)
    return epochs([method.select()[0]["indices"].copy() for _ in range(EPOCHS)])  # theirs may be a view that changes


def epochs(rows: list[np.ndarray]) -> Arrays:
    """All rows, and of which epoch they are."""
    return {"rows": np.concatenate(rows), "epoch": np.repeat(np.arange(EPOCHS), [len(part) for part in rows])}


def presentations(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows the shortest epoch has, and how often the rarest and the most frequent examples come."""
    found: dict[str, float] = {}
    for whose, side in (("ours", a), ("theirs", b)):
        times = np.bincount(side["rows"], minlength=len(data["labels"]))
        found |= {
            f"shortest epoch of {whose}": float(np.bincount(side["epoch"]).min()),
            f"rarest of {whose}": float(times.min()), f"most frequent of {whose}": float(times.max()),
        }  # fmt: skip
    return found


def independence(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows come twice in an epoch, and which share of an epoch was in the one before."""
    found: dict[str, float] = {}
    for whose, side in (("ours", a), ("theirs", b)):
        parts = [side["rows"][side["epoch"] == epoch] for epoch in range(EPOCHS)]
        found[f"repeated by {whose}"] = float(sum(len(part) - len(np.unique(part)) for part in parts))
        again = [overlap(after, before) for before, after in pairwise(parts)]
        found[f"of the epoch before, {whose}"] = float(np.mean(again))
    return found


def shares(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The largest difference of the number of rows of a class."""
    counts = [np.bincount(data["labels"][side["rows"]] + CLASSES * side["epoch"]) for side in (a, b)]
    return {"largest difference in a class": float(np.abs(counts[0] - counts[1]).max())}


PEER = Peer(
    "RS2",
    (
        Case("rs2", "ten epochs of a tenth of 10,000 examples", 10_000, labels, partial(ours, keep=0.1),
             partial(theirs, keep=0.1), presentations,
             {"shortest epoch of ours": (1000, 1000), "shortest epoch of theirs": (1000, 1000),
              "rarest of ours": (1, 1), "most frequent of ours": (1, 1),
              "rarest of theirs": (1, 1), "most frequent of theirs": (1, 1)}),
        Case("rs2", "ten epochs of 30 %", 10_000, labels, partial(ours, keep=0.3), partial(theirs, keep=0.3),
             presentations,
             {"shortest epoch of ours": (3000, 3000), "shortest epoch of theirs": (2999, 2999),
              "rarest of ours": (3, 3), "most frequent of ours": (3, 3),
              "rarest of theirs": (2, 2), "most frequent of theirs": (4, 6)},
             "the wrap is modulo n + 1 there, and a new order begins right after it, also with what was wrapped in"),
        Case("rs2", "the same with replacement", 10_000, labels, partial(ours, keep=0.3, replacement=True),
             partial(theirs, keep=0.3, replacement=True), independence,
             {"repeated by ours": (0, 0), "repeated by theirs": (0, 0), "of the epoch before, ours": (0.29, 0.31),
              "of the epoch before, theirs": (0.29, 0.31)}),
        Case("rs2", "the same with replacement, in each of 7 classes", 10_000, labels,
             partial(ours, keep=0.3, replacement=True, classes=True),
             partial(theirs, keep=0.3, replacement=True, classes=True), shares,
             {"largest difference in a class": (0, 1)}, "each class is rounded alone there"),
    ),
    repository="PatrikOkanovic/RS2",
)  # fmt: skip
