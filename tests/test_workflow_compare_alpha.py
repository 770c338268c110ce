"""How often two identical arms are shown to be worse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy import stats

import datadiet as dd
from datadiet.evaluate import LossInterval
from datadiet.workflow.comparing.certificate import Examined, certified
from datadiet.workflow.comparing.compared import Costs

SEEDS, TRIALS, ALPHA = 3, 40, 0.05


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_identical_arms_are_worse_no_more_often_than_alpha(tmp_path: Path) -> None:
    """240 networks of one recipe, each in one trial only, so that the trials are independent given the examples.

    One epoch each: their accuracies differ by several points, and a limit that takes the seeds for one would fail.
    """
    dd.score("digits", "datadiet:mlp", "loss", epochs=1, seeds=2 * SEEDS * TRIALS, out=tmp_path / "run")
    files = [tmp_path / "run/evaluation" / f"seed-{seed}.parquet" for seed in range(2 * SEEDS * TRIALS)]
    tables = [pq.read_table(path, columns=["correct", "loss"]) for path in files]
    networks = [
        Examined(
            np.stack([table["correct"].to_numpy() for table in tables[at : at + SEEDS]]),
            np.stack([table["loss"].to_numpy() for table in tables[at : at + SEEDS]]),
            1438, 12, Costs(),
        )
        for at in range(0, len(tables), SEEDS)
    ]  # fmt: skip
    labels = np.asarray(dd.open_data("digits", split="eval").labels)
    bound = stats.binom.isf(1e-3, TRIALS, ALPHA)  # exceeded by chance in one of 1,000 runs
    for metric in ("accuracy", "loss", "worst_class"):
        rows = [
            certified(full, {("the same", "equal", 1438): arm}, labels, metric, 2.0, ALPHA, ["the same"])[1]
            for full, arm in zip(networks[::2], networks[1::2], strict=True)
        ]
        assert sum(row.verdict is not None and row.verdict.worse for row in rows) <= bound, metric
        if metric == "accuracy":
            assert (
                sum(pooled(arm, full).lower > 0 for full, arm in zip(networks[::2], networks[1::2], strict=True))
                > bound
            )


def pooled(arm: Examined, full: Examined) -> LossInterval:
    """A limit that is wrong: as if each seed had examples of its own and none of them had a spread."""
    losses = arm.beyond(full, "accuracy")
    error = float(losses.std() / np.sqrt(losses.size))
    half = float(stats.norm.isf(ALPHA)) * error
    return LossInterval(float(losses.mean()), losses.mean() - half, losses.mean() + half, error, np.inf)
