"""The logits that `score(logits=True)` left in a run, if they fit what a student will be shown."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.errors import DataError
from datadiet.files import digest
from datadiet.runtime.layout import Layout, checkpoint_place, options_in
from datadiet.runtime.records import read_record
from datadiet.runtime.vectors import parts_of
from datadiet.signals.passes import PASSES
from datadiet.table import Scores
from datadiet.training.stored_teacher import StoredLogits
from datadiet.workflow.session import Session

__all__ = ["Stored", "stored_logits"]

_log = logging.getLogger("datadiet")


@dataclass(frozen=True)
class Stored:
    """A teacher that was asked beforehand, what it adds to the plan, and its name."""

    teacher: StoredLogits
    plan: Any
    name: str


def stored_logits(given: str | Path, session: Session) -> Stored | None:
    """The logits of a run, or of one of its checkpoints; None if there are none, so that the network is needed.

    Those that do not fit are not used: a note says why, and the network of the run takes their place.

    Args:
        given: a run folder, or a checkpoint in one.
        session: of the student.

    Raises:
        DataError: the logits do not fit, and the run holds no network.
    """
    path = Path(os.fspath(given)) if isinstance(given, (str, os.PathLike)) else Path()
    whole = path.is_dir()
    run = Layout(path) if whole and Layout(path).is_run else Layout.of_checkpoint(path)
    found = [] if run is None else list(_in_run(run, None if whole else checkpoint_place(path)))
    if run is None or not found:
        return None
    plan = read_record(run.manifest).get("plan", {})
    reasons = [_unfit(run, plan, folder, session) for folder in found]
    if all(reasons):
        if whole and not run.checkpoints():
            raise DataError(f"the logits in {run.path} cannot teach here: {reasons[0]}.")
        _log.info("the logits in %s are not used: %s; the network runs beside the student", run.path, reasons[0])
        return None
    return _opened(run, plan, found[reasons.index("")], session)


def _in_run(run: Layout, place: tuple[int, int] | None) -> Iterator[Path]:
    """The folders of logits, of one checkpoint or of the first seed at its last epoch."""
    folders = [
        (seed, -epoch, paths[0].parent)
        for (name, seed, epoch), paths in run.parts().items()
        if name.split("@")[0] == "logits" and place in (None, (seed, epoch))
    ]
    return (folder for seed, epoch, folder in sorted(folders) if (seed, epoch) == min(folders)[:2])


def _options(folder: Path) -> dict[str, int]:
    return {**PASSES["logits"].options, **options_in(folder.parts[-3])}


def _unfit(run: Layout, plan: Mapping[str, Any], folder: Path, session: Session) -> str:
    """Why some logits are not those of what the student is shown; empty if they are."""
    ours, recipe = session.what(), session.recipe
    if not run.scores.exists():
        return "the run is not finished, so run the same command again"
    if plan.get("data") != ours["data"]:
        return "they are of other data"
    inputs, seen = plan.get("inputs") or {}, ours["inputs"]
    for key in ("shape", "augment", "decoder"):
        if inputs.get(key) != seen[key]:
            return f"they are of inputs with {key} = {inputs.get(key)}, and the student sees {key} = {seen[key]}"
    if recipe.augment == "none":
        return ""
    seed, views = plan.get("recipe", {}).get("augment_seed"), _options(folder)["views"]
    if seed != recipe.augment_seed:
        return f"they are of views with augment_seed={seed}, and the student's is {recipe.augment_seed}"
    if not 1 <= recipe.views <= views:
        return (
            f"they are of {views} views, and the student sees {recipe.views or 'a new one every epoch'}: repeat these "
            f"views with recipe={{'views': {views}}} (--set views={views})"
        )
    return ""


def _opened(run: Layout, plan: Mapping[str, Any], folder: Path, session: Session) -> Stored:
    vectors, options, index = parts_of(folder), _options(folder), Scores.read(run.scores).index
    assert vectors is not None, "the folder was found by its parts"
    rows = np.searchsorted(index, session.source.index)
    if len(vectors) != len(index) or (np.append(index, -1)[rows] != session.source.index).any():
        raise DataError(
            f"the logits in {run.path} are not of all the examples: use the same eval= and on_error= as for scoring."
        )
    name, seed, epoch = folder.parts[-3:]
    views = options["views"] if session.recipe.augment != "none" else 0
    teacher = StoredLogits(vectors, rows, views, options["top"], session.task.outputs)
    about = {"logits": digest(plan), "part": name, "seed": seed, "epoch": epoch}
    return Stored(teacher, about, f"the logits in {run.path}, of {plan.get('model')}")
