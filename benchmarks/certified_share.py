"""How much of CIFAR-10 and of MNIST-1D is shown to be enough, and is it worth choosing?

`dd.compare` as a user would call it, with a margin of 3 points.

- cifar10: the first 1,000 training images of each class (10,000) and all 10,000 test images, from
  `$DATADIET_DATA/cifar10` (recompressed JPEG: compare rows, not absolute accuracies with papers). datadiet:cnn, 10
  epochs, batch 128, one-cycle SGD, flip and translation by 2. Five seeds; CCS, DUAL + beta and random at 30 and 50 %,
  at equal steps.
- mnist1d: 4,000 generated signals of 40 numbers and 1,000 to evaluate on (Greydanus 2020; `pip install mnist1d`, its
  default arguments). datadiet:mlp, 60 epochs, batch 100. Ten seeds; the same methods and shares, in both tables.

`python benchmarks/certified_share.py [--only cifar10]`; the folder `runs/certified-share` makes it resumable.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from bench import cell, data_folder

import datadiet as dd

METHODS = ["random", "ccs", "dual+beta"]


def cifar10() -> dd.Compared:
    """Five seeds."""
    files = ("cifar10/train.parquet", "cifar10/test.parquet")
    full, test = (dd.open_data(f"parquet:{data_folder(*files) / file}", image="jpeg") for file in files)
    rows = np.concatenate([np.flatnonzero(full.labels == c)[:1000] for c in range(10)])
    return compared("cifar10", full.subset(np.sort(rows)), test, "datadiet:cnn", epochs=10, seeds=5)


def mnist1d() -> dd.Compared:
    """Ten seeds."""
    from mnist1d.data import get_dataset_args, make_dataset

    data = make_dataset(get_dataset_args(as_dict=False))
    train, test = (
        dd.open_data((torch.tensor(data[x], dtype=torch.float32), torch.tensor(data[y], dtype=torch.int64)))
        for x, y in (("x", "y"), ("x_test", "y_test"))
    )
    return compared(
        "mnist1d", train, test, "datadiet:mlp", epochs=60, seeds=10, budget="both", recipe={"batch_size": 100}
    )


def compared(name: str, train: Any, test: Any, model: str, **options: Any) -> dd.Compared:
    """The comparison, in a folder of its own."""
    return dd.compare(
        train, model, METHODS, eval=test, keep=["30%", "50%"], margin=3.0,
        out=f"runs/certified-share/{name}", **options,
    )  # fmt: skip


def main() -> None:
    """Run one, or both."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=["cifar10", "mnist1d"])
    only = parser.parse_args().only
    for compare in (mnist1d, cifar10):
        if only in (None, compare.__name__):
            cell(f"certified_share/{compare.__name__}", lambda compare=compare: compare().as_dict())


if __name__ == "__main__":
    main()
