"""How much does a selection change if a method is read in another way?

An MLP learns digits, with three seeds and 12 epochs, once without and once with 10 % wrong labels. From its signals,
30 % of the examples are kept as we read a method and as it is often read otherwise. A figure is the share of the kept
examples that both have; 30 % is what two random choices share. `python benchmarks/often_misread.py`: two minutes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench import cell

import datadiet as dd
from datadiet.models import networks
from datadiet.scorers import aum, el2n, forgetting, grand_last, moderate, supervised_prototypes
from datadiet.scorers.vog import vog_spread
from datadiet.selectors import band, ccs, d2, herding

EPOCHS, SEEDS, KEEP = 12, 3, 0.3
SCORERS = "el2n,aum,aum_prob,forgetting,vog,grand,grand_last,moderate"
DATA = {"as they are": 0.0, "10 % wrong": 0.1}

Rows = np.ndarray


def main() -> None:
    """Measure, or read what was measured, and print it."""
    for data in DATA:
        found = cell(f"misread/{data.replace(' % ', '_').replace(' ', '_')}", lambda data=data: measure(data))
        print(data, found["overlap"])


def measure(data: str) -> dict[str, Any]:
    """The overlap of each pair of readings."""
    import torch

    torch.set_num_threads(1)
    x, y = digits(DATA[data])
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        options = {"epochs": EPOCHS, "seeds": SEEDS, "eval": "digits", "out": run}
        scores = dd.score((x, y), "datadiet:mlp", SCORERS, params={"vog": {"at": "1-4"}}, **options)
        signals = dd.table.signals.Signals.open(run, len(y))
        overlap = {name: shared(*pair) for name, pair in readings(signals, y, scores).items()}
    torch.manual_seed(0)
    untrained = dd.score((x, y), networks.mlp(x.shape[1:], 10), "grand")["grand"]
    kept = hardest(round(KEEP * len(y)))
    overlap["grand, initialisation"] = shared(kept(scores["grand"]), kept(untrained))
    return {"data": data, "n": len(y), "epochs": EPOCHS, "seeds": SEEDS, "keep": KEEP, "overlap": overlap}


def digits(wrong: float) -> tuple[np.ndarray, np.ndarray]:
    """The training part of the bundled digits, a share of whose labels is wrong."""
    source = dd.open_data("digits")
    x, labels = np.asarray(source.take(np.arange(len(source)))), np.asarray(source.labels)
    if wrong:
        labels = dd.evaluate.flip_labels(labels, wrong, 10)[0]
    return x, labels


def readings(signals: Any, y: np.ndarray, scores: dd.Scores) -> dict[str, tuple[Rows, Rows]]:
    """Name -> the examples kept by our reading and by the other."""
    k = round(KEEP * len(y))
    early = [2]
    error = signals.array("error_norm", "eval", early)[0][:, 0]
    size = signals.array("feature_norm", "eval", early)[0][:, 0]
    correct = signals.array("correct", "train", range(1, EPOCHS + 1))[0]
    margin = signals.array("margin", "train", range(1, EPOCHS + 1))[0]
    features = np.asarray(signals.vectors("features", [EPOCHS])[0][0], dtype=np.float32)
    kept = hardest(k)
    mean_margin, events = aum(margin), forgetting(correct)
    distance = moderate(features, y)
    return {
        "el2n": (kept(el2n(error)), kept(np.square(error).mean(0))),
        "el2n, one seed": (kept(error[0]), kept(np.square(error[0]))),
        "forgetting": (kept(events), kept(forgetting(correct, never="zero"))),
        "forgetting, infinite": (kept(events), kept(forgetting(correct, never="infinite"))),
        "keep": (kept(events), hardest(len(y) - k)(events)),
        "aum, sign": (kept(-mean_margin), kept(mean_margin)),
        "aum, probabilities": (kept(-mean_margin), kept(-scores["aum_prob"])),
        "aum, last epoch": (kept(-mean_margin), kept(-margin[:, -1].mean(0))),
        "ccs, end": (ccs(-mean_margin, k, beta=0.2), ccs(-mean_margin, k, beta=0.2, cutoff_scores=mean_margin)),
        "ccs, share": (ccs(-mean_margin, k, beta=0.2), ccs(-mean_margin, k, beta=0.2 * (1 - KEEP))),
        "ccs, draws": (ccs(-mean_margin, k, beta=0.2), ccs(-mean_margin, k, beta=0.2, rng=np.random.default_rng(1))),
        "grand_last, bias": (kept(grand_last(error, size)), kept(grand_last(error, size, bias=False))),
        "vog": (kept(scores["vog"]), kept(vog_spread(scores["vog"], y, normalise="class"))),
        "moderate, tails": (band(distance, k), tails(distance, k)),
        "moderate, mean": (band(distance, k), band(supervised_prototypes(features, y, spherical=False), k)),
        "d2, sign": (d2(features, k, hardness=-mean_margin), d2(features, k, hardness=mean_margin)),
        "herding, length": (herding(features, k), herding(features, k, normalise=False)),
        "herding, farthest": (herding(features, k, normalise=False), farthest(features, k)),
        "herding, repeats": (herding(features, k), repeated(features, k)),
    }


def hardest(k: int) -> Callable[[np.ndarray], Rows]:
    """The k examples with the highest values; ties by one seeded order."""

    def kept(values: np.ndarray) -> Rows:
        draw = np.random.default_rng(0).permutation(len(values))
        return np.lexsort([draw, -values])[:k]

    return kept


def tails(values: np.ndarray, k: int) -> Rows:
    """The k rows farthest from the middle rank."""
    order, half = np.argsort(values, kind="stable"), k // 2
    return np.concatenate([order[:half], order[len(order) - (k - half) :]])


def farthest(x: np.ndarray, k: int) -> Rows:
    """Herding that takes the largest distance instead of the smallest."""
    left, total, rows = np.ones(len(x), dtype=bool), np.zeros(x.shape[1]), []
    for taken in range(k):
        away = np.linalg.norm((taken + 1) * x.mean(0) - total - x, axis=1)
        rows.append(int(np.where(left, away, -np.inf).argmax()))
        left[rows[-1]] = False
        total += x[rows[-1]]
    return np.array(rows)


def repeated(x: np.ndarray, k: int) -> Rows:
    """Herding of unit vectors as published: an example may come again. Rows until k different ones, or 20 k draws."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    mean = unit.mean(0)
    w, rows = mean.copy(), []
    while len(set(rows)) < k and len(rows) < 20 * k:
        rows.append(int((unit @ w).argmax()))
        w += mean - unit[rows[-1]]
    return np.array(list(dict.fromkeys(rows)))


def shared(ours: Rows, others: Rows) -> float:
    """The share of the larger of two choices that both have."""
    return len(np.intersect1d(ours, others)) / max(len(ours), len(others))


if __name__ == "__main__":
    main()
