"""How do the greedy selectors of vectors grow with n, and what do sparse similarities and random samples cost in value?

10^4 and 10^5 vectors of 64 numbers in 1,000 bunches, a tenth kept, one thread; processor seconds, since other work on
the machine would count as growth. The 64 nearest neighbours are computed once for a size and timed apart; facility
location, graph cut and D2 then get them without computing. Growth is seconds at 10^5 by seconds at 10^4, for ten times
the vectors and ten times the budget: 100 where every vector is compared with every kept one (k_center, herding, graph
cut over all pairs), 10 where work is linear. On 3,000 vectors facility location is also run on all pairs, naively, and
by random samples, and the values of f over all pairs are compared.

`python benchmarks/submodular_speed.py`: about ten minutes on one quiet core, most of it the neighbours.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from bench import RESULTS, cell

from datadiet.geometry import Matrix, nearest
from datadiet.selectors import d2, facility_location, graph_cut, herding, k_center, similarities
from datadiet.selectors.similarities import SCALE, dense

DIM, SIZES, SMALL, NEIGHBOURS = 64, (10_000, 100_000), 3_000, 64


def main() -> None:
    """Measure, and print."""
    for n in SIZES:
        print(cell(f"speed/submodular_{n}", partial(one_size, n)), flush=True)
    print(cell("speed/submodular_value", values))
    print(f"results: {RESULTS}/speed/submodular_*.json")


def vectors(n: int) -> np.ndarray:
    """(n, DIM) float32 in 1,000 bunches."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((1000, DIM), dtype=np.float32)
    return centres[rng.integers(0, 1000, n)] + 0.7 * rng.standard_normal((n, DIM), dtype=np.float32)


def one_size(n: int) -> dict[str, Any]:
    """Seconds of every method, without the neighbours."""
    data, hardness, k = Matrix.open(vectors(n)), np.random.default_rng(1).exponential(size=n), n // 10
    unit = Matrix.open(data, unit=True)
    seconds: dict[str, float] = {}
    listed = {
        "cosine": clock(seconds, "64 nearest, cosine", lambda: nearest(unit, NEIGHBOURS)),
        "euclidean": clock(seconds, "5 nearest, Euclidean", lambda: nearest(data, 5, metric="euclidean")),
    }

    def known(matrix: Any, m: int, *, metric: str, **rest: Any) -> tuple[np.ndarray, np.ndarray]:
        rows, distance = listed[metric]
        assert rows.shape == (len(matrix), m)
        return rows, distance

    similarities.nearest = sys.modules["datadiet.selectors.d2"].nearest = known
    sparse = {"neighbours": NEIGHBOURS}
    work: dict[str, Callable[[], Any]] = {
        "facility_location, lazy, 64 neighbours": lambda: facility_location(unit, k, **sparse),
        "facility_location, stochastic, 64 neighbours": lambda: facility_location(
            unit, k, optimizer="stochastic", **sparse
        ),
        "graph_cut, 64 neighbours": lambda: graph_cut(unit, k, **sparse),
        "graph_cut, all pairs": lambda: graph_cut(unit, k),
        "d2, 5 neighbours": lambda: d2(data, k, hardness=hardness),
        "d2, 5 neighbours, everything ranked": lambda: d2(data, n, hardness=hardness),
        "k_center": lambda: k_center(data, k),
        "herding": lambda: herding(unit, k),
    }
    for name, function in work.items():
        clock(seconds, name, function)
    similarities.nearest = sys.modules["datadiet.selectors.d2"].nearest = nearest
    return {"n": n, "dim": DIM, "k": k, "seconds": seconds}


def clock(seconds: dict[str, float], name: str, function: Callable[[], Any]) -> Any:
    """What a function returns; its time is noted."""
    started = time.process_time()
    result = function()
    seconds[name] = time.process_time() - started
    print(f"{name}: {seconds[name]:.2f} s", file=sys.stderr, flush=True)
    return result


def values() -> dict[str, Any]:
    """f over all pairs, as a share of that of lazy greedy over all pairs, and seconds."""
    data, k = vectors(SMALL), SMALL // 10
    alike = dense(Matrix.open(data, unit=True), "cosine")

    def value(rows: np.ndarray) -> float:
        return float(alike[:, rows].max(axis=1).sum(dtype=np.int64)) / SCALE

    ways: dict[str, dict[str, Any]] = {
        "lazy": {},
        "naive": {"optimizer": "naive"},
        "stochastic, epsilon 0.1": {"optimizer": "stochastic", "epsilon": 0.1},
        "stochastic, epsilon 0.01": {"optimizer": "stochastic"},
        **{f"lazy, {m} neighbours": {"neighbours": m} for m in (8, 16, 32, 64, 128)},
    }
    seconds: dict[str, float] = {}
    rows = {name: clock(seconds, name, partial(facility_location, data, k, **o)) for name, o in ways.items()}
    assert (rows["lazy"] == rows["naive"]).all()
    best = value(rows["lazy"])
    drawn = [value(np.random.default_rng(s).permutation(SMALL)[:k]) / best for s in range(20)]
    shares = {name: value(chosen) / best for name, chosen in rows.items()}
    return {"n": SMALL, "k": k, "seconds": seconds, "share": {**shares, "random, mean of 20": float(np.mean(drawn))}}


if __name__ == "__main__":
    main()
