"""What does a teacher pay back, if a small network sees only a part of CIFAR-10?

Data, network and steps are those of `cifar10_curves.py`: the first 1,000 training images of each class, all test
images, datadiet:cnn, 790 steps for every training (10 epochs of the full data), batch 128, one-cycle SGD, flips and
translations by 2, of which 8 views repeat. Three recorded trainings on all the images give the scores (AUM), the
teachers and the full-data accuracy. A seed is one teacher, one selection, one initialisation; a student of seed s
learns from teacher s, through its stored logits. Random and CCS (AUM) at 5, 10, 30 and 50 %, with labels only and with
`kd_weight="auto"`, three seeds: 48 trainings, about 100 s each on one core.

`python benchmarks/distillation_cifar10.py [--part 0/2]`, resumable.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from bench import cell
from cifar10_curves import EPOCHS, MODEL, SEEDS, load

import datadiet as dd

KEEPS, METHODS, TAUGHT = (5, 10, 30, 50), {"random": {}, "ccs": {"score": "aum"}}, (False, True)
RUN, RECIPE = Path("runs/distillation-cifar10"), {"views": 8}


def score(train: dd.Source, test: dd.Source) -> dd.Scores:
    """The teachers; the run folder makes this resumable."""
    return dd.score(
        train, MODEL, "aum", epochs=EPOCHS, seeds=len(SEEDS), eval=test, recipe=RECIPE, logits={"views": 8}, out=RUN
    )


def full(seed: int) -> dict[str, Any]:
    """A recorded training on all the images, as a cell."""
    log = json.loads((RUN / "run.json").read_text())[f"train seed {seed}"]
    about = {"keep": 100, "method": "full data", "taught": False, "seed": seed}
    return about | {key: log[key] for key in ("accuracy", "seconds")}


def student(
    train: dd.Source, test: dd.Source, scores: dd.Scores, keep: int, method: str, taught: bool, seed: int
) -> dict[str, Any]:
    """One training."""
    kept = dd.select(scores, method, keep=f"{keep}%", seed=seed, **METHODS[method])
    how: dict[str, Any] = {"epochs": EPOCHS, "match": "full-steps", "eval": test, "seed": seed, "recipe": RECIPE}
    if taught:
        how["teacher"] = RUN / f"checkpoints/seed-{seed}/epoch-{EPOCHS}.safetensors"
    result = dd.train(train, MODEL, kept, **how)
    about = {"keep": keep, "method": method, "taught": taught, "seed": seed}
    return about | {"accuracy": result.accuracy, "steps": result.steps, "seconds": result.seconds}


def main() -> None:
    """Run the cells of one part, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", default="0/1")
    part, parts = map(int, parser.parse_args().part.split("/"))
    torch.set_num_threads(1)
    train, test = load()
    scores = score(train, test)
    for seed in SEEDS:
        cell(f"distillation/cifar10-100-full-{seed}", partial(full, seed))
    for number, (seed, keep, method, taught) in enumerate(product(SEEDS, KEEPS, METHODS, TAUGHT)):
        if number % parts != part:
            continue
        name = f"distillation/cifar10-{keep}-{method}-{'kd' if taught else 'ce'}-{seed}"
        found = cell(name, partial(student, train, test, scores, keep, method, taught, seed))
        print(name, found["accuracy"], flush=True)


if __name__ == "__main__":
    main()
