"""How much of CIFAR-10 does a small network need, and which part?

Data: the first 1,000 training images of each class (10,000), all 10,000 test images, from `$DATADIET_DATA/cifar10`
(recompressed JPEG: compare curves, not absolute accuracies with papers). Network: datadiet:cnn, 10 epochs of the full
data, batch 128, one-cycle SGD, flip and translation by 2. Accuracy is that after the last step. Three seeds each.

Equal steps: full data and static selections at 10, 30 and 50 %, all 790 steps. Reduced steps: RS2, the full data with a
shortened schedule, and static random, all 80 steps at 10 %. Scores are means of three recorded trainings, which are
also the three full-data runs. DUAL's window is 5 of the 10 epochs; all other parameters are the package's defaults.

57 trainings, about 100 s each on one core: `python benchmarks/cifar10_curves.py [--part 0/2]`, resumable.
"""

from __future__ import annotations

import argparse
import json
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import cell, data_folder

import datadiet as dd

EPOCHS, SEEDS, KEEPS, MODEL = 10, (0, 1, 2), (10, 30, 50), "datadiet:cnn"
RUN = Path("runs/cifar10-curves")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "top-k EL2N": ("top_k", {"score": "el2n", "prefer": "hardest"}),
    "top-k forgetting": ("top_k", {"score": "forgetting", "prefer": "hardest"}),
    "CCS (AUM)": ("ccs", {"score": "aum"}),
    "DUAL + beta": ("beta", {}),
}


def load() -> tuple[dd.Source, dd.Source]:
    """The training part and the test set."""
    files = ("cifar10/train.parquet", "cifar10/test.parquet")
    full, test = (dd.open_data(f"parquet:{data_folder(*files) / file}", image="jpeg") for file in files)
    rows = np.concatenate([np.flatnonzero(full.labels == c)[:1000] for c in range(10)])
    return full.subset(np.sort(rows)), test


def score(train: dd.Source, test: dd.Source) -> dd.Scores:
    """Three recorded trainings; the run folder makes this resumable."""
    return dd.score(
        train, MODEL, ["el2n", "forgetting", "aum", "dual"], epochs=EPOCHS, seeds=len(SEEDS), eval=test,
        params={"dual": {"window": 5}}, out=RUN,
    )  # fmt: skip


def full(seed: int) -> dict[str, Any]:
    """The recorded training of one seed, which is a training on all the data, as a cell."""
    log = json.loads((RUN / "run.json").read_text())[f"train seed {seed}"]
    steps = log["history"][-1]["step"]
    about = {"table": "equal", "keep": 100, "method": "full data", "seed": seed, "steps": steps}
    return about | {key: log[key] for key in ("accuracy", "seconds")}


def trained(train: dd.Source, test: dd.Source, seed: int, **how: Any) -> dict[str, Any]:
    """One training, as a JSON value."""
    result = dd.train(train, MODEL, eval=test, seed=seed, **how)
    return {
        "accuracy": result.accuracy,
        "steps": result.steps,
        "kept": result.kept,
        "seconds": result.seconds,
        "seed": seed,
    }


def main() -> None:
    """Run the cells of one part, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    torch.set_num_threads(options.threads)
    train, test = load()
    scores = score(train, test)
    for seed in SEEDS:
        cell(f"cifar10_curves/equal-100-full_data-{seed}", partial(full, seed))
    cells = [
        (f"equal-{keep}-{name}-{seed}", keep, name, seed) for keep, name, seed in product(KEEPS, METHODS, SEEDS)
    ] + [
        (f"reduced-10-{name}-{seed}", 10, name, seed)
        for name, seed in product(("RS2", "shortened full", "random"), SEEDS)
    ]
    for number, (name, keep, method, seed) in enumerate(cells):
        if number % parts == part:
            measure = partial(run, train, test, scores, name, keep, method, seed)
            print(name, cell(f"cifar10_curves/{name.replace(' ', '_')}", measure)["accuracy"], flush=True)


def run(
    train: dd.Source, test: dd.Source, scores: dd.Scores, name: str, keep: int, method: str, seed: int
) -> dict[str, Any]:
    """One cell."""
    about = {"table": name.split("-")[0], "keep": keep, "method": method}
    if name.startswith("equal"):
        selector, options = METHODS[method]
        chosen = dd.select(scores, selector, keep=f"{keep}%", seed=seed, **options)
        return about | trained(train, test, seed, selection=chosen, epochs=EPOCHS, match="full-steps")
    if method == "RS2":
        return about | trained(train, test, seed, sampler=f"rs2:keep={keep}%", epochs=EPOCHS)
    steps = EPOCHS * -(-(len(train) * keep // 100) // 128)
    chosen = dd.select(scores, "random", keep=f"{keep}%", seed=seed) if method == "random" else None
    return about | trained(train, test, seed, selection=chosen, steps=steps)


if __name__ == "__main__":
    main()
