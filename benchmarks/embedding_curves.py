"""How much of CIFAR-10 does a small network need when the choice is made from embeddings that never saw a label?

Data: `mini_train` and `mini_test` of `$DATADIET_DATA/cifar10` (5,000 and 1,000 images, recompressed JPEG: compare
curves, not absolute accuracies with papers). Embeddings: a datadiet:cnn trained here to tell by how many quarter turns
an image was turned (RotNet, Gidaris et al. 2018), 10 epochs; its 64 penultimate features of the upright images. Network
judged: datadiet:cnn, as many steps as 10 epochs of the full data (400), batch 128; accuracy after the last step. Three
seeds, two at 50 %. D2 reads EL2N of the recorded full-data trainings, which did see labels; prototypes,
SemDeDup, DBP and k-center see no label. All parameters are the package's defaults but 100 clusters for those that
cluster, ten times the number of classes.

59 trainings: `python benchmarks/embedding_curves.py [--part 0/2]`, resumable.
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
from sklearn.linear_model import LogisticRegression
from torch.utils.data import TensorDataset

import datadiet as dd

EPOCHS, SEEDS, MODEL, CLUSTERS = 10, (0, 1, 2), "datadiet:cnn", 100
KEEPS = {10: 3, 30: 3, 50: 2}  # percent: how many seeds
ROOT = Path("runs/embedding-curves")
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("random", {}),
    "prototypes, hard": ("prototypes_topk", {"prefer": "hardest", "clusters": CLUSTERS}),
    "prototypes, easy": ("prototypes_topk", {"prefer": "easiest", "clusters": CLUSTERS}),
    "SemDeDup": ("semdedup", {"clusters": CLUSTERS}),
    "DBP": ("dbp", {"clusters": CLUSTERS}),
    "D2 (EL2N)": ("d2", {"score": "el2n"}),
    "k-center": ("k_center", {}),
}


def load() -> tuple[dd.Source, dd.Source]:
    """The training and the test set."""
    files = ("cifar10/mini_train.parquet", "cifar10/mini_test.parquet")
    train, test = (dd.open_data(f"parquet:{data_folder(*files) / file}", image="jpeg") for file in files)
    return train, test


def embeddings(train: dd.Source) -> np.ndarray:
    """(n, 64) features of a network that was trained to tell rotations; kept on disk between calls."""
    path = ROOT / "rotnet.npy"
    if not path.exists():
        images = train.take(np.arange(len(train)))
        turned = torch.cat([torch.rot90(images, quarter, (2, 3)) for quarter in range(4)])
        labels = torch.arange(4).repeat_interleave(len(images))
        result = dd.train(TensorDataset(turned, labels), MODEL, epochs=EPOCHS, recipe={"augment": "none"})
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, np.asarray(dd.embed(train, result.model, dtype="float32")))
    return np.load(path)


def probe(features: np.ndarray, train: dd.Source) -> dict[str, Any]:
    """What the embeddings know: a linear classifier on a random 4,000 of the training images, tried on the others."""
    order = np.random.default_rng(0).permutation(len(train))
    inner, outer = order[:4000], order[4000:]
    scaled = (features - features[inner].mean(0)) / features[inner].std(0)
    fit = LogisticRegression(max_iter=1000).fit(scaled[inner], train.labels[inner])
    return {"probe_accuracy": float(fit.score(scaled[outer], train.labels[outer])), "dim": features.shape[1]}


def full(seed: int) -> dict[str, Any]:
    """The recorded training of one seed, which is a training on all the data, as a cell."""
    log = json.loads((ROOT / "run" / "run.json").read_text())[f"train seed {seed}"]
    about = {"keep": 100, "method": "full data", "seed": seed, "steps": log["history"][-1]["step"]}
    return about | {key: log[key] for key in ("accuracy", "seconds")}


def run(
    train: dd.Source, test: dd.Source, scores: dd.Scores, features: np.ndarray, keep: int, method: str, seed: int
) -> dict[str, Any]:
    """One training on one selection."""
    selector, options = METHODS[method]
    chosen = dd.select(scores, selector, keep=f"{keep}%", seed=seed, embeddings=features, **options)
    shares = np.bincount(train.labels[chosen.indices], minlength=10) / len(chosen)
    result = dd.train(train, MODEL, chosen, eval=test, seed=seed, epochs=EPOCHS, match="full-steps")
    return {
        "keep": keep, "method": method, "seed": seed, "kept": result.kept, "steps": result.steps,
        "accuracy": result.accuracy, "seconds": result.seconds, "smallest_class": float(shares.min()),
    }  # fmt: skip


def main() -> None:
    """Run the cells of one part, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", default="0/1")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    part, parts = map(int, options.part.split("/"))
    torch.set_num_threads(options.threads)
    train, test = load()
    features = embeddings(train)
    cell("embedding_curves/embeddings", partial(probe, features, train))
    scores = dd.score(train, MODEL, "el2n", epochs=EPOCHS, seeds=len(SEEDS), eval=test, out=ROOT / "run")
    for seed in SEEDS:
        cell(f"embedding_curves/100-full_data-{seed}", partial(full, seed))
    cells = [(keep, name, seed) for keep, seeds in KEEPS.items() for name, seed in product(METHODS, SEEDS[:seeds])]
    for number, (keep, name, seed) in enumerate(cells):
        if number % parts == part:
            file = f"embedding_curves/{keep}-{name.replace(' ', '_').replace(',', '')}-{seed}"
            print(
                file, cell(file, partial(run, train, test, scores, features, keep, name, seed))["accuracy"], flush=True
            )


if __name__ == "__main__":
    main()
