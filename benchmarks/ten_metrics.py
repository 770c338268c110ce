"""Does it pay to keep the hardest or the easiest examples, by ten scores, and does that depend on how many there are?

Sorscher et al. 2022 ("Beyond neural scaling laws") compare ten metrics and find that the easiest examples are worth
more where data is scarce, and the hardest where it is plentiful. Here: MNIST and a small network, which takes as many
steps on 20 % of the images as on all of them.

`DATADIET_DATA=… python benchmarks/ten_metrics.py` writes `results/ten_metrics/N.json` for N training images.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from bench import cell, data_folder

import datadiet as dd

SCORES = (
    "el2n", "grand_last", "forgetting", "aum", "dual", "loss", "entropy", "margin", "prototypes",
    "supervised_prototypes",
)  # fmt: skip
METHODS = [f"{score}+top_k:prefer={end}" for score in SCORES for end in ("hardest", "easiest")]
SIZES = {500: (20, 50), 2000: (10, 50), 8000: (10, 200)}  # training images -> epochs, and images per step
KEEP, SEEDS, TESTED = "20%", 3, 5000


def main() -> None:
    """Measure what is not there yet."""
    for images in SIZES:
        found = cell(f"ten_metrics/{images}", lambda images=images: measure(images))
        print(images, {row["name"]: round(100 * row["mean"], 1) for row in found["rows"]})


def measure(images: int) -> dict[str, Any]:
    """One comparison."""
    with np.load(data_folder("mnist/mnist.npz") / "mnist/mnist.npz") as mnist:
        x, y, x_test, y_test = (mnist[name] for name in ("train_x", "train_y", "test_x", "test_y"))
    epochs, batch = SIZES[images]
    began = time.perf_counter()
    found = dd.compare(
        (x[:images, None], y[:images]), "datadiet:mlp", METHODS, keep=KEEP, epochs=epochs, seeds=SEEDS,
        recipe={"batch_size": batch, "augment": "none"}, eval=(x_test[:TESTED, None], y_test[:TESTED]),
    )  # fmt: skip
    rows = [
        {"name": row.name, "kept": row.kept, "accuracy": row.accuracy, "mean": row.mean, "steps": row.steps}
        for row in found.rows
    ]
    return {
        "images": images, "keep": KEEP, "epochs": epochs, "seeds": SEEDS, "tested": TESTED, "rows": rows,
        "seconds": found.seconds, "wall_seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip


if __name__ == "__main__":
    main()
