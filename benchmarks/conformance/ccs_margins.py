"""The authors' code of CCS: its accumulated margin, of probabilities."""

from __future__ import annotations

from conformance.case import Arrays, Case, Peer, function, relative_difference
from conformance.tdds import logits

BATCH = 256


def ours(data: Arrays) -> Arrays:
    """Recorded and scored."""
    import torch

    import datadiet as dd

    n, targets = len(data["labels"]), torch.from_numpy(data["labels"])
    recorder = dd.Recorder(n)
    for epoch in torch.from_numpy(data["logits"]):
        for rows in torch.arange(n).split(BATCH):
            recorder.update(rows, epoch[rows], targets[rows])
        recorder.end_epoch()
    return {"margin": dd.score(recorder.finish(), scorers="aum_prob")["aum_prob"]}


def theirs(data: Arrays) -> Arrays:
    """From the log-probabilities that their training would have written; a sum over epochs."""
    import torch

    labels = [(None, (None, label)) for label in data["labels"].tolist()]
    measure = function("generate_importance_score.py", "training_dynamics_metrics", torch=torch, print=lambda _: None)
    log = [
        {"output": epoch[rows].log_softmax(1), "idx": rows}
        for epoch in torch.from_numpy(data["logits"])
        for rows in torch.arange(len(labels)).split(BATCH)
    ]
    found: dict[str, torch.Tensor] = {}
    measure(log, labels, found)
    return {"margin": found["accumulated_margin"].numpy()}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far our mean is from their sum over the epochs."""
    return {"largest relative difference": relative_difference(a["margin"], b["margin"] / len(data["logits"]))}


PEER = Peer(
    "Coverage-centric-coreset-selection",
    (
        Case("aum_prob", "20 epochs of logits, 10 classes, 5,000 examples", 5000, logits, ours, theirs, agreement,
             {"largest relative difference": (0, 1e-6)}),
    ),
    repository="haizhongzheng/Coverage-centric-coreset-selection",
)  # fmt: skip
