"""The authors' code of TDDS."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays, Case, Peer, rank_correlation, relative_difference, script

EPOCHS, WINDOW = 20, 5


def logits(n: int) -> Arrays:
    """(epochs, n, 10) logits that drift towards the label."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, n)
    drift = np.linspace(0, 4, EPOCHS)[:, None, None] * np.eye(10)[labels] * rng.random((n, 1))
    return {"logits": (rng.normal(size=(EPOCHS, n, 10)) + drift).astype(np.float32), "labels": labels}


def ours(data: Arrays) -> Arrays:
    """Recorded and scored."""
    import torch

    import datadiet as dd

    n = len(data["labels"])
    recorder, targets = dd.Recorder(n, shift=True), torch.from_numpy(data["labels"])
    for epoch in torch.from_numpy(data["logits"]):
        recorder.update(torch.arange(n), epoch, targets)
        recorder.end_epoch()
    return {"score": dd.score(recorder.finish(), scorers="tdds", params={"tdds": {"window": WINDOW}})["tdds"]}


def theirs(data: Arrays) -> Arrays:
    """Their script, on files of logits."""
    import tempfile

    n = data["logits"].shape[1]
    with tempfile.TemporaryDirectory() as folder:
        code = script("importance_evaluation.py", "--mask_path", f"{folder}/", "--trajectory_len", str(EPOCHS),
                      "--window_size", str(WINDOW))  # fmt: skip
        code.generate(data["logits"], None, np.tile(np.arange(n), (EPOCHS, 1)))
        order, values = (np.load(f"{folder}/{name}_win{WINDOW}_ep{EPOCHS}.npy") for name in ("data_mask", "score"))
    score = np.empty(n)
    score[order] = values
    return {"score": score}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart."""
    return {
        "rank correlation": rank_correlation(a["score"], b["score"]),
        "largest relative difference": relative_difference(a["score"], b["score"]),
    }


PEER = Peer(
    "Dataset-Pruning-TDDS",
    (
        Case("tdds", f"{EPOCHS} epochs, windows of {WINDOW}, 2,000 examples, 10 classes", 2000, logits, ours, theirs,
             agreement, {"rank correlation": (0.99999, 1), "largest relative difference": (0, 1e-4)}),
    ),
    repository="zhangxin-xd/Dataset-Pruning-TDDS",
)  # fmt: skip
