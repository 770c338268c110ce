"""Which weight should the distillation term have, if only a share of the data is kept?

Data: the bundled digits (1,438 for training, 359 held out), and 400 MNIST images of each class (4,000; 10,000 held out)
with true labels and with 20 % of the labels replaced by another class. Network of teacher and student: datadiet:mlp.
The teacher is trained on all the data with the same labels, the student on a random part, both for the steps of 20
epochs of the full data (batch 128, one-cycle SGD; learning rate .03 and .1, the better mean counts). Temperature 4.
Accuracy after the last step on true labels. Five seeds, paired: a seed is one teacher, one part, one initialisation.

`python benchmarks/kd_weight.py` (MNIST from `$DATADIET_DATA/mnist`): a cell for each data set, about ten minutes each.
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

SHARES, WEIGHTS, RATES, SEEDS, EPOCHS = (
    (1.0, 0.5, 0.3, 0.1, 0.05, 0.02),
    (0.0, 0.25, 0.5, 0.75, 0.9, 1.0),
    (0.03, 0.1),
    5,
    20,
)
MODEL, WRONG = "datadiet:mlp", 0.2


def mnist(wrong: float) -> tuple[Any, Any]:
    """4,000 training images, some with another label, and the test images."""
    with np.load(data_folder("mnist/mnist.npz") / "mnist/mnist.npz") as files:
        x, y, test = files["train_x"], files["train_y"], (files["test_x"][:, None], files["test_y"])
    rows = np.sort(np.concatenate([np.flatnonzero(y == c)[:400] for c in range(10)]))
    rng, labels = np.random.default_rng(0), y[rows].astype(np.int64)
    moved = rng.choice(len(labels), int(wrong * len(labels)), replace=False)
    labels[moved] = (labels[moved] + rng.integers(1, 10, len(moved))) % 10
    return (x[rows][:, None], labels), test


DATA = {
    "digits": lambda: (dd.open_data("digits"), dd.open_data("digits", split="eval")),
    "mnist": lambda: mnist(0.0),
    "mnist_wrong": lambda: mnist(WRONG),
}


def sweep(data: str) -> dict[str, Any]:
    """accuracy[share][weight][rate] = one number per seed."""
    train, held = DATA[data]()
    train = dd.open_data(train)
    found: dict[str, Any] = {}
    for seed in range(SEEDS):
        teacher = dd.train(train, MODEL, eval=held, seed=100 + seed, epochs=EPOCHS, recipe={"lr": 0.1})
        found.setdefault("teacher", []).append(teacher.accuracy)
        for share, weight, rate in product(SHARES, WEIGHTS, RATES):
            kept = part(train, share, seed)
            how = {"epochs": EPOCHS, "match": "full-steps", "recipe": {"lr": rate}, "seed": seed, "eval": held}
            if weight > 0:
                how |= {"teacher": teacher.model, "kd_weight": weight}
            result = dd.train(train, MODEL, kept, **how)
            found.setdefault(str(share), {}).setdefault(str(weight), {}).setdefault(str(rate), []).append(
                result.accuracy
            )
    return {"data": data, "epochs": EPOCHS, "model": MODEL, "temperature": 4.0, "accuracy": found}


def part(train: dd.Source, share: float, seed: int) -> dd.Selection:
    """A random part of the data."""
    about = {"columns": {"none": {"hardness": 1}}, "data": train.identity()}
    scores = dd.Scores(train.index, {"none": np.zeros(len(train), np.float32)}, train.ids, train.labels, about)
    return dd.select(scores, "random", keep=share, seed=seed)


def best(found: dict[str, Any], share: float) -> dict[float, np.ndarray]:
    """weight -> accuracies of the seeds at the learning rate with the better mean."""
    rates = found["accuracy"][str(share)]
    return {weight: max((np.array(a) for a in rates[str(weight)].values()), key=np.mean) for weight in WEIGHTS}


def main() -> None:
    """All cells, and what they say."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    for data in DATA:
        found = cell(f"distillation/weight_{data}", partial(sweep, data))
        print(data, "teacher", np.round(100 * np.mean(found["accuracy"]["teacher"]), 2))
        for share in SHARES:
            means = {weight: 100 * accuracies.mean() for weight, accuracies in best(found, share).items()}
            print(f"  {share:5}", "  ".join(f"{weight}: {mean:.2f}" for weight, mean in means.items()))


if __name__ == "__main__":
    main()
