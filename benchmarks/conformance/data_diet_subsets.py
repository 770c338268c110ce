"""The authors' code of Data Diet: the highest scores, a window of ranks, and random subsets."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from conformance.case import Arrays, Case, Peer, overlap, script

SHARE, SKIP, SEEDS = 0.3, 0.05, 300


def scores(n: int) -> Arrays:
    """EL2N-like scores, all different."""
    return {"score": np.random.default_rng(0).gamma(2, 0.2, n)}


def kept(n: int) -> int:
    """How many are kept."""
    return int(SHARE * n)


def their_code() -> Any:
    """Their functions on positions; what they need to open images and to train is not called."""
    for name in ("jax", "tensorflow", "tensorflow_datasets"):
        sys.modules[name] = ModuleType(name)
    sys.modules["jax"].random = None  # type: ignore[attr-defined]
    return script("data_diet/data.py")


def asked(n: int, **how: Any) -> SimpleNamespace:
    """Their options."""
    return SimpleNamespace(subset_size=kept(n), train_batch_size=1, scores_path="scores.npy", **how)


def our_ends(data: Arrays) -> Arrays:
    """The hardest and the easiest."""
    from datadiet.selectors import top_k

    score, k = data["score"], kept(len(data["score"]))
    return {end: np.sort(top_k(score, k, prefer=end)) for end in ("hardest", "easiest")}


def their_ends(data: Arrays) -> Arrays:
    """The rows with the highest scores, and with the lowest."""
    code, n = their_code(), len(data["score"])
    np.save("scores.npy", data["score"])
    names = {"hardest": "keep_max_scores", "easiest": "keep_min_scores"}
    return {end: code.subset_train_idxs(np.arange(n), asked(n, subset=name))[0] for end, name in names.items()}


def our_band(data: Arrays) -> Arrays:
    """After a share of the hardest has been passed over."""
    from datadiet.selectors import band

    return {"rows": np.sort(band(data["score"], kept(len(data["score"])), skip=SKIP))}


def their_band(data: Arrays) -> Arrays:
    """The same window; their offset counts from the lowest score."""
    code, n = their_code(), len(data["score"])
    np.save("scores.npy", data["score"])
    offset = n - kept(n) - int(SKIP * n)
    return {"rows": code.subset_train_idxs(np.arange(n), asked(n, subset="offset", subset_offset=offset))[0]}


def our_draws(data: Arrays) -> Arrays:
    """How often each row is kept, over seeds."""
    from datadiet.randomness import generator
    from datadiet.selectors import random

    n = len(data["score"])
    draws = [random(n, kept(n), rng=generator(seed)) for seed in range(SEEDS)]
    return counted(n, draws)


def their_draws(data: Arrays) -> Arrays:
    """The same of theirs."""
    code, n = their_code(), len(data["score"])
    seeds = (asked(n, subset="random", random_subset_seed=seed) for seed in range(SEEDS))
    return counted(n, [code.subset_train_idxs(np.arange(n), how)[0] for how in seeds])


def counted(n: int, draws: list[np.ndarray]) -> Arrays:
    """How many different rows a draw has, at least and at most, and how often each row is drawn."""
    sizes = [len(np.unique(rows)) for rows in draws]
    return {"sizes": np.array([min(sizes), max(sizes)]), "times": np.bincount(np.concatenate(draws), minlength=n)}


def same_ends(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same at either end."""
    return {f"same rows, {end}": overlap(a[end], b[end]) for end in a}


def same_rows(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How many rows are the same."""
    return {"same rows": overlap(a["rows"], b["rows"])}


def same_chance(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """The variance of how often a row is drawn, as a share of that of independent draws with the same chance."""
    chance = kept(len(data["score"])) / len(data["score"])
    found: dict[str, float] = {}
    for name, side in (("ours", a), ("theirs", b)):
        found[f"fewest kept by {name}"], found[f"most kept by {name}"] = map(float, side["sizes"])
        found[f"variance of {name}"] = float(side["times"].var() / (SEEDS * chance * (1 - chance)))
    return found


PEER = Peer(
    "data_diet",
    (
        Case("top_k", "3,000 of 10,000 scores, from either end", 10_000, scores, our_ends, their_ends, same_ends,
             {"same rows, hardest": (1, 1), "same rows, easiest": (1, 1)}),
        Case("band", "3,000 of 10,000 scores, after the hardest 5 %", 10_000, scores, our_band, their_band, same_rows,
             {"same rows": (1, 1)}),
        Case("random", "3,000 of 10,000 rows, 300 draws", 10_000, scores, our_draws, their_draws, same_chance,
             {"fewest kept by ours": (3000, 3000), "most kept by ours": (3000, 3000), "variance of ours": (0.94, 1.06),
              "fewest kept by theirs": (3000, 3000), "most kept by theirs": (3000, 3000),
              "variance of theirs": (0.94, 1.06)},
             "draws are random"),
    ),
    repository="mansheej/data_diet",
)  # fmt: skip
