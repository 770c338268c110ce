"""How long does sharing a budget out over 50,000 clusters take, and is it the optimum?

`dbp_budgets` for 500, 5,000 and 50,000 clusters of the sizes and complexities that clusters have, with 10, 30 and 70 %
kept; target 50 ms for 50,000, by the clock and in processor time, and as a ratio to one sort of twice as many numbers,
interleaved. The distance of the real-valued budgets from the optimality conditions, and for 500
clusters from what clarabel, a solver of quadratic programs, finds for the same problem, together with its time. The
authors' code builds the identity matrix of the program: 20 GB in float64 for 50,000 clusters.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import clarabel
import numpy as np
from bench import cell
from scipy import sparse

from datadiet.selectors import dbp_budgets
from datadiet.selectors.budget import project

KEEPS, ROUNDS = (0.1, 0.3, 0.7), 21


def main() -> None:
    """Measure, and print."""
    for clusters in (500, 5_000, 50_000):
        print(cell(f"speed/dbp_allocation_{clusters}", lambda clusters=clusters: measure(clusters)))


def measure(clusters: int) -> dict[str, Any]:
    """Times, and distances from the optimum."""
    complexity, sizes = problem(clusters)
    found: dict[str, Any] = {"clusters": clusters, "rounds": ROUNDS, "target_ms": 50}
    for keep in KEEPS:
        k, walls, works, floors = int(keep * sizes.sum()), [], [], []
        for _ in range(ROUNDS):
            wall, work = time.perf_counter(), time.process_time()
            budgets = dbp_budgets(complexity, sizes, k)
            walls.append(time.perf_counter() - wall)
            works.append(time.process_time() - work)
            work = time.process_time()
            np.argsort(np.concatenate([complexity, complexity - sizes]))
            floors.append(time.process_time() - work)
        assert budgets.sum() == k and (budgets <= sizes).all() and (budgets >= np.minimum(sizes, 1)).all()
        weight = np.exp((complexity - complexity.max()) / 0.1)
        target, lower = k * weight / weight.sum(), np.minimum(sizes, 1).astype(np.float64)
        real = project(target, k, lower, sizes.astype(np.float64))
        found[f"keep_{keep}"] = {
            "milliseconds": 1e3 * statistics.median(walls),
            "processor_milliseconds": 1e3 * statistics.median(works),
            "ratio_to_one_sort": statistics.median(a / b for a, b in zip(works, floors, strict=True)),
            "residual": residual(real, target, k, lower, sizes),
            **(against_solver(real, target, k, lower, sizes) if clusters <= 500 else {}),
        }
    return found


def problem(clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Complexities around 0.1, and sizes of a long tail with a few empty clusters and many small ones."""
    rng = np.random.default_rng(clusters)
    complexity = rng.gamma(4, 0.025, clusters)
    sizes = (rng.pareto(1.5, clusters) * 200).astype(np.int64)
    complexity[sizes < 2] = 0
    return complexity, sizes


def residual(x: np.ndarray, target: np.ndarray, k: int, lower: np.ndarray, upper: np.ndarray) -> float:
    """How far x is from clip(target - shift, lower, upper) for one shift, and its sum from k, in examples."""
    free = (x > lower) & (x < upper)
    shift = float(np.median((target - x)[free]))
    return float(max(np.abs(x - np.clip(target - shift, lower, upper)).max(), abs(x.sum() - k)))


def against_solver(x: np.ndarray, target: np.ndarray, k: int, lower: np.ndarray, upper: np.ndarray) -> dict[str, float]:
    """The largest difference from clarabel's solution, in examples, and how long it takes."""
    m = len(target)
    eye = sparse.identity(m, format="csc")
    rows = sparse.vstack([sparse.csc_matrix(np.ones((1, m))), eye, -eye]).tocsc()
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-13
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(2 * m)]
    started = time.perf_counter()
    right = np.concatenate([[k], upper, -lower]) / k
    solution = clarabel.DefaultSolver(eye, -target / k, rows, right, cones, settings).solve()
    seconds = time.perf_counter() - started
    return {
        "solver_difference": float(np.abs(np.array(solution.x) * k - x).max()),
        "solver_milliseconds": 1e3 * seconds,
    }


if __name__ == "__main__":
    main()
