"""What does Ray cost, what do two workers gain, and where does the design stop scaling?

One run of about a minute: two trainings of a ResNet-8 on 6,000 made-up images of 32 pixels, GraNd and EL2N; one thread
each. Recorded in this process, by one worker of Ray and by two, interleaved, from the first unit to the last; the start
of Ray and its workers apart. Target: one worker costs at most 5 % more than this process.

Then the discrete-event model of the executor (`datadiet.runtime.simulation`) with the units of ImageNet: 1.28 million
rows in 256 parts per pass, ten seeds, the recorded seconds of a unit of each kind scaled to its rows, and what the
driver spent on a message here; for 1 to 512 workers.

`pip install 'datadiet[ray]'`, then `python benchmarks/ray_cost.py`: 15 minutes with two cores.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from bench import cell

import datadiet as dd
from datadiet.runtime.local import LocalFleet
from datadiet.runtime.simulation import makespan
from datadiet.runtime.units import Unit, shards
from datadiet.runtime.worker_pool import WorkerPool

N, EPOCHS, SEEDS, ROUNDS = 6_000, 4, 2, 3
IMAGENET, PARTS, MANY_SEEDS = 1_281_167, 256, 10
WORKERS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


def main() -> None:
    """Measure, or read what was measured."""
    found = cell("speed/ray_cost", measure)
    print(found)
    print(cell("speed/ray_simulated", lambda: simulate(found)))


def measure() -> dict[str, Any]:
    """Seconds of the work in this process and by workers of Ray, and of their start."""
    rng = np.random.default_rng(0)
    y = np.arange(N) % 10
    x = (rng.normal(size=(N, 3, 32, 32)) * 20 + 10 * y[:, None, None, None]).clip(0, 255).astype("u1")
    times: dict[str, list[float]] = {"local": [], "one": [], "two": []}
    starts: list[float] = []
    units: dict[str, list[float]] = {}
    handling: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "d.npz", x=x, y=y)
        for number in range(ROUNDS):
            for name, executor in (("local", "local"), ("one", dd.RayExecutor(actors=1)), ("two", dd.RayExecutor(2))):
                with watched(units, handling) as seen:
                    begun = time.perf_counter()
                    run(f"npz:{folder}/d.npz", executor, Path(folder) / f"{name}-{number}")
                times[name].append(seen["last"] - seen["first"])
                if name != "local":
                    starts.append(seen["first"] - begun)
    seconds = {name: statistics.median(values) for name, values in times.items()}
    return {
        "n": N, "epochs": EPOCHS, "seeds": SEEDS, "rounds": ROUNDS, "seconds": seconds, "all_seconds": times,
        "start_seconds": statistics.median(starts), "overhead": seconds["one"] / seconds["local"],
        "target_overhead": 1.05, "speed_of_two": seconds["one"] / seconds["two"],
        "efficiency_of_two": seconds["one"] / seconds["two"] / 2, "threads_each": 1,
        "driver_seconds_per_unit": statistics.median(handling),
        "unit_seconds": {kind: statistics.median(values) for kind, values in units.items()},
    }  # fmt: skip


def run(data: str, executor: Any, out: Path) -> None:
    """Score from nothing."""
    options = {"epochs": EPOCHS, "seeds": SEEDS, "recipe": {"threads": 1, "augment": "none"}}
    dd.score(data, "datadiet:resnet8", "grand,el2n", out=out, executor=executor, **options)


@contextmanager
def watched(units: dict[str, list[float]], handling: list[float]) -> Iterator[dict[str, float]]:
    """Note when the first unit begins and the last ends, how long each takes, and the driver's seconds for each."""
    seen: dict[str, float] = {}
    begun: dict[str, float] = {}
    assign, take, local = WorkerPool._assign, WorkerPool._take, LocalFleet.run
    busy = [0.0]

    def alone(self: LocalFleet, *args: Any) -> None:
        seen["first"] = time.perf_counter()
        local(self, *args)
        seen["last"] = time.perf_counter()

    def assigned(self: WorkerPool, worker: Any, job: Any) -> None:
        before = worker.answer
        assign(self, worker, job)
        if worker.call == "run" and worker.answer is not before:
            seen.setdefault("first", time.perf_counter())
            begun[worker.unit.name] = time.perf_counter()

    def taken(self: WorkerPool, worker: Any, job: Any, progress: Any) -> bool:
        before, unit, left = time.perf_counter(), worker.unit, job.queue.left if job is not None else 0
        alive = take(self, worker, job, progress)
        seen["last"] = time.perf_counter()
        busy[0] += seen["last"] - before
        if job is not None and job.queue.left < left:
            units.setdefault(unit.kind, []).append(seen["last"] - begun[unit.name])
        return alive

    WorkerPool._assign, WorkerPool._take, LocalFleet.run = assigned, taken, alone  # type: ignore[method-assign]
    try:
        yield seen
    finally:
        WorkerPool._assign, WorkerPool._take, LocalFleet.run = assign, take, local  # type: ignore[method-assign]
    if begun:
        handling.append(busy[0] / len(begun))


def simulate(found: dict[str, Any]) -> dict[str, Any]:
    """The model's seconds for every number of workers, for passes over given checkpoints and with trainings."""
    train = found["unit_seconds"]["train"] / (N * EPOCHS)
    measure = found["unit_seconds"]["measure"] / 2048
    passes = [
        Unit("measure", (name, seed, 1), lo, hi)
        for seed in range(MANY_SEEDS)
        for name in ("eval", "grad")
        for lo, hi in shards(IMAGENET, -(-IMAGENET // PARTS))
    ]
    trained = [Unit("train", (seed,), presented=EPOCHS * IMAGENET) for seed in range(MANY_SEEDS)]
    after = [Unit(unit.kind, unit.key, unit.lo, unit.hi, (f"train {unit.key[1]}",)) for unit in passes]

    def seconds(unit: Unit) -> float:
        return unit.examples * (train if unit.kind == "train" else measure)

    out: dict[str, Any] = {"rows": IMAGENET, "seeds": MANY_SEEDS, "parts": PARTS}
    for name, units, faster in (
        ("passes", passes, 1.0), ("passes_100_times_faster", passes, 0.01), ("with_trainings", [*trained, *after], 1.0)
    ):  # fmt: skip
        times = {
            count: makespan(
                units, lambda unit, faster=faster: faster * seconds(unit), count,
                begin=found["start_seconds"], handling=found["driver_seconds_per_unit"],
            )
            for count in WORKERS
        }  # fmt: skip
        out[name] = {
            "seconds": times,
            "efficiency": {count: times[1] / value / count for count, value in times.items()},
        }
    return out


if __name__ == "__main__":
    main()
