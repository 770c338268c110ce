"""How much training does each schedule need for the same accuracy?

Data: the bundled digits (1,438 for training, 359 held out), and 400 MNIST images of each class at 14 x 14 pixels
(4,000; 10,000 held out). Network: datadiet:mlp, batch 32, one-cycle SGD over the steps really taken, learning rate .03.
Each schedule trains for 5, 10, 20 and 40 epochs, each of them a training of its own with its own learning-rate curve.
What it costs: optimizer steps, and seconds of training with everything that the schedule does; none of them needs
scores. Five paired seeds; `full` and `static 50 %` (random) are what the others are compared with.

`python benchmarks/schedule_curves.py` (MNIST from `$DATADIET_DATA/mnist`): a cell for each data set and seed.
"""

from __future__ import annotations

import logging
from functools import partial
from itertools import product
from typing import Any

import numpy as np
import torch
from bench import cell
from kd_weight import DATA, SEEDS, part

import datadiet as dd

SETS, EPOCHS, MODEL, RECIPE = ("digits", "mnist"), (5, 10, 20, 40), "datadiet:mlp", {"lr": 0.03, "batch_size": 32}
HOW: dict[str, dict[str, Any]] = {
    "full": {},
    "static 50 %": {"keep": 0.5},
    "RS2 50 %": {"sampler": "rs2:keep=50%"},
    "InfoBatch": {"sampler": "infobatch"},
    "SeTa": {"sampler": "seta"},
    "gradient_norm 50 %": {"sampler": "gradient_norm:keep=50%"},
    "gradient_norm 50 %, unbiased": {"sampler": "gradient_norm:keep=50%,unbiased=true"},
    "epsilon_greedy 50 %": {"sampler": "epsilon_greedy:keep=50%"},
    "ucb 50 %": {"sampler": "ucb:keep=50%"},
    "forgetting_removal": {"sampler": "forgetting_removal"},
    "selective_backprop": {"objective": "selective_backprop"},
}


def curves(data: str, seed: int) -> dict[str, Any]:
    """name -> epochs -> accuracy, steps, seconds."""
    train, held = DATA[data]()
    train = dd.open_data(train)
    kept = part(train, 0.5, seed)
    found: dict[str, Any] = {name: {} for name in HOW}
    for epochs, name in product(EPOCHS, HOW):
        how = dict(HOW[name])
        selection = kept if how.pop("keep", None) else None
        result = dd.train(train, MODEL, selection, epochs=epochs, eval=held, seed=seed, recipe=RECIPE, **how)
        found[name][str(epochs)] = {"accuracy": result.accuracy, "steps": result.steps, "seconds": result.seconds}
    return {"data": data, "seed": seed, "found": found}


def main() -> None:
    """All cells, and what they say."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    for data in SETS:
        cells = [cell(f"schedules/{data}_{seed}", partial(curves, data, seed)) for seed in range(SEEDS)]
        for name in HOW:
            of_each = [[one["found"][name][str(epochs)] for one in cells] for epochs in EPOCHS]
            told = [
                f"{100 * np.mean([x['accuracy'] for x in one]):.2f} in {np.mean([x['steps'] for x in one]):.0f}"
                for one in of_each
            ]
            print(f"{data:8} {name:30}", "  ".join(told), flush=True)


if __name__ == "__main__":
    main()
