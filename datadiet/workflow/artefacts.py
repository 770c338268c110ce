"""What a file or folder of datadiet is, told by its description alone."""

from __future__ import annotations

import os
from pathlib import Path

from datadiet.errors import DataError
from datadiet.files import parquet_identity
from datadiet.files.opening import read_bytes
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_manifest
from datadiet.table.incoming import FOREIGN, form_of

__all__ = ["PARQUET", "kind_of"]

PARQUET = b"PAR1"
"""How a Parquet file begins."""

_FILES = {"datadiet.scores": "scores", "datadiet.selection": "selection", "datadiet.signals": "signals"}
_RUNS = {
    "score": "a run that is not finished",
    "train": "training",
    "train_grid": "a grid of trainings",
    "embed": "a run of embeddings",
}


def kind_of(path: Path) -> str:
    """What is there: "run" (with scores), "training", "comparison", "scores", "selection", or a phrase.

    Raises:
        DataError: missing, or a folder or file that datadiet did not write.
    """
    if os.path.isdir(path):
        return _kind_of_folder(path)
    begin = read_bytes(path, size=len(PARQUET))
    if form_of(path) in FOREIGN:
        return "scores"
    if begin != PARQUET:
        raise DataError(f"{path} is not a Parquet file: give a run, a score file or a selection that datadiet wrote.")
    identity, schema, _ = parquet_identity(path)
    if identity is None:
        return "selection" if {"keep", "rank"} <= set(schema.names) else "scores"
    kind = str(identity.get("format"))
    return _FILES.get(kind, kind)


def _kind_of_folder(path: Path) -> str:
    layout = Layout(path)
    if layout.is_run:
        verb = read_manifest(path)["plan"].get("verb")
        return "run" if layout.scores.exists() else _RUNS.get(verb, f"a run of {verb}")
    if layout.comparison.exists():
        return "comparison"
    if Layout(layout.scored).is_run:
        return "a comparison that is not finished"
    verbs = [read_manifest(one)["plan"].get("verb") for one in sorted(path.iterdir()) if Layout(one).is_run]
    if "prune" in verbs or any(path.glob("choosing-*.json")):
        return "the runs of datadiet recover"
    if verbs:
        return "a folder of runs"
    raise DataError(f"{path} holds no run: give a run, a score file or a selection that datadiet wrote.")
