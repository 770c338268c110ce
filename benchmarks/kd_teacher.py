"""How good must the teacher be, and how large?

Data, steps and student are those of `kd_weight.py`: digits and 4,000 MNIST images, datadiet:mlp (two hidden layers of
128), the steps of 20 epochs of the full data, temperature 4, learning rate .03. The student sees a random 2, 5, 10 or
30 % and learns with `kd_weight="auto"`. The teacher saw a random 10, 25, 50 or 100 % of the data (with 128 hidden
units), or all of it with 16, 32, 128, 512 or 2,048. Five paired seeds, beside the same student without a teacher.

`python benchmarks/kd_teacher.py` (MNIST from `$DATADIET_DATA/mnist`): a cell for each data set and seed.
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
from kd_weight import DATA, EPOCHS, SEEDS, part
from torch import nn

import datadiet as dd

SETS, KEPT, SEEN, HIDDEN = ("digits", "mnist"), (0.02, 0.05, 0.1, 0.3), (0.1, 0.25, 0.5, 1.0), (16, 32, 128, 512, 2048)
RECIPE = {"lr": 0.03}


def mlp(inputs: int, hidden: int) -> nn.Module:
    """datadiet:mlp with another width."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 10)
    )


def students(data: str, seed: int) -> dict[str, Any]:
    """The accuracies of teachers, and of students of a part of the data with each of them."""
    train, held = DATA[data]()
    train = dd.open_data(train)
    how: dict[str, Any] = {"epochs": EPOCHS, "match": "full-steps", "eval": held, "recipe": RECIPE}
    inputs = prod(train.shape)

    def teacher(seen: float, hidden: int) -> dd.TrainResult:
        return dd.train(train, partial(mlp, inputs, hidden), part(train, seen, 200 + seed), seed=100 + seed, **how)

    teachers = {f"seen {seen}": teacher(seen, 128) for seen in SEEN}
    teachers |= {f"hidden {hidden}": teacher(1.0, hidden) for hidden in HIDDEN}
    kept = {share: part(train, share, seed) for share in KEPT}
    alone = {str(s): dd.train(train, "datadiet:mlp", kept[s], seed=seed, **how).accuracy for s in KEPT}
    found: dict[str, Any] = {name: {} for name in teachers}
    for (name, result), share in product(teachers.items(), KEPT):
        student = dd.train(train, "datadiet:mlp", kept[share], teacher=result.model, seed=seed, **how)
        found[name][str(share)] = student.accuracy
    of_teachers = {name: result.accuracy for name, result in teachers.items()}
    return {"data": data, "seed": seed, "epochs": EPOCHS, "teacher": of_teachers, "alone": alone, "taught": found}


def main() -> None:
    """All cells, and what they say."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    for data in SETS:
        found = [cell(f"distillation/teacher_{data}_{seed}", partial(students, data, seed)) for seed in range(SEEDS)]
        for share in map(str, KEPT):
            print(data, share, "alone", round(100 * np.mean([one["alone"][share] for one in found]), 2))
            for name in found[0]["taught"]:
                taught, own = ([one[key][name] for one in found] for key in ("taught", "teacher"))
                student = np.mean([accuracies[share] for accuracies in taught])
                print(f"    {name:12} teacher {100 * np.mean(own):.2f}  student {100 * student:.2f}", flush=True)


if __name__ == "__main__":
    main()
