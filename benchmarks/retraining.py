"""How much retraining does a pruned network need?

Data: the bundled digits. Network: datadiet:resnet8 (with BatchNorm), 10 epochs in batches of 64, then pruned at
once by global magnitude. What is left is used as it is, or with its running statistics measured anew, or trained for
another 3 epochs: only biases and norms (PERP), these and low-rank adapters of rank 16, or all weights. Besides: the
mean of three such trainings of all weights in other orders (sparse soup), and one that is three times as long. Three
learning rates; that with the best mean counts. Five paired seeds.

`python benchmarks/retraining.py`: a cell for each seed.
"""

from __future__ import annotations

import copy
import logging
from functools import partial
from typing import Any

import numpy as np
import torch
from bench import cell
from kd_weight import DATA, SEEDS
from torch import nn

import datadiet as dd
from datadiet.sparsity.batch_norm import reestimate_batch_norm
from datadiet.sparsity.soup import average_sparse
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import Session, open_session

SETS, SPARSITIES, RATES, DENSE, EPOCHS = ("digits",), (0.9, 0.95, 0.98), (0.01, 0.03, 0.1), 10, 3
MODEL, BATCH, COPIES = "datadiet:resnet8", 64, 3
PARTS = {
    "biases and norms (PERP)": ("biases", "norms"),
    "PERP and adapters": ("biases", "norms", "adapters"),
    "all weights": (),
}
SOUP, LONG = "mean of three (soup)", "all weights, three times as long"
ONCE = ("nothing", "BatchNorm measured anew")


def retrained(data: str, seed: int) -> dict[str, Any]:
    """name -> sparsity -> accuracy, or one for each learning rate."""
    train, held = DATA[data]()
    train = dd.open_data(train)
    session = open_session(JobSpec(train, MODEL, held, recipe={"batch_size": BATCH}))
    dense = dd.train(train, MODEL, epochs=DENSE, eval=held, seed=seed, recipe={"batch_size": BATCH})
    found: dict[str, Any] = {name: {} for name in (*ONCE, *PARTS, SOUP, LONG)}
    for sparsity in SPARSITIES:
        pruned = copy.deepcopy(dense.model)
        masks, key = dd.sparsify(pruned, "global_magnitude", sparsity=sparsity), str(sparsity)
        found["nothing"][key] = accuracy(pruned, session)
        measured = copy.deepcopy(pruned)
        reestimate_batch_norm(measured, batches(session))
        found["BatchNorm measured anew"][key] = accuracy(measured, session)
        how = {"start": measured, "sparsify": masks, "eval": held}
        for rate in RATES:
            recipe = {"batch_size": BATCH, "lr": rate}
            for name, trainable in PARTS.items():
                got = dd.train(train, MODEL, epochs=EPOCHS, seed=seed, trainable=trainable, recipe=recipe, **how)
                found[name].setdefault(key, []).append(got.accuracy)
            copies = [
                dd.train(train, MODEL, epochs=EPOCHS, seed=1000 * number + seed, recipe=recipe, **how).model
                for number in range(COPIES)
            ]
            soup = average_sparse(copies, masks=masks, batches=batches(session))
            found[SOUP].setdefault(key, []).append(accuracy(soup, session))
            long = dd.train(train, MODEL, epochs=COPIES * EPOCHS, seed=seed, recipe=recipe, **how)
            found[LONG].setdefault(key, []).append(long.accuracy)
    return {"data": data, "seed": seed, "rates": RATES, "dense": dense.accuracy, "accuracy": found}


def batches(session: Session) -> Any:
    """Of the training examples, in a random order."""
    return session.feed.batches(np.random.default_rng(0).permutation(len(session.source)), BATCH)


def accuracy(network: nn.Module, session: Session) -> float:
    """On the held-out data."""
    assert session.held_out is not None
    return session.task.evaluate(network.eval(), session.held_out).accuracy


def best(cells: list[dict[str, Any]], name: str, sparsity: float) -> np.ndarray:
    """(seeds,) accuracies at the learning rate with the best mean."""
    found = np.array([np.atleast_1d(one["accuracy"][name][str(sparsity)]) for one in cells])
    return np.asarray(found[:, found.mean(axis=0).argmax()])


def main() -> None:
    """All cells, and what they say."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    for data in SETS:
        cells = [cell(f"retraining/{data}_{seed}", partial(retrained, data, seed)) for seed in range(SEEDS)]
        print(f"{data:8} dense {100 * np.mean([one['dense'] for one in cells]):.2f}", flush=True)
        for name in (*ONCE, *PARTS, SOUP, LONG):
            told = "  ".join(f"{100 * best(cells, name, s).mean():.2f}" for s in SPARSITIES)
            print(f"{data:8} {name:34}", told, flush=True)


if __name__ == "__main__":
    main()
