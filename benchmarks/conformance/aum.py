"""The authors' package for the area under the margin."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, relative_difference

CLASSES, EPOCHS = 10, 20


def logits(n: int) -> Arrays:
    """Logits of every epoch, and labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, n)
    return {
        "logits": rng.normal(size=(EPOCHS, n, CLASSES)).astype(np.float32) + 3 * np.eye(CLASSES, dtype="f4")[labels],
        "labels": labels,
    }


def ours(data: Arrays) -> Arrays:
    """Recorded by `dd.Recorder`, 128 at a time, and scored."""
    import torch

    import datadiet as dd

    n = len(data["labels"])
    recorder, targets = dd.Recorder(n), torch.from_numpy(data["labels"])
    for epoch in torch.from_numpy(data["logits"]):
        for rows in torch.arange(n).split(128):
            recorder.update(rows, epoch[rows], targets[rows])
        recorder.end_epoch()
    return {"aum": dd.score(recorder.finish(), scorers="aum")["aum"]}


def theirs(data: Arrays) -> Arrays:
    """The same by their calculator."""
    import tempfile

    import pandas as pd
    import torch
    from aum import AUMCalculator

    targets = torch.from_numpy(data["labels"])
    with tempfile.TemporaryDirectory() as folder:
        calculator = AUMCalculator(folder)
        for epoch in torch.from_numpy(data["logits"]):
            for rows in torch.arange(len(targets)).split(128):
                calculator.update(epoch[rows], targets[rows], rows.tolist())
        calculator.finalize()
        table = pd.read_csv(f"{folder}/aum_values.csv")
    return {"aum": table.sort_values("sample_id")["aum"].to_numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {"largest relative difference": relative_difference(a["aum"], b["aum"])}


PEER = Peer(
    "aum",
    (
        Case("aum", f"{EPOCHS} epochs of logits, 10 classes", 5000, logits, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-6)}),
    ),
    ("aum==1.0.2",),
)  # fmt: skip
