"""What does each schedule cost in an epoch of a million examples, in batches of 1,000?

Seconds of its four parts: to begin the epoch, to read its order, to look up the weights of each batch, and to be given
the values of each batch; and nanoseconds of all for each example that is presented. Target: 2 % of a training step,
whose time the reader knows.
"""

from __future__ import annotations

import statistics
import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from bench import cell

from datadiet.sampling import SCHEDULES, ScheduleSpec

N, BATCH, EPOCHS = 1_000_000, 1000, 6
PARTS = ("begin", "order", "weights", "update")


def main() -> None:
    """Measure, and print."""
    torch.set_num_threads(1)
    print(cell("speed/schedules", measure))


def measure() -> dict[str, Any]:
    """For each schedule the median over epochs, without the first two, in which little is known."""
    return {"n": N, "batch": BATCH, **{name: of_schedule(spec) for name, spec in SCHEDULES.items()}}


def of_schedule(spec: ScheduleSpec) -> dict[str, float]:
    """Seconds of each part, and nanoseconds of all per example presented."""
    given = {**spec.example, **({"unbiased": True} if "unbiased" in spec.parameters else {})}
    schedule, rng = spec.make(given, n=N, seed=0, epochs=EPOCHS), np.random.default_rng(0)
    seconds: list[list[float]] = []
    presented = 0
    for epoch in range(EPOCHS):
        marks = [time.perf_counter()]
        presented = schedule.begin(epoch)
        marks.append(time.perf_counter())
        order = schedule.order(epoch)
        spans = [np.arange(lo, min(lo + 16384, presented)) for lo in range(0, presented, 16384)]
        rows = torch.from_numpy(np.concatenate([order(span) for span in spans]))
        marks.append(time.perf_counter())
        for batch in rows.split(BATCH):
            schedule.weights(batch)
        marks.append(time.perf_counter())
        values = torch.from_numpy(rng.exponential(1, presented).astype(np.float32))
        batches = list(zip(rows.split(BATCH), values.split(BATCH), strict=True))
        paused = time.perf_counter()
        for batch, losses in batches:
            schedule.update(batch, losses)
        marks.append(marks[-1] + time.perf_counter() - paused)
        seconds.append([after - before for before, after in pairwise(marks)])
    medians = [statistics.median(part) for part in zip(*seconds[2:], strict=True)]
    return {**dict(zip(PARTS, medians, strict=True)), "presented": presented, "ns_each": 1e9 * sum(medians) / presented}


if __name__ == "__main__":
    main()
