"""inspect: what a file or run holds, without reading its rows. No torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datadiet.errors import DataError
from datadiet.files import parquet_identity, read_json
from datadiet.table.signals import read_manifest

__all__ = ["inspect"]


def inspect(path: Path) -> dict[str, Any]:
    """What a run folder, a score file or a selection file holds, as JSON values.

    Raises:
        DataError: missing, damaged, or none of these.
    """
    if path.is_dir():
        return _run(path)
    identity, schema, rows = parquet_identity(path)
    kind = (identity or {}).get("format", "unknown (its description is lost)")
    columns = {name: str(schema.field(name).type) for name in schema.names}
    found: dict[str, Any] = {"path": str(path), "format": kind, "rows": rows}
    if identity is None or kind == "datadiet.signals":
        return found | {"columns": columns}
    if kind == "datadiet.selection":
        wanted = ("method", "params", "columns", "keep", "by_class", "seed", "nested", "parents", "vectors", "data")
        return found | {name: identity[name] for name in wanted if name in identity}
    described = {name: f"{kind}{_meaning(identity['columns'].get(name, {}))}" for name, kind in columns.items()}
    return found | {"columns": described} | {k: identity[k] for k in ("facts", "stability", "data") if k in identity}


def _meaning(about: dict[str, Any]) -> str:
    sign = {1: ", high = hard", -1: ", low = hard"}.get(about.get("hardness", 0), "")
    return f"{sign}, by {about['scorer']}" if "scorer" in about else sign


def _run(path: Path) -> dict[str, Any]:
    manifest = read_manifest(path)
    log = read_json(path / "run.json") if (path / "run.json").exists() else {}
    recorded: dict[str, dict[str, int]] = {}
    parts = [
        *path.glob("signals/*/seed-*/epoch-*/part-*.parquet"),
        *path.glob("embeddings/*/seed-*/epoch-*/part-*.npy"),
    ]
    for part in parts:
        mode, seed = part.parts[-4:-2]
        entry = recorded.setdefault(f"{mode} {seed}", {"parts": 0, "bytes": 0})
        entry["parts"] += 1
        entry["bytes"] += part.stat().st_size
    files = sorted(str(f.relative_to(path)) for f in path.glob("checkpoints/*/*.safetensors"))
    whole = not recorded or (path / "scores.parquet").exists()
    waiting = [] if whole else ["scores.parquet is not written: run the command that made it again, it continues"]
    found = {
        "path": str(path),
        "format": manifest.get("format", "unknown"),
        "plan": manifest.get("plan", {}),
        "facts": manifest.get("facts", {}),
        "recorded": dict(sorted(recorded.items())),
        "checkpoints": files,
        "unfinished": sorted(str(f.relative_to(path)) for f in path.glob("state/*")) + waiting,
        "cost": {key: value["seconds"] for key, value in log.items() if isinstance(value, dict) and "seconds" in value},
    }
    found |= {key: log[key] for key in ("accuracy", "steps", "kept", "seconds") if key in log}
    try:
        found["scores"] = inspect(path / "scores.parquet")["columns"]
    except DataError:
        found["scores"] = {}
    return found
