"""Whether the networks that score have learned something: the notes that `score` gives if they have not."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from datadiet.errors import counted, some_of
from datadiet.files.tables import parquet_table
from datadiet.runtime import Layout
from datadiet.workflow.session import Session

__all__ = ["note_unlearned"]

_log = logging.getLogger("datadiet")

# A network has learned little if it leaves more than this share of the errors of always naming the largest class.
_LEFT = 0.9


def note_unlearned(session: Session, layout: Layout, seeds: Sequence[int], runs: Sequence[Mapping[str, Any]]) -> None:
    """Note that trained networks are hardly better than naming the largest class, or never name some class.

    Accuracy is the mean over seeds, of the held-out examples, or else of the last training epoch.

    Args:
        session: what they were trained in.
        layout: of their run, with what each says of the held-out examples.
        seeds: of their trainings.
        runs: what each training logged: its history, and its held-out accuracy.
    """
    held = session.held_out
    source = session.source if held is None else held.source
    largest = float(np.bincount(np.asarray(source.labels)).max() / len(source))
    last = [run["history"][-1] for run in runs]
    accuracy = float(np.mean([(end if held is None else run)["accuracy"] for run, end in zip(runs, last, strict=True)]))
    if 1 - accuracy > _LEFT * (1 - largest):
        _log.warning(
            "after %s the scoring network gets %.1f %% of the %s examples right, and the largest class alone would "
            "give %.1f %%: train longer before you trust its scores (epochs=, --epochs; a smaller batch_size=, --set "
            "batch_size=N, takes more steps)",
            counted(last[0]["step"], "step"), 100 * accuracy, "training" if held is None else "held-out", 100 * largest,
        )  # fmt: skip
    if held is None:
        return
    named = [parquet_table(layout.evaluation(seed), ["predicted"])["predicted"].to_numpy() for seed in seeds]
    never = np.setdiff1d(np.asarray(held.source.labels), np.concatenate(named))
    if len(never):
        names = some_of((repr(held.source.class_names[number]) for number in never), 3)
        _log.warning(
            "the scoring network predicts %s for no held-out example: it has not learned %s, so scores of such "
            "examples say little",
            names, "this class" if len(never) == 1 else "these classes",
        )  # fmt: skip
