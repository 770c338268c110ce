"""What a network of a run says of some of its examples: from what was recorded, or by evaluating its weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data.identity import check_identity
from datadiet.errors import OptionError
from datadiet.runtime.records import read_manifest
from datadiet.table import Scores, Signals
from datadiet.table.examples import as_ids

__all__ = ["evaluated_predictions", "recorded_predictions"]

Predictions = Mapping[str, np.ndarray]
"""`predicted` (k,) int64 class numbers, -1 = not known; `p_given` and `p_predicted` (k,) float32, NaN = not known."""


def recorded_predictions(signals: Signals, labels: np.ndarray, rows: np.ndarray, classes: int) -> Predictions:
    """What was recorded of the network of the first seed at the last epoch, without augmentation if there is a choice.

    Of the class itself only the pass `divergence` keeps the number; with two classes it follows from `correct`.

    Args:
        signals: of the run.
        labels: (n,) class numbers.
        rows: (k,) rows of the examples.
        classes: their number; 0 = not known.
    """
    found: dict[str, np.ndarray] = {}
    mode, epoch = _last(signals, ("eval", "train"))
    compared = sorted({name for name, _, _ in signals.parts if name.partition("@")[0] == "divergence"})
    if compared:
        name, at = _last(signals, compared)
        found["predicted"] = _of_first_seed(signals, "predicted", (name, at), rows, -1).astype(np.int64)
        mode, epoch = ("eval", at) if at in signals.epochs("eval") else ("", 0)  # never numbers of two networks
    if not mode or not {"p_true", "doubt", "correct"} <= set(signals.columns(mode, epoch)):
        return found
    place = mode, epoch
    if classes == 2 and not compared:
        right, given = _of_first_seed(signals, "correct", place, rows, -1), labels[rows]
        found["predicted"] = np.where(right < 0, -1, np.where(right > 0, given, 1 - given)).astype(np.int64)
    found["p_given"] = _of_first_seed(signals, "p_true", place, rows, np.nan)
    found["p_predicted"] = 1 - _of_first_seed(signals, "doubt", place, rows, np.nan)
    return found


def _last(signals: Signals, modes: Any) -> tuple[str, int]:
    """The mode with the latest recorded epoch, the first of equals, and that epoch; ("", 0) if there is none."""
    there = [(mode, epochs[-1]) for mode in modes if (epochs := signals.epochs(mode))]
    return max(there, key=lambda place: place[1], default=("", 0))


def _of_first_seed(
    signals: Signals, signal: str, place: tuple[str, int], rows: np.ndarray, unseen: float
) -> np.ndarray:
    """(k,) float32; examples that were not presented are `unseen`."""
    mode, epoch = place
    values, seen = signals.array(signal, mode, [epoch])
    return np.where(seen[0, 0, rows], values[0, 0, rows], np.float32(unseen)).astype(np.float32)


def evaluated_predictions(
    run: Path, table: Scores, rows: np.ndarray, data: Any, model: Any = None, device: Any = "auto"
) -> Predictions:
    """What the network of the first seed says at the last epoch: its weights are evaluated on these examples alone.

    Args:
        run: with checkpoints.
        table: its scores.
        rows: (k,) rows of the examples.
        data: the data that was scored.
        model: what the weights belong to; None = what the run says.
        device: "auto" or a torch device.

    Raises:
        FingerprintMismatch: other data.
        DataError: no checkpoint, or weights that do not fit.
        OptionError: a model that only the user may name, since it is code.
    """
    import torch

    from datadiet.data import open_data
    from datadiet.models.running import call_in_run, evaluating
    from datadiet.workflow.checkpoints import last_checkpoint
    from datadiet.workflow.fitting.schedules import rows_of
    from datadiet.workflow.job_spec import JobSpec
    from datadiet.workflow.session import open_session
    from datadiet.workflow.trained_network import refuse_code

    source, file = open_data(data), last_checkpoint(run, "run")
    ids = as_ids(table.ids, table.index), source.ids
    check_identity(table.meta.get("data", {}), source.identity(), str(run), ids)
    spec = model or read_manifest(run)["plan"].get("model")
    if model is None:
        refuse_code(str(spec), file, "model")
    examples = source.subset(rows_of(table.index[rows], source))
    session = open_session(JobSpec(examples, spec, checkpoints=(file,), device=device))
    network, feed = session.network(file), session.feed
    with torch.no_grad(), evaluating(network):
        batches = feed.batches(np.arange(len(examples)), feed.eval_batch)
        pairs = [(call_in_run(network, batch).float().softmax(dim=1), batch.targets) for batch in batches]
    p, given = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    best = p.max(dim=1)
    columns = {"predicted": best.indices, "p_given": p.gather(1, given[:, None]).squeeze(1), "p_predicted": best.values}
    found = {name: values.cpu().numpy() for name, values in columns.items()}
    if np.isnan(found["p_predicted"]).any():
        raise OptionError(f"the network of {file} gives NaN for some of these examples: leave out data= (--data).")
    return found
