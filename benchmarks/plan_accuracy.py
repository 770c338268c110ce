"""How far is `datadiet plan` from what a selection takes?

Vectors of 128 numbers in float32 in 300 bunches, memory-mapped. For each method the estimate is made and the selection
run right after it, in a process of its own, as a user would: `plan(path, …)`, then `select(path, …)`. Time by
the clock; memory is the peak that was resident in that process, libraries and the mapped vectors included.

`python benchmarks/plan_accuracy.py`: five minutes on two quiet cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from bench import cell, peak_memory

import datadiet as dd
from datadiet.workflow.planning.costs import plan
from datadiet.workflow.planning.estimate import WITH_TORCH

DIM, BUNCHES = 128, 300
FOLDER = Path("runs/plan-accuracy")
CASES: list[tuple[str, str | int | None, dict[str, Any], tuple[int, ...]]] = [
    ("semdedup", None, {"epsilon": 0.05}, (30_000, 100_000)),
    ("semdedup", "50%", {}, (30_000, 100_000)),
    ("prototypes_topk", "30%", {}, (30_000, 100_000)),
    ("dbp", "30%", {"clusters": 500}, (30_000, 100_000)),
    ("d4", "30%", {}, (30_000,)),
    ("k_center", 2000, {}, (30_000, 100_000)),
    ("herding", 2000, {}, (30_000,)),
    ("graph_cut", 2000, {}, (30_000,)),
    ("facility_location", "10%", {}, (20_000, 40_000)),
    ("craig", "10%", {}, (20_000,)),
    ("d2", "10%", {}, (20_000, 40_000)),
    ("sensitivity", "10%", {}, (30_000, 100_000)),
    ("ccs", "30%", {}, (1_000_000,)),
]


def main() -> None:
    """Estimate and run each."""
    for method, keep, params, sizes in CASES:
        for n in sizes:
            vectors(n)
            name = f"plan/{method}-{'epsilon' if keep is None else str(keep).strip('%')}-{n}"
            print(name, cell(name, partial(in_a_process, method, keep, params, n)), flush=True)


def vectors(n: int) -> Path:
    """The file of n vectors, made once."""
    path = FOLDER / f"{n}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        centres = rng.standard_normal((BUNCHES, DIM), dtype=np.float32)
        np.save(path, centres[rng.integers(BUNCHES, size=n)] + rng.standard_normal((n, DIM), dtype=np.float32))
    return path


def in_a_process(*case: Any) -> dict[str, Any]:
    """What `measure` finds, without what this process has loaded."""
    done = subprocess.run([sys.executable, __file__, json.dumps(case)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def measure(method: str, keep: str | int | None, params: dict[str, Any], n: int) -> dict[str, Any]:
    """The estimate, and the run after it. Loading torch, where it is needed, takes seconds and is not counted."""
    path, load = FOLDER / f"{n}.npy", os.getloadavg()[0]
    told = plan(path, method=method, keep=keep, params=params)
    if told.process == WITH_TORCH:
        import torch  # noqa: F401
    scores = dd.Scores.from_arrays({"score": np.random.default_rng(1).random(n)})
    start = time.perf_counter()
    if method == "ccs":
        dd.select(scores, method, keep=keep, **params)
    else:
        dd.select(scores if method == "d2" else path, method, keep=keep, **params, **beside(method, path))
    seconds = time.perf_counter() - start
    return {
        "method": method, "keep": keep, "params": params, "n": n, "dim": DIM, "load_at_start": load,
        "seconds": seconds, "peak_mb": peak_memory() / 1e6,
        "planned": {"seconds": told.total.seconds, "peak_mb": told.memory / 1e6},
        "lines": {line.name: line.seconds for line in told.lines},
    }  # fmt: skip


def beside(method: str, path: Path) -> dict[str, Any]:
    """The vectors, for a method that is led by scores."""
    return {"embeddings": path} if method == "d2" else {}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(json.dumps(measure(*json.loads(sys.argv[1]))))
    else:
        main()
