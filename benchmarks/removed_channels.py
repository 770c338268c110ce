"""What does removing channels cost, and what does it gain?

Accuracy: the bundled digits, datadiet:resnet8, 10 epochs in batches of 64; then 30, 50 or 70 % of the parameters are
removed with whole channels (by magnitude, by the Taylor score, at random), or as many weights by global magnitude, and
what is left is trained for 3 epochs at lr .03. Five paired seeds.
Speed: datadiet:resnet20 on batches of 128 images of 32 x 32 pixels, one thread, timed in turns with the dense network.

`python benchmarks/removed_channels.py`: a cell for each seed, and one for the speed.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import numpy as np
import torch
from bench import cell
from kd_weight import SEEDS

import datadiet as dd
from datadiet.sparsity import costs_of, shrink

SPARSITIES = (0.3, 0.5, 0.7)
WAYS = {
    "channels, magnitude": "channels:{s}",
    "channels, Taylor": "channels:{s},importance=taylor",
    "channels, random": "channels:{s},importance=random",
    "single weights, magnitude": "global_magnitude:{s}",
}


def accuracies(seed: int) -> dict[str, Any]:
    """name -> sparsity -> accuracy."""
    dense = dd.train("digits", "datadiet:resnet8", epochs=10, seed=seed, recipe={"batch_size": 64})
    found: dict[str, Any] = {name: {} for name in WAYS}
    for sparsity in SPARSITIES:
        for name, way in WAYS.items():
            found[name][str(sparsity)] = dd.train(
                "digits", "datadiet:resnet8", start=dense.model, sparsify=way.format(s=sparsity), epochs=3, seed=seed,
                recipe={"batch_size": 64, "lr": 0.03},
            ).accuracy  # fmt: skip
    return {"seed": seed, "dense": dense.accuracy, "accuracy": found}


def speed() -> dict[str, Any]:
    """sparsity -> parameters, multiply-adds and latency as shares of those of the dense network."""
    net = dd.models.open_model("datadiet:resnet20", (3, 32, 32), 10).fresh(0).eval()
    batch = torch.zeros(128, 3, 32, 32)
    small = [shrink(net, sparsity, batch[:2])[0].eval() for sparsity in SPARSITIES]
    whole, *others = costs_of([net, *small], batch, seconds=8.0)
    return {
        str(sparsity): {
            "parameters": one.parameters / whole.parameters,
            "multiply_adds": one.macs / whole.macs,
            "latency": one.latency / whole.latency,
        }
        for sparsity, one in zip(SPARSITIES, others, strict=True)
    }


def main() -> None:
    """All cells, and what they say."""
    torch.set_num_threads(1)
    logging.getLogger("datadiet").setLevel(logging.ERROR)
    cells = [cell(f"channels/digits_{seed}", partial(accuracies, seed)) for seed in range(SEEDS)]
    print(f"dense {100 * np.mean([one['dense'] for one in cells]):.2f}")
    for name in WAYS:
        means = [np.mean([one["accuracy"][name][str(s)] for one in cells]) for s in SPARSITIES]
        print(f"{name:28}", "  ".join(f"{100 * mean:.2f}" for mean in means), flush=True)
    print(cell("speed/removed_channels", speed))


if __name__ == "__main__":
    main()
