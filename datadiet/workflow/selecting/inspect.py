"""inspect: what a file or run holds, without reading its rows. No torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from datadiet.errors import DataError, counted
from datadiet.files import parquet_identity
from datadiet.files.opening import read_bytes
from datadiet.runtime.layout import Layout
from datadiet.runtime.records import read_manifest, read_record
from datadiet.table.classes import ClassCounts
from datadiet.workflow.artefacts import PARQUET, kind_of

__all__ = ["inspect"]

_RESULTS = ("accuracy", "steps", "kept", "seconds", "sparsity")  # what the log of a training says of it


def inspect(path: Path) -> dict[str, Any]:
    """What a run folder, a folder of runs, a score file or a selection file holds, as JSON values.

    Raises:
        DataError: missing, damaged, or none of these.
    """
    if os.path.isdir(path):
        runs = {} if Layout(path).is_run else _runs_in(path)
        return {"path": str(path), "format": kind_of(path), "runs": runs} if runs else _run(path)
    if read_bytes(path, size=len(PARQUET)) != PARQUET:
        raise DataError(
            f"{path} is not a Parquet file: inspect reads the run folders, score files and selections that datadiet "
            "writes, so give one of these."
        )
    identity, schema, rows = parquet_identity(path)
    kind = (identity or {}).get("format", "unknown (its description is lost)")
    columns = {name: str(schema.field(name).type) for name in schema.names}
    found: dict[str, Any] = {"path": str(path), "format": kind, "rows": rows}
    if identity is None or kind == "datadiet.signals":
        return found | {"columns": columns}
    if kind == "datadiet.selection":
        wanted = ("method", "params", "columns", "keep", "by_class", "seed", "nested", "parents", "vectors", "data")
        counts = ClassCounts.read(identity.get("classes"))
        classes = {} if counts is None else {"classes": counts.shares()}
        return found | {name: identity[name] for name in wanted if name in identity} | classes
    described = {name: f"{kind}{_meaning(identity.get('columns', {}).get(name, {}))}" for name, kind in columns.items()}
    return found | {"columns": described} | {k: identity[k] for k in ("facts", "stability", "data") if k in identity}


def _meaning(about: dict[str, Any]) -> str:
    sign = {1: ", high = hard", -1: ", low = hard"}.get(about.get("hardness", 0), "")
    return f"{sign}, by {about['scorer']}" if "scorer" in about else sign


def _runs_in(path: Path) -> dict[str, dict[str, Any]]:
    """name -> what a run is that lies in a folder of several, such as that of `datadiet recover`."""
    found = {}
    for run in sorted(one for one in path.iterdir() if Layout(one).is_run):
        log = read_record(Layout(run).log)
        results = {key: log[key] for key in _RESULTS if key in log}
        found[run.name] = {"path": str(run), "verb": read_manifest(run)["plan"].get("verb", "unknown"), **results}
    return found


def _in_short(plan: dict[str, Any]) -> dict[str, Any]:
    """A plan without the lists of removed channels, which fill pages: the number of layers instead."""
    if "removed" not in plan:
        return plan
    return plan | {"removed": [f"channels of {counted(len(removed), 'layer')}" for removed in plan["removed"]]}


def _run(path: Path) -> dict[str, Any]:
    manifest, layout = read_manifest(path), Layout(path)
    log = read_record(layout.log)
    recorded: dict[str, dict[str, int]] = {}
    for (name, seed, _), parts in layout.parts().items():
        entry = recorded.setdefault(f"{name} seed-{seed}", {"parts": 0, "bytes": 0})
        entry["parts"] += len(parts)
        entry["bytes"] += sum(part.stat().st_size for part in parts)
    files = [layout.relative(file) for _, _, file in layout.checkpoints()]
    whole = not recorded or layout.scores.exists()
    waiting = (
        [] if whole else [f"{layout.scores.name} is not written: rerun the command that made it, and it continues"]
    )
    found = {
        "path": str(path),
        "format": manifest.get("format", "unknown"),
        "plan": _in_short(manifest["plan"]),
        "facts": manifest.get("facts", {}),
        "recorded": dict(sorted(recorded.items())),
        "checkpoints": files,
        "unfinished": layout.unfinished() + waiting,
        "cost": {key: value["seconds"] for key, value in log.items() if isinstance(value, dict) and "seconds" in value},
    }
    found |= {key: log[key] for key in _RESULTS if key in log}
    try:
        found["scores"] = inspect(layout.scores)["columns"]
    except DataError:
        found["scores"] = {}
    return found
