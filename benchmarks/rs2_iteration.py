"""What does an RS2 epoch over 10 million examples cost, beside torch's RandomSampler?

Seconds per drawn index, interleaved; peak memory by tracemalloc and the time to the first index also at n = 10^9.
Targets: at most 1.5x RandomSampler per index, memory that does not grow with n.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import torch
from bench import cell
from torch.utils.data import RandomSampler

import datadiet as dd

N, ROUNDS = 10_000_000, 5


def main() -> None:
    """Measure, and print."""
    torch.set_num_threads(1)
    print(cell("speed/rs2_iteration", measure))


def measure() -> dict[str, Any]:
    """Per-index seconds of each sampler, and the ratio to RandomSampler pair by pair."""
    makers: dict[str, Callable[[], Any]] = {
        "RandomSampler": lambda: RandomSampler(range(N)),
        "RS2 keep 10%": lambda: dd.RS2Sampler(N, keep=0.1),
        "RS2 keep 100%": lambda: dd.RS2Sampler(N, keep=1.0),
        "RS2 keep 10%, replacement": lambda: dd.RS2Sampler(N, keep=0.1, replacement=True),
    }
    times: dict[str, list[float]] = {name: [] for name in makers}
    for _ in range(ROUNDS):
        for name, make in makers.items():
            times[name].append(seconds_per_index(make()))
    found: dict[str, Any] = {"n": N, "rounds": ROUNDS, "target": 1.5}
    for name, per_index in times.items():
        ratio = statistics.median(a / b for a, b in zip(per_index, times["RandomSampler"], strict=True))
        found[name] = {"ns_per_index": 1e9 * statistics.median(per_index), "ratio": ratio}
    for n in (10**5, 10**7, 10**9):
        found[f"first index and peak at n={n:.0e}"] = first(n)
    return found


def seconds_per_index(sampler: Any) -> float:
    """Seconds of a whole epoch, divided by its length."""
    started = time.perf_counter()
    exhaust(sampler)
    return (time.perf_counter() - started) / len(sampler)


def exhaust(sampler: Iterable[int]) -> None:
    """Iterate at the speed of C."""
    deque(sampler, maxlen=0)


def first(n: int) -> dict[str, float]:
    """Milliseconds to the first index, and the peak memory of drawing 100,000."""
    started = time.perf_counter()
    next(iter(dd.RS2Sampler(n, keep=0.5)))
    milliseconds = 1e3 * (time.perf_counter() - started)
    tracemalloc.start()
    indices = iter(dd.RS2Sampler(n, keep=0.5))
    for _ in range(min(100_000, n // 2)):
        next(indices)
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"first_ms": milliseconds, "peak_mb": highest / 1e6}


if __name__ == "__main__":
    main()
