"""The authors' code of dataset cartography: the coordinates of the map, from logits."""

from __future__ import annotations

from conformance.case import Arrays, Case, Peer, checkout, relative_difference
from conformance.tdds import logits


def ours(data: Arrays) -> Arrays:
    """Recorded and scored."""
    import torch

    import datadiet as dd

    n, targets = len(data["labels"]), torch.from_numpy(data["labels"])
    recorder = dd.Recorder(n)
    for epoch in torch.from_numpy(data["logits"]):
        recorder.update(torch.arange(n), epoch, targets)
        recorder.end_epoch()
    found = dd.score(recorder.finish(), scorers="cartography")
    return {name: found[f"cartography.{name}"] for name in ("confidence", "variability", "correctness")}


def theirs(data: Arrays) -> Arrays:
    """Their table, from the records that their training writes."""
    import sys
    from types import SimpleNamespace

    sys.path.insert(0, str(checkout()))
    from cartography.selection import train_dy_filtering as code

    code.tqdm.tqdm = lambda rows: rows  # without a bar
    records = {
        row: {"gold": label, "logits": values.tolist()}
        for row, (label, values) in enumerate(zip(data["labels"], data["logits"].swapaxes(0, 1), strict=True))
    }
    table, _ = code.compute_train_dy_metrics(records, SimpleNamespace(include_ci=False, burn_out=len(data["logits"])))
    return {name: table[name].to_numpy() for name in ("confidence", "variability", "correctness")}


def agreement(data: Arrays, a: Arrays, b: Arrays) -> dict[str, float]:
    """How far they are apart; correctness is the number of epochs there, and their share here."""
    counts = {"confidence": 1, "variability": 1, "correctness": len(data["logits"])}
    return {name: relative_difference(a[name], b[name] / count) for name, count in counts.items()}


PEER = Peer(
    "cartography",
    (
        Case("cartography", "20 epochs of logits, 10 classes, 5,000 examples", 5000, logits, ours, theirs, agreement,
             {"confidence": (0, 1e-6), "variability": (0, 1e-6), "correctness": (0, 1e-6)}),
    ),
    ("seaborn==0.13.2",),
    "allenai/cartography",
)  # fmt: skip
