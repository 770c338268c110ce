"""Which pruning method loses least, and how much do its controls lose?

Data: the bundled digits (1,438 for training, 359 held out), and 400 MNIST images of each class at 14 x 14 pixels
(4,000; 10,000 held out). Network: datadiet:mlp, 20 epochs in batches of 64, one-cycle SGD, of the learning rates
.03 and .1 that with the best mean. Every method trains from random weights for as many steps: gradual magnitude pruning
(cubic, 25 to 75 % of the training; global with a floor, and in each layer), and before training
random weights by ERK, SNIP, GraSP and SynFlow. Controls: each method's masks shuffled within the layers, and a dense
network with about as many parameters. Five paired seeds.

`python benchmarks/pruning_curves.py` (MNIST from `$DATADIET_DATA/mnist`): a cell for each data set and seed.
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import product
from math import prod
from typing import Any

import numpy as np
import torch
from bench import cell
from kd_weight import DATA, SEEDS
from torch import nn

import datadiet as dd

SETS, SPARSITIES, RATES, EPOCHS = ("digits", "mnist"), (0.8, 0.9, 0.95, 0.98), (0.03, 0.1), 20
METHODS = {
    "global magnitude": "global_magnitude:{s}",
    "global magnitude, shuffled": "global_magnitude:{s},shuffle=true",
    "layer magnitude (ERK)": "layer_magnitude:{s},layers=erk",
    "random (ERK)": "random_weights:{s}",
    "SNIP": "snip:{s}",
    "SNIP, shuffled": "snip:{s},shuffle=true",
    "GraSP": "grasp:{s}",
    "SynFlow": "synflow:{s}",
    "SynFlow, shuffled": "synflow:{s},shuffle=true",
}
SMALL = "small dense network"


def narrow(shape: tuple[int, ...], classes: int, weights: int) -> nn.Module:
    """Two hidden layers of equal width, as wide as this many weights allow."""
    inputs = prod(shape)
    width = next(w for w in range(1, 1000) if (w + 1) * (inputs + w + 1 + classes) > weights)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, classes)
    )


def curves(data: str, seed: int) -> dict[str, Any]:
    """name -> sparsity -> the accuracy for each learning rate, None where the training diverged."""
    train, held = DATA[data]()
    train = dd.open_data(train)
    whole = sum(
        p.numel() for p in dd.models.open_model("datadiet:mlp", train.shape, 10).fresh(0).parameters() if p.ndim > 1
    )

    def accuracies(model: Any, sparsify: str | None) -> list[float | None]:
        return [accuracy(train, held, model, sparsify, rate, seed) for rate in RATES]

    found: dict[str, Any] = {"dense": {"0": accuracies("datadiet:mlp", None)}}
    for sparsity, name in product(SPARSITIES, METHODS):
        found.setdefault(name, {})[str(sparsity)] = accuracies("datadiet:mlp", METHODS[name].format(s=sparsity))
    for sparsity in SPARSITIES:
        model = partial(narrow, train.shape, 10, round(whole * (1 - sparsity)))
        found.setdefault(SMALL, {})[str(sparsity)] = accuracies(model, None)
    return {"data": data, "seed": seed, "rates": RATES, "epochs": EPOCHS, "weights": whole, "accuracy": found}


def accuracy(train: dd.Source, held: Any, model: Any, sparsify: str | None, rate: float, seed: int) -> float | None:
    """Of one training."""
    recipe = {"lr": rate, "batch_size": 64, "clip_norm": 5.0}
    try:
        return dd.train(train, model, epochs=EPOCHS, eval=held, seed=seed, recipe=recipe, sparsify=sparsify).accuracy
    except dd.DataError as error:
        if "diverged" not in str(error):
            raise
        return None


def best(cells: list[dict[str, Any]], name: str, sparsity: float) -> np.ndarray:
    """(seeds,) accuracies at the learning rate with the best mean."""
    key = "0" if name == "dense" else str(sparsity)
    found = np.array([[np.nan if a is None else a for a in one["accuracy"][name][key]] for one in cells])
    return np.asarray(found[:, np.nan_to_num(found.mean(axis=0), nan=-1).argmax()])


def main() -> None:
    """All cells, and what they say."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    for data in SETS:
        cells = [cell(f"pruning/{data}_{seed}", partial(curves, data, seed)) for seed in range(SEEDS)]
        for name in ("dense", *METHODS, SMALL):
            told = "  ".join(f"{100 * best(cells, name, s).mean():.2f}" for s in SPARSITIES)
            print(f"{data:8} {name:30}", told, flush=True)


if __name__ == "__main__":
    main()
