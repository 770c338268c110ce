"""How far is selecting from 10 million scores from the floor, one np.argpartition of the same array?

top_k and ccs keep 30 % of 10 million float32 scores, interleaved with np.argpartition; peak memory by tracemalloc,
which sees numpy's allocations. Targets: 5x the time, 4x the memory. Whole processes: `datadiet select` on a score file
of a million rows (target 1.5 s) and `datadiet --help` (target 0.25 s).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from bench import cell

import datadiet as dd
from datadiet import selectors

N, KEEP, ROUNDS = 10_000_000, 3_000_000, 11


def main() -> None:
    """Measure, and print."""
    print(cell("speed/select_10m", in_process))
    print(cell("speed/select_process", whole_process))


def in_process() -> dict[str, Any]:
    """Times and memory of the functions and of `dd.select`, as ratios to argpartition."""
    scores = np.random.default_rng(0).standard_normal(N, dtype=np.float32)
    work: dict[str, Callable[[], Any]] = {
        "argpartition": lambda: np.argpartition(scores, N - KEEP),
        "top_k": lambda: selectors.top_k(scores, KEEP, prefer="hardest"),
        "ccs": lambda: selectors.ccs(scores, KEEP),
        "dd.select top_k": lambda: dd.select(scores, "top_k", keep=KEEP, prefer="hardest"),
        "dd.select ccs": lambda: dd.select(scores, "ccs", keep=KEEP),
    }
    times: dict[str, list[float]] = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, function in work.items():
            started = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - started)
    peaks = {name: peak(function) for name, function in work.items()}
    floor = times["argpartition"]
    found: dict[str, Any] = {"n": N, "k": KEEP, "rounds": ROUNDS, "targets": {"time": 5, "memory": 4}}
    for name in work:
        ratio = statistics.median(a / b for a, b in zip(times[name], floor, strict=True))
        memory = peaks[name] / peaks["argpartition"]  # what is allocated beyond the scores themselves
        found[name] = {"seconds": statistics.median(times[name]), "time_ratio": ratio, "memory_ratio": memory}
    return found


def peak(function: Callable[[], Any]) -> int:
    """Bytes allocated at the highest, beyond what was there."""
    tracemalloc.start()
    function()
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return highest


def whole_process() -> dict[str, Any]:
    """Seconds of the command line, medians of whole processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scores.parquet"
        values = np.random.default_rng(1).standard_normal(1_000_000).astype(np.float32)
        dd.Scores.from_arrays({"el2n": values}).write(path)
        select = ["select", str(path), "--keep", "30%", "--out", f"{folder}/s.parquet", "--method"]
        commands = {
            "help": ["--help"],
            "select top_k": [*select, "top_k", "-p", "prefer=hardest"],
            "select ccs": [*select, "ccs"],
        }
        return {name: {"seconds": process_seconds(words)} for name, words in commands.items()}


def process_seconds(words: list[str]) -> float:
    """The median of nine whole processes."""
    times = []
    for _ in range(9):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "datadiet", *words], check=True, capture_output=True)
        times.append(time.perf_counter() - started)
    return statistics.median(times)


if __name__ == "__main__":
    main()
