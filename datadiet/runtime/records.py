"""The files that describe a run, checked when they are read: its manifest, its log and the history of its training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datadiet.errors import DataError
from datadiet.files import digest, read_json
from datadiet.files.descriptions import LOG, MANIFEST, check_description
from datadiet.files.opening import open_file, parse_json
from datadiet.runtime.layout import Layout
from datadiet.runtime.plan import FORMAT

__all__ = ["read_history", "read_manifest", "read_record", "without_scores"]

_EPOCH = {"epoch": int, "step": int, "loss": float, "accuracy": float, "lr": float, "seconds": float}


def read_manifest(run: str | Path) -> dict[str, Any]:
    """The manifest of a run.

    Raises:
        DataError: not a run folder, or a manifest that is damaged or was changed.
    """
    layout = Layout(Path(run))
    if not layout.is_run:
        raise DataError(
            f"{run} is not a run folder (it has no {layout.manifest.name}): give the out= (--out) of score or train."
        )
    return read_record(layout.manifest)


def without_scores(run: str | Path) -> DataError:
    """The error for a run folder that has no table of scores: what to do depends on what made it."""
    verb = read_manifest(run)["plan"].get("verb")
    if verb == "train_grid":
        return DataError(
            f"{run} is a grid of trainings, which has no scores: score the data by the networks of a cell, with "
            f"checkpoints={str(Layout(Path(run)).cells / 'NAME')!r} (--checkpoints)."
        )
    if verb == "train":
        return DataError(
            f"{run} is a run of datadiet train, which has no scores: score the data by its networks, with "
            f"checkpoints={str(run)!r} (--checkpoints {run})."
        )
    return DataError(f"{run} is not finished: rerun the command that made it, which continues.")


def read_record(path: Path) -> dict[str, Any]:
    """The manifest or the log of a run, empty if it does not exist yet.

    Raises:
        DataError: it is damaged, its plan is not the one it was written with, or it is of a newer version.
    """
    if not path.exists():
        return {}
    found: dict[str, Any] = read_json(path)
    if path != Layout(path.parent).manifest:
        check_description(found, LOG, path, "run")
        return found
    check_description(found, MANIFEST, path, "run")
    version = found.get("version", 1)
    if version > FORMAT:
        raise DataError(f"{path} has format version {version}, but this datadiet reads {FORMAT}: update datadiet.")
    if (version == FORMAT or "plan_hash" in found) and found.get("plan_hash") != digest(found["plan"]):
        raise DataError(f"{path} was changed (plan_hash is not that of its plan): restore it, or make the run again.")
    return found


def read_history(run: Layout) -> list[dict[str, Any]]:
    """One entry per epoch of training.

    Raises:
        DataError: missing or damaged.
    """
    with open_file(run.history, "a file of JSON lines", "make the run again") as file:
        found = [parse_json(line) for line in file.read_text(encoding="utf-8").splitlines()]
        if not found:
            raise ValueError("it has no epoch")
    check_description(found, [_EPOCH], run.history, "run")
    return found
