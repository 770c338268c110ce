"""Does it help to grow weights while others are dropped, and what does a pattern cost?

Data, network, batches, learning rates, seeds and controls are those of `pruning_curves.py`. Two questions:

- growing: random weights by ERK that stay, SET and RigL from the same start, GraNet and BiP, beside gradual magnitude
  pruning; for 20 and for 80 epochs, since a mask that changes needs time;
- patterns: N:M with M = 4, Wanda (the same share in every row) and magnitude within each layer, beside magnitude over
  the whole network, all gradually, at half and three quarters pruned.

`python benchmarks/sparse_training.py` (MNIST from `$DATADIET_DATA/mnist`): a cell for each data set, method and seed.
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from bench import cell
from kd_weight import DATA, SEEDS
from pruning_curves import RATES, SETS

import datadiet as dd

EPOCHS, GROWN_AT, PATTERNS_AT = (20, 80), (0.9, 0.95, 0.98), (0.5, 0.75)
GROWING = {
    "random (ERK), as it is": ("random_weights", "start"),
    "SET": ("random_weights", "set"),
    "RigL": ("random_weights", "rigl"),
    "GraNet": ("global_magnitude", "granet"),
    "BiP": ("random_weights", "bip"),
    "gradual magnitude": ("global_magnitude", "cubic"),
}
PATTERNS = {
    "N:4": ("n_m", "cubic"),
    "Wanda": ("wanda", "cubic"),
    "magnitude in each layer": ("layer_magnitude", "cubic"),
    "magnitude, whole network": ("global_magnitude", "cubic"),
}


def curve(data: str, method: tuple[str, str], growing: bool, seed: int) -> dict[str, Any]:
    """epochs -> sparsity -> the accuracy for each learning rate, None where the training diverged."""
    train, held = DATA[data]()
    train, (name, when) = dd.open_data(train), method
    found: dict[str, Any] = {}
    for epochs, sparsity in product(EPOCHS if growing else EPOCHS[:1], GROWN_AT if growing else PATTERNS_AT):
        how = {"sparsify": f"{name}:{sparsity}", "sparsify_when": when, "epochs": epochs, "seed": seed, "eval": held}
        found.setdefault(str(epochs), {})[str(sparsity)] = [accuracy(train, rate, how) for rate in RATES]
    return {"data": data, "seed": seed, "rates": RATES, "accuracy": found}


def accuracy(train: dd.Source, rate: float, how: dict[str, Any]) -> float | None:
    """Of one training."""
    try:
        recipe = {"lr": rate, "batch_size": 64, "clip_norm": 5.0}
        return dd.train(train, "datadiet:mlp", recipe=recipe, **how).accuracy
    except dd.DataError as error:
        if "diverged" not in str(error):
            raise
        return None


def best(cells: list[dict[str, Any]], epochs: int, sparsity: float) -> np.ndarray:
    """(seeds,) accuracies at the learning rate with the best mean."""
    found = np.array(
        [[np.nan if a is None else a for a in one["accuracy"][str(epochs)][str(sparsity)]] for one in cells]
    )
    return np.asarray(found[:, np.nan_to_num(found.mean(axis=0), nan=-1).argmax()])


def key(data: str, name: str, seed: int | str) -> str:
    """The name of a cell."""
    words = "".join(letter if letter.isalnum() else " " for letter in name.lower()).split()
    return f"sparse_training/{data}_{'-'.join(words)}_{seed}"


def main() -> None:
    """All cells, and what they say."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    for methods, data in product((GROWING, PATTERNS), SETS):
        for name, method in methods.items():
            growing = methods is GROWING
            work = partial(curve, data, method, growing)
            cells = [cell(key(data, name, seed), partial(work, seed)) for seed in range(SEEDS)]
            for epochs in EPOCHS if growing else EPOCHS[:1]:
                told = "  ".join(
                    f"{100 * best(cells, epochs, s).mean():.2f}" for s in (GROWN_AT if growing else PATTERNS_AT)
                )
                print(f"{data:8} {epochs:3} {name:26}", told, flush=True)


if __name__ == "__main__":
    main()
