"""suspects: the examples of a run whose labels are most likely wrong. No torch, unless a network is evaluated."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from datadiet.data.labels import missing_labels, refuse_unlabelled
from datadiet.errors import MissingSignal, OptionError
from datadiet.parameters import check_whole
from datadiet.randomness import Keys
from datadiet.runtime.records import read_manifest
from datadiet.selectors.ordering import as_scores, first_k
from datadiet.table import Scores, Signals
from datadiet.table.examples import as_ids
from datadiet.workflow.scoring.columns import compute_scores
from datadiet.workflow.scoring.needs import resolve
from datadiet.workflow.scoring.requests import make_requests
from datadiet.workflow.scoring.rescore import recorded_signals
from datadiet.workflow.selecting.predictions import Predictions, evaluated_predictions, recorded_predictions
from datadiet.workflow.selecting.suspected import Suspects

__all__ = ["suspects"]

_TOP = 100

_NO_PREDICTION = (
    "The predicted class was not recorded. To add it, give the data that was scored, data=DATA (--data DATA): the last "
    "checkpoint of the run is then evaluated on the suspects."
)


def suspects(
    run: str | Path,
    top: int | None = None,
    *,
    score: str | None = None,
    data: Any = None,
    model: Any = None,
    device: Any = "auto",
) -> Suspects:
    """The examples of a run whose labels are most likely wrong, the most suspicious first.

    They are suspects, not errors. Without `score` they are ranked by AUM, from the table or from the recorded
    presentations, else by the loss of the last recorded evaluation: of our scores, these find the most wrong labels.

    Args:
        run: a run folder that `score` has finished.
        top: how many to list, at most all; None = 100, or all if there are fewer.
        score: the name of a column of the run to rank by.
        data: the data that was scored, to evaluate the last checkpoint on for the predicted class; None = what was
            recorded says.
        model: what the checkpoint belongs to, if it is not a network that the run may name.
        device: to evaluate on.

    Raises:
        OptionError: `top` out of range, an unknown score, or nothing recorded to rank by.
        DataError: not a run folder, a damaged one, or one without scores, labels or checkpoints.
        FingerprintMismatch: other data than was scored.
    """
    run = Path(run)
    read_manifest(run)
    table = Scores.read(run)
    labels, n = _labels(table, run), len(table)
    top = min(_TOP, n) if top is None else top
    if not 1 <= check_whole("top", top) <= n:
        raise OptionError(f"top={top}, and {run} has {n} examples: give a number from 1 to {n}.")
    if model is not None and data is None:
        raise OptionError("model= (--model) is for evaluating a checkpoint: give data= (--data DATA) too.")
    signals = recorded_signals(run, table)
    table, column = _ranked(table, signals, score, run)
    rows = first_k(-as_scores(table.hardness(column), top), top, Keys(0, "suspects", n))
    if data is None:
        said = recorded_predictions(signals, labels, rows, table.meta.get("facts", {}).get("num_classes", 0))
    else:
        said = evaluated_predictions(run, table, rows, data, model, device)
    suspicious = "low" if table.meta["columns"][column]["hardness"] < 0 else "high"
    meta = {"data": table.meta.get("data", {}), "parents": {column: table.digest(column)}}
    notes = () if "predicted" in said else (_NO_PREDICTION,)
    return Suspects(_listed(table, column, rows, said), column, suspicious, n, notes, meta)


def _labels(table: Scores, run: Path) -> np.ndarray:
    if table.labels is None:
        raise missing_labels(str(run))
    refuse_unlabelled(table.labels, as_ids(table.ids, table.index), str(run))
    return table.labels


def _ranked(table: Scores, signals: Signals, score: str | None, run: Path) -> tuple[Scores, str]:
    """The scores with the column to rank by, and its name."""
    if score is not None:
        return table, score
    evaluated = signals.epochs("eval")
    for name, params in (("aum", {}), ("loss", {"loss": {"at": str(evaluated[-1])}} if evaluated else {})):
        if name in table.names:
            return table, name
        try:
            requests = resolve(make_requests(name, params, None), table.meta.get("facts", {}))
            return compute_scores(signals, requests, table), name
        except OptionError:  # it was not recorded, or not for every example
            continue
    there = f"name a score, score=NAME (--score NAME): there is {', '.join(table.names)}" if table.names else ""
    raise MissingSignal(
        f"{run} recorded neither the training presentations (aum) nor an evaluation (loss) of its examples: "
        f"{there or 'score the data with aum'}."
    )


def _listed(table: Scores, column: str, rows: np.ndarray, said: Predictions) -> pa.Table:
    """The rows as a table; the values that are not known are null."""
    names = table.meta.get("class_names", ())
    assert table.labels is not None, "refused earlier"

    def named(codes: np.ndarray) -> pa.Array:
        texts = [None if c < 0 else str(names[c]) if c < len(names) else str(c) for c in codes.tolist()]
        return pa.array(texts, pa.string())

    columns: dict[str, Any] = {
        "index": table.index[rows],
        "id": as_ids(table.ids, table.index).take(pa.array(rows)).cast(pa.string()),
        "given": named(table.labels[rows]),
    }
    columns |= {"predicted": named(said["predicted"])} if "predicted" in said else {}
    for name in ("p_given", "p_predicted"):
        columns |= {name: pa.array(said[name], from_pandas=True)} if name in said else {}
    return pa.table({**columns, "score": table[column][rows].astype(np.float32)})
