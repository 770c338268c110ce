"""Which examples bring a pruned network back, on CIFAR-10?

Data and network are those of `cifar10_curves.py`; the three dense networks are the recorded trainings of
`distillation_cifar10.py`, which must have run (accuracy about 73 %). Each is pruned by global magnitude to 80 and 95 %
at once, its BatchNorm statistics are measured anew, and what is left trains for 240 steps: on a tenth of the images,
chosen by PASER, by the largest divergence (top-k), by CCS on the divergence, or at random, with the dense network as
the teacher (stored logits); and on all images, with the teacher and with labels only. Learning rate .03, one cycle.

36 trainings of about 25 s on one core: `python benchmarks/recover_cifar10.py [--part 0/2]`, resumable.
"""

from __future__ import annotations

import argparse
import copy
import time
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench import cell
from cifar10_curves import EPOCHS, MODEL, SEEDS, load
from distillation_cifar10 import RUN

import datadiet as dd
from datadiet.sparsity.batch_norm import reestimate_batch_norm

SPARSITIES, STEPS, KEEP = (0.8, 0.95), 240, 0.1
METHODS: dict[str, dict[str, Any]] = {
    "paser": {"method": "paser", "score": "divergence"},
    "top-k divergence": {"method": "top_k", "score": "divergence", "prefer": "hardest"},
    "CCS (divergence)": {"method": "ccs", "score": "divergence"},
    "random": {"method": "random"},
    "all, with a teacher": {},
    "all, labels only": {"taught": False},
}


def checkpoint(seed: int) -> Path:
    """A dense network."""
    return RUN / f"checkpoints/seed-{seed}/epoch-{EPOCHS}.safetensors"


def pruned(train: dd.Source, seed: int, sparsity: float) -> tuple[torch.nn.Module, dd.Masks]:
    """The pruned copy of a dense network, with fresh running statistics."""
    from datadiet.workflow.job_spec import JobSpec
    from datadiet.workflow.session import open_session

    session = open_session(JobSpec(train, MODEL, None, None, (checkpoint(seed),)))
    network = copy.deepcopy(session.network(checkpoint(seed)))
    masks = dd.sparsify(network, "global_magnitude", sparsity)
    some = np.arange(0, len(train), len(train) // 1000)
    reestimate_batch_norm(network, session.feed.batches(some, 128))
    return network, masks


def scores(train: dd.Source, seed: int, sparsity: float) -> Path:
    """A run with the divergence of each example, and its features."""
    out = Path(f"runs/recover-cifar10/seed-{seed}-{sparsity}")
    network, _ = pruned(train, seed, sparsity)
    dd.score(train, MODEL, ["divergence", "prototypes"], checkpoints=checkpoint(seed), against=network, out=out)
    return out


def recovered(train: dd.Source, test: dd.Source, seed: int, sparsity: float, name: str) -> dict[str, Any]:
    """One recovery."""
    how, began = dict(METHODS[name]), time.perf_counter()
    taught, network = how.pop("taught", True), pruned(train, seed, sparsity)
    chosen = None
    if how:
        chosen = dd.select(scores(train, seed, sparsity), how.pop("method"), keep=KEEP, seed=seed, **how)
    choosing = time.perf_counter() - began
    teacher = {"teacher": checkpoint(seed)} if taught else {}
    result = dd.train(
        train, MODEL, chosen, start=checkpoint(seed), sparsify=network[1], steps=STEPS, eval=test, seed=seed,
        recipe={"lr": 0.03, "views": 8}, **teacher,
    )  # fmt: skip
    about = {"sparsity": sparsity, "method": name, "seed": seed, "choosing": choosing}
    return about | {"accuracy": result.accuracy, "steps": result.steps, "seconds": result.seconds}


def before(train: dd.Source, test: dd.Source, seed: int, sparsity: float) -> dict[str, Any]:
    """The pruned network before it recovers, beside the dense one; and whom pruning hurts: the mean divergence by tenth
    of the examples, ordered by AUM (hardest first)."""
    from datadiet.workflow.job_spec import JobSpec
    from datadiet.workflow.session import open_session

    session = open_session(JobSpec(train, MODEL, test, None, (checkpoint(seed),)))
    assert session.held_out is not None
    dense = session.network(checkpoint(seed))
    accuracies = [
        session.task.evaluate(one, session.held_out).accuracy for one in (dense, pruned(train, seed, sparsity)[0])
    ]
    divergence = dd.Scores.read(scores(train, seed, sparsity) / "scores.parquet")["divergence"]
    order = np.argsort(dd.Scores.read(RUN / "scores.parquet")["aum"], kind="stable")
    tenths = [float(divergence[part].mean()) for part in np.array_split(order, 10)]
    about = {"sparsity": sparsity, "seed": seed, "dense": accuracies[0], "pruned": accuracies[1]}
    return about | {"divergence_by_tenth_of_aum": tenths, "divergence": float(divergence.mean())}


def main() -> None:
    """Run the cells of one part, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", default="0/1")
    part, parts = map(int, parser.parse_args().part.split("/"))
    torch.set_num_threads(1)
    train, test = load()
    for number, (seed, sparsity) in enumerate(product(SEEDS, SPARSITIES)):
        if number % parts != part:
            continue
        print(
            cell(f"recovery/cifar10-{sparsity}-before-{seed}", partial(before, train, test, seed, sparsity)), flush=True
        )
        for name in METHODS:
            path = f"recovery/cifar10-{sparsity}-{name.replace(' ', '_')}-{seed}"
            found = cell(path, partial(recovered, train, test, seed, sparsity, name))
            print(path, found["accuracy"], flush=True)


if __name__ == "__main__":
    main()
