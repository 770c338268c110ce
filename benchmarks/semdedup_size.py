"""How do the time and memory of SemDeDup grow, and how far are they from the floor?

10^4, 10^5 and 10^6 vectors of 384 numbers in float16, memory-mapped from disk: 1,000 bunches, and every fifth vector is
a near copy of another. Each size in a process of its own; its peak resident memory is that of the whole process, torch
included. Time: `semdedup(epsilon=0.05)` against its own k-means plus the bare blocked matrix products of its clusters
(float32, upper triangle, nothing done with them). Targets at 10^6: 1.5x, 3 GB.

`python benchmarks/semdedup_size.py`: about ten minutes on two quiet cores, and 800 MB of disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from bench import cell, peak_memory

from datadiet.geometry import kmeans
from datadiet.selectors import semdedup

DIM, SIZES, EPSILON, BLOCK = 384, (10_000, 100_000, 1_000_000), 0.05, 1024
CLUSTERS = {10_000: 10, 100_000: 100, 1_000_000: 1000}  # the papers' clusters of about 10^3 to 10^4 vectors
FOLDER = Path("runs/semdedup-size")


def main() -> None:
    """Measure each size in a process of its own."""
    for n in SIZES:
        print(n, cell(f"speed/semdedup_{n}", partial(in_a_process, n)), flush=True)


def in_a_process(n: int) -> dict[str, Any]:
    """The cell of one size."""
    made = vectors(n)
    done = [
        json.loads(subprocess.run([sys.executable, __file__, what, str(made)], check=True, capture_output=True).stdout)
        for what in ("semdedup", "floor")
    ]
    found = {"n": n, "dim": DIM, "clusters": CLUSTERS[n], "epsilon": EPSILON, **done[0], **done[1]}
    found["ratio"] = found["seconds"] / (found["kmeans_seconds"] + found["products_seconds"])
    return found | {"targets": {"ratio": 1.5, "peak_gb": 3}}


def vectors(n: int) -> Path:
    """Make the file, a block at a time."""
    path = FOLDER / f"{n}.npy"
    if path.exists():
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(1000, DIM)).astype(np.float32)
    out = np.lib.format.open_memmap(path.with_suffix(".tmp"), mode="w+", dtype=np.float16, shape=(n, DIM))
    for lo in range(0, n, 10_000):
        block = centres[rng.integers(0, 1000, 10_000)] + rng.normal(size=(10_000, DIM)).astype(np.float32)
        block[4::5] = block[3::5] + 0.1 * rng.normal(size=(2000, DIM)).astype(np.float32)
        out[lo : lo + 10_000] = block
    out.flush()
    path.with_suffix(".tmp").rename(path)
    return path


def measure_semdedup(path: Path, n: int) -> dict[str, Any]:
    """Time, without that of loading torch, and peak resident memory of the whole method."""
    import torch  # noqa: F401

    stored = np.load(path, mmap_mode="r")
    started = time.perf_counter()
    kept = semdedup(stored, epsilon=EPSILON, clusters=CLUSTERS[n])
    seconds = time.perf_counter() - started
    return {"kept": len(kept), "seconds": seconds, "peak_gb": peak_memory() / 1e9}


def measure_floor(path: Path, n: int) -> dict[str, Any]:
    """k-means, and the products of the rows of each cluster with each other."""
    import torch

    stored = np.load(path, mmap_mode="r")
    started = time.perf_counter()
    clusters = kmeans(stored, CLUSTERS[n])
    clustered = time.perf_counter()
    order, starts = clusters.members()
    for lo, hi in pairwise(starts):
        rows = torch.from_numpy(np.asarray(stored[np.sort(order[lo:hi])], dtype=np.float32))
        for at in range(0, len(rows), BLOCK):
            _ = rows[at : at + BLOCK] @ rows[: at + BLOCK].T
    return {"kmeans_seconds": clustered - started, "products_seconds": time.perf_counter() - clustered}


if __name__ == "__main__":
    if len(sys.argv) == 3:
        what, where = {"semdedup": measure_semdedup, "floor": measure_floor}[sys.argv[1]], Path(sys.argv[2])
        print(json.dumps(what(where, int(where.stem))))
    else:
        main()
