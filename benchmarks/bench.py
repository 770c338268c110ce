"""What every benchmark shares: one JSON file per measured cell, written once, with where it comes from."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def provenance() -> dict[str, Any]:
    """Commit, versions and hardware of this process."""
    import numpy as np
    import torch

    cpu = next(
        (line.split(":")[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    return {
        "commit": os.environ.get("DATADIET_COMMIT") or IMPORTED,
        "cpu": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def commit() -> str:
    """`$DATADIET_COMMIT`, or what git says of this folder, or "unknown"."""

    def git(*words: str) -> str:
        return subprocess.run(["git", *words], capture_output=True, text=True, cwd=RESULTS.parents[1]).stdout.strip()

    named = os.environ.get("DATADIET_COMMIT")
    if named:
        return named
    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changes = git("status", "--porcelain", "--untracked-files=no", "--", "datadiet")
    except OSError:  # no git here
        return "unknown"
    return head + "+changes" * bool(changes) if head else "unknown"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def data_folder(*needed: str) -> Path:
    """Where the data of the benchmarks is: `$DATADIET_DATA`, which must hold these paths."""
    root = os.environ.get("DATADIET_DATA")
    missing = [name for name in needed if not root or not (Path(root) / name).exists()]
    if not root or missing:
        raise SystemExit(f"DATADIET_DATA={root}: set it to a folder that holds {', '.join(needed)}.")
    return Path(root)


IMPORTED = commit()  # of the code that this process imports; a checkout may move on while it measures


def peak_memory() -> int:
    """Bytes: the most that was resident in this process; in `ru_maxrss` that of its parent counts."""
    line = next(line for line in _lines("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def cell(name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of one cell: read from `results/NAME.json` if it is there, else measured and written."""
    path = RESULTS / f"{name}.json"
    if path.exists():
        return json.loads(path.read_text())
    found = {**measure(), **provenance()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(found, indent=2, sort_keys=True) + "\n")
    temporary.rename(path)
    return found
