"""Do the losses of keeping fewer examples and fewer weights add up, and what does a teacher pay back?

Data: the bundled digits (1,438 for training, 359 held out), and 400 MNIST images of each class at 14 x 14 pixels
(4,000; 10,000 held out). `dd.train_grid` trains datadiet:mlp (batch 32, learning rate .03, the steps of 20 epochs of
all the data) for each combination of the kept share (random), the sparsity (global magnitude, gradually) and a teacher:
none, or a network trained on all the data. Five seeds; the teacher is the same for all.

`python benchmarks/keep_sparsity_grid.py` (MNIST from `$DATADIET_DATA/mnist`): 120 trainings of 1 to 2 s for each.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bench import cell
from kd_weight import DATA

import datadiet as dd

SETS, KEEPS, SPARSITIES, SEEDS, EPOCHS = ("digits", "mnist"), ("5%", "10%", "30%", "100%"), (0, 0.8, 0.95), 5, 20
RECIPE = {"lr": 0.03, "batch_size": 32}


def grid(data: str) -> dict[str, Any]:
    """All cells of one data set."""
    train, held = DATA[data]()
    train, folder = dd.open_data(train), Path("runs/grid") / data
    dd.train(train, "datadiet:mlp", epochs=EPOCHS, eval=held, seed=100, recipe=RECIPE, out=folder / "teacher")
    axes = {"keep": KEEPS, "sparsity": SPARSITIES, "teacher": ("none", str(folder / "teacher")), "seed": range(SEEDS)}
    found = dd.train_grid(
        train, "datadiet:mlp", axes, epochs=EPOCHS, eval=held, recipe=RECIPE, sparsify="global_magnitude",
        out=folder / "grid",
    )  # fmt: skip
    return {"data": data, "cells": [asdict(one) for one in found.cells]}


def main() -> None:
    """Run both."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    for data in SETS:
        print(data, len(cell(f"grid/{data}", partial(grid, data))["cells"]), flush=True)


if __name__ == "__main__":
    main()
