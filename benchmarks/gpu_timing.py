"""How the rows of `gpu.py` take time: interleaved rounds on a device, and processes that may be stopped."""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

__all__ = ["CUDA", "ON", "ROUNDS", "Ended", "memory", "ran", "seconds", "wait"]

CUDA = torch.cuda.is_available()
ON = "cuda" if CUDA else "cpu"
ROUNDS = 7 if CUDA else 1
ROOT = Path(__file__).parents[1]


def seconds(work: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median seconds of each, in interleaved rounds after one that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in work}
    for number in range(rounds + 1):
        for name, function in work.items():
            wait()
            begun = time.perf_counter()
            function()
            wait()
            if number:
                times[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in times.items()}


def wait() -> None:
    """Until the device is done."""
    if CUDA:
        torch.cuda.synchronize()


def memory(work: Callable[[], Any]) -> float:
    """Bytes that some work takes at most, beyond what is there before; 1 on a processor."""
    if not CUDA:
        return 1.0
    wait()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    work()
    wait()
    return float(torch.cuda.max_memory_allocated() - before)


class Ended(NamedTuple):
    """A process that is over: its exit code, None if it was stopped, and what it wrote."""

    code: int | None
    out: str
    err: str


def ran(command: list[str], limit: float, folder: Path = ROOT) -> Ended:
    """Run a command that finds this datadiet first; after so many seconds, stop it and all that it started.

    What runs in it finds its seconds in `$ROW_SECONDS`, to stop in time what it runs in the same way.
    """
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "ROW_SECONDS": str(limit)}, start_new_session=True,
    )  # fmt: skip
    code = None
    try:
        out, err = process.communicate(timeout=limit)
        code = process.returncode
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        out, err = process.communicate()
    return Ended(code, out, err)
