"""Which weight should the distillation term have, if only a share of the data is kept?

Data: the bundled digits (1,438 for training, 359 held out), and 400 MNIST images of each class, averaged to 14 x 14
pixels (4,000; 10,000 held out), with true labels and with 20 % of the labels replaced by another class. Network of
teacher and student: datadiet:mlp. The teacher is trained on all the data with the same labels, the student on a random
part, both for the steps of 20 epochs of the full data (batch 128, one-cycle SGD; of the learning rates .01, .03 and .1
that with the best mean counts, and one at which a training diverges does not). Temperature 4. Accuracy after the last
step on true labels. Five seeds, paired: a seed is one teacher, one part, one initialisation.

`python benchmarks/kd_weight.py` (MNIST from `$DATADIET_DATA/mnist`): a cell for each data set and seed, about
two minutes each.
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from bench import cell, data_folder

import datadiet as dd

SHARES, WEIGHTS = (1.0, 0.5, 0.3, 0.1, 0.05, 0.02), (0.0, 0.25, 0.5, 0.75, 0.9, 1.0)
RATES, SEEDS, EPOCHS = (0.01, 0.03, 0.1), 5, 20
MODEL, WRONG = "datadiet:mlp", 0.2


def mnist(wrong: float) -> tuple[Any, Any]:
    """4,000 training images, some with another label, and the test images."""
    with np.load(data_folder("mnist/mnist.npz") / "mnist/mnist.npz") as files:
        x, test_x = (
            files[name].reshape(-1, 1, 14, 2, 14, 2).mean((3, 5)).astype(np.uint8) for name in ("train_x", "test_x")
        )
        y, test = files["train_y"], (test_x, files["test_y"])
    rows = np.sort(np.concatenate([np.flatnonzero(y == c)[:400] for c in range(10)]))
    rng, labels = np.random.default_rng(0), y[rows].astype(np.int64)
    moved = rng.choice(len(labels), int(wrong * len(labels)), replace=False)
    labels[moved] = (labels[moved] + rng.integers(1, 10, len(moved))) % 10
    return (x[rows], labels), test


DATA = {
    "digits": lambda: (dd.open_data("digits"), dd.open_data("digits", split="eval")),
    "mnist": lambda: mnist(0.0),
    "mnist_wrong": lambda: mnist(WRONG),
}


def sweep(data: str, seed: int) -> dict[str, Any]:
    """accuracy[share][weight] = one number per learning rate, None where a training diverged."""
    train, held = DATA[data]()
    train = dd.open_data(train)
    teacher = dd.train(train, MODEL, eval=held, seed=100 + seed, epochs=EPOCHS, recipe={"lr": 0.03})
    found: dict[str, Any] = {str(share): {} for share in SHARES}
    for share, weight in product(SHARES, WEIGHTS):
        kept = part(train, share, seed)
        how: dict[str, Any] = {"epochs": EPOCHS, "match": "full-steps", "seed": seed, "eval": held}
        how |= {"teacher": teacher.model, "kd_weight": weight} if weight else {}
        found[str(share)][str(weight)] = [accuracy(train, kept, how | {"recipe": {"lr": rate}}) for rate in RATES]
    about = {"data": data, "seed": seed, "epochs": EPOCHS, "rates": RATES, "model": MODEL, "temperature": 4.0}
    return about | {"teacher": teacher.accuracy, "accuracy": found}


def accuracy(train: dd.Source, kept: dd.Selection, how: dict[str, Any]) -> float | None:
    """Of one student."""
    try:
        return dd.train(train, MODEL, kept, **how).accuracy
    except dd.DataError as error:
        if "diverged" not in str(error):
            raise
        return None


def part(train: dd.Source, share: float, seed: int) -> dd.Selection:
    """A random part of the data."""
    about = {"columns": {"none": {"hardness": 1}}, "data": train.identity()}
    scores = dd.Scores(train.index, {"none": np.zeros(len(train), np.float32)}, train.ids, train.labels, about)
    return dd.select(scores, "random", keep=share, seed=seed)


def best(found: list[dict[str, Any]], share: float, weight: float) -> np.ndarray:
    """The accuracies of the seeds at the learning rate with the best mean."""
    tried = np.array([cell["accuracy"][str(share)][str(weight)] for cell in found], dtype=float)  # None is NaN
    means = np.nan_to_num(tried.mean(axis=0))
    return tried[:, means.argmax()]


def main() -> None:
    """All cells, and what they say."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    for data in DATA:
        found = [cell(f"distillation/weight_{data}_{seed}", partial(sweep, data, seed)) for seed in range(SEEDS)]
        print(data, "teacher", round(100 * np.mean([one["teacher"] for one in found]), 2))
        for share in SHARES:
            means = {weight: 100 * best(found, share, weight).mean() for weight in WEIGHTS}
            print(f"  {share:5}", "  ".join(f"{weight}: {mean:.2f}" for weight, mean in means.items()), flush=True)


if __name__ == "__main__":
    main()
