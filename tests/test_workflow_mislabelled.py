"""End to end, scores do what they are for: planted wrong labels come out as the hardest examples."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import datadiet as dd

SHARE = 0.1


def with_wrong_labels(source: dd.Source, seed: int) -> tuple[torch.utils.data.Dataset, np.ndarray]:
    """The images with a tenth of the labels moved to another class, and which ones."""
    rng = np.random.default_rng(seed)
    labels, classes = source.labels.copy(), len(source.class_names)
    wrong = rng.choice(len(source), round(SHARE * len(source)), replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, classes, len(wrong))) % classes
    images = source.take(np.arange(len(source)))
    return torch.utils.data.TensorDataset(images, torch.from_numpy(labels)), wrong


def recall(scores: dd.Scores, column: str, wrong: np.ndarray) -> float:
    """The share of the wrong labels among as many hardest examples."""
    hardest = np.argsort(-scores.hardness(column), kind="stable")[: len(wrong)]
    return len(np.intersect1d(hardest, wrong)) / len(wrong)


def test_wrong_labels_of_digits_have_the_lowest_aum():
    data, wrong = with_wrong_labels(dd.open_data("digits"), seed=1)
    scores = dd.score(data, "datadiet:mlp", "aum,el2n,forgetting,loss", epochs=8, recipe={"batch_size": 64})
    # One in ten by chance.
    assert recall(scores, "aum", wrong) > 0.85
    assert recall(scores, "el2n", wrong) > 0.6
    assert recall(scores, "forgetting", wrong) > 0.5


@pytest.mark.realdata
def test_wrong_labels_of_cifar10_have_low_aum():
    if "DATADIET_DATA" not in os.environ:
        pytest.skip("DATADIET_DATA is not set: it names the folder with cifar10/mini_train.parquet")
    path = Path(os.environ["DATADIET_DATA"]) / "cifar10" / "mini_train.parquet"
    source = dd.open_data(f"parquet:{path}", image="jpeg")
    assert source.shape == (3, 32, 32) and source.class_names[0] == "airplane" and len(source) == 5000
    data, wrong = with_wrong_labels(source.subset(np.arange(0, 5000, 2)), seed=2)
    scores = dd.score(data, "datadiet:cnn", "aum", epochs=6)
    assert recall(scores, "aum", wrong) > 0.25
