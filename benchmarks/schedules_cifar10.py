"""Does InfoBatch keep the accuracy of the full data on CIFAR-10, and do simpler ways of saving the same steps?

Data, network and recipe are those of `cifar10_curves.py`. InfoBatch (the defaults of its authors) saves a part of
the 790 steps of 10 epochs; RS2 (the same share in each epoch) and the full data with a shortened schedule are then
trained for as many steps. Paired seeds; full data with all steps are the recorded trainings of
`distillation_cifar10.py`, which must have run.

9 trainings, about 80 s each on one core: `python benchmarks/schedules_cifar10.py`, resumable.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from bench import cell
from cifar10_curves import EPOCHS, MODEL, SEEDS, load
from distillation_cifar10 import RECIPE

import datadiet as dd

METHODS, FULL_STEPS = ("infobatch", "rs2", "shortened"), 790


def trained(train: dd.Source, test: dd.Source, method: str, seed: int, steps: int) -> dict[str, Any]:
    """One training, as a cell; `steps` are those that InfoBatch took."""
    how: dict[str, Any] = {
        "infobatch": {"sampler": "infobatch", "epochs": EPOCHS},
        "rs2": {"sampler": f"rs2:keep={100 * steps / FULL_STEPS:.3f}%", "epochs": EPOCHS},
        "shortened": {"steps": steps},
    }[method]
    result = dd.train(train, MODEL, eval=test, seed=seed, recipe=RECIPE, **how)
    found = {"accuracy": result.accuracy, "steps": result.steps, "seconds": result.seconds}
    return {"method": method, "seed": seed, **found}


def main() -> None:
    """Run the cells."""
    torch.set_num_threads(1)
    train, test = load()
    for seed in SEEDS:
        steps = FULL_STEPS
        for method in METHODS:
            found = cell(f"schedules/cifar10-{method}-{seed}", partial(trained, train, test, method, seed, steps))
            steps = found["steps"] if method == "infobatch" else steps
            print(method, seed, found["accuracy"], found["steps"], flush=True)


if __name__ == "__main__":
    main()
