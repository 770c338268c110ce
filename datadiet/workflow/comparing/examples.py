"""Example images of the demo, with their labels and what a network of the run predicts for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from datadiet.data import Source, open_data
from datadiet.models import call_in_run
from datadiet.report.images import Picture
from datadiet.runtime.layout import Layout
from datadiet.table import Scores
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import Session, open_session

__all__ = ["Predictions", "picture_groups", "predictions"]

Predictions = Mapping[int, NDArray[np.int64]]
"""Epoch -> (n,) the class that the network gave each example after it."""

_SHOWN = 6


def predictions(run: str | Path, model: str) -> Predictions:
    """What the first seed's network of a run on digits predicts for every example, at each of its checkpoints."""
    files = Layout(Path(run)).checkpoints()
    session = open_session(JobSpec("digits", model, checkpoints=tuple(path for *_, path in files)))
    return {epoch: _classes(session, path) for seed, epoch, path in files if seed == files[0][0]}


@torch.inference_mode()
def _classes(session: Session, checkpoint: Path) -> NDArray[np.int64]:
    network, rows = session.network(checkpoint), np.arange(len(session.feed))
    return torch.cat(
        [call_in_run(network, batch).argmax(1).cpu() for batch in session.feed.batches(rows, session.feed.eval_batch)]
    ).numpy()


def picture_groups(
    scores: Scores, predicted: Predictions, order: NDArray[np.int64], k: int
) -> list[tuple[str, str, list[Picture]]]:
    """The ends of a ranking and both sides of its cut, for `report.images.grid`.

    Args:
        scores: the score table of the digits.
        predicted: see `predictions`.
        order: rows from the hardest to the easiest.
        k: how many are kept.
    """
    source = open_data("digits")
    groups = {
        ("Hardest", "kept"): order[:_SHOWN],
        ("Just above the cut", "kept"): order[k - _SHOWN : k],
        ("Just below the cut", "left out"): order[k : k + _SHOWN],
        ("Easiest", "left out"): order[-_SHOWN:],
    }
    return [
        (name, what, [_picture(source, int(row), float(scores["el2n"][row]), predicted) for row in rows])
        for (name, what), rows in groups.items()
    ]


def _picture(source: Source, row: int, el2n: float, predicted: Predictions) -> Picture:
    assert source.labels is not None  # digits have labels
    label = int(source.labels[row])
    classes = [int(predicted[epoch][row]) for epoch in sorted(predicted)]
    caption = [f"label {source.class_names[label]}", _said(source.class_names, classes), f"EL2N {el2n:.2f}"]
    alt = f"handwritten digit, number {row} of the training images"
    return Picture(source.take([row])[0].numpy(), alt, caption, 1 if set(classes) != {label} else None)


def _said(names: Sequence[str], classes: Sequence[int]) -> str:
    """A prediction that stays, or the first and the last.

    >>> _said("0123456789", [9, 1]), _said("0123456789", [2, 2])
    ('predicted 9, then 1', 'predicted 2')
    """
    first, last = classes[0], classes[-1]
    return f"predicted {names[first]}" + (f", then {names[last]}" if last != first else "")
