"""What the stages of a method over n vectors of d numbers cost, estimated before they run.

A stage has four counts, and its time is a weighted sum of them (`datadiet.workflow.planning` measures the weights):
flops, operations in matrix products: a multiplication and an addition count two, and twice that in float64;
moved, numbers read or written elsewhere, in units of what adding two long float32 arrays moves;
calls, small calls from Python, such as a push onto a heap or an operation on a few numbers;
passes over all vectors.
The formulas follow the code; the factors of `moved` and `calls` were fitted to it (docs/how-to/plan.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

from datadiet.geometry.matrix import CHUNK
from datadiet.geometry.workers import usual_threads

__all__ = [
    "CostOf",
    "Stage",
    "columns",
    "directions",
    "kmeans_rounds",
    "nearest_neighbours",
    "opening",
    "pairs",
    "rows",
    "witnesses",
]

_GATHERED = 1 << 22  # numbers of candidates at once


@dataclass(frozen=True)
class Stage:
    """One part of a method.

    Attributes:
        name: what it does.
        passes: how often it reads all vectors.
        flops: operations in matrix products.
        moved: numbers read or written outside matrix products.
        calls: small calls from Python.
        memory: bytes held while it runs, besides the vectors themselves.
        torch: whether it loads torch.
    """

    name: str
    passes: float = 0
    flops: float = 0
    moved: float = 0
    calls: float = 0
    memory: float = 0
    torch: bool = False


CostOf = Callable[..., list[Stage]]  # fn(n, d, k, **parameters of the method); k is None where a threshold decides


def opening(n: int, d: int, times: int = 2) -> Stage:
    """Checking vectors and measuring their lengths: `Matrix.open`."""
    return Stage("check", times, moved=4 * n * d * times, memory=50e6 + 4 * n)


def kmeans_rounds(n: int, d: int, k: int, rounds: int = 25) -> Stage:
    """k-means: one pass for each round and one for the start. With one cluster, two rounds are enough.

    Every vector is added to the sums once, at 25 d; later rounds add and subtract what changes its cluster.
    """
    passes = 1 + (rounds if k > 1 else min(2, rounds))
    moved = passes * n * (0.2 * k + 4 * d) + 25 * n * d * (rounds > 0)
    name = f"k-means, {k} clusters" + f", up to {rounds} rounds" * (k > 1)
    memory = 32 * n + 50 * k * d + 8 * CHUNK * d + usual_threads() * (8e6 + 33_000 * d)
    return Stage(name, passes, 2.0 * n * k * d * passes, moved, passes * n, memory, torch=True)


def pairs(n: int, d: int, clusters: int, times: float, block: int = 1024) -> Stage:
    """All pairs within clusters of the same size, `times` over: m (m + block) d operations for m vectors."""
    m = n / clusters
    each = n * (min(m, 2 * block) if m < block else m + block)
    held = min(4 * m * d, 1 << 28) + 16 * block**2 + 16 * block * d
    return Stage("pairs within clusters", times, each * d * times, each * 10 * times + 4 * n * d, n * times, held)


def nearest_neighbours(n: int, d: int, k: int) -> Stage:
    """The k nearest neighbours of n vectors among the others."""
    candidates = k + 16
    tiles = max(1.0, n / 1024 / candidates)  # the share of tiles in which a row finds better candidates falls with 1/t
    better = min(1.0, (1 + log(tiles)) / tiles)
    moved = n * n * (2 + 0.2 * candidates * better) + 12.0 * n * d * candidates
    memory = 104e6 + 12 * n * k + 12 * CHUNK * d + 1.07e6 * candidates
    again = min(candidates, max(1.0, n * candidates * d / _GATHERED))  # how often candidates are read, at most
    passes, calls = 2 + ceil(n / CHUNK) + again, n * n / 1024**2 * 60
    return Stage(f"{k} nearest neighbours", passes, 2.0 * n * n * d, moved, calls, memory, torch=True)


def witnesses(n: int, d: int) -> Stage:
    """The cosine of each vector left out with a kept one."""
    return Stage("witnesses", 2, moved=10 * n * d, memory=40e6 + 12 * n)


def columns(n: int, d: int, k: int, name: str) -> Stage:
    """k columns of inner products in float64, many at a time, each followed by a few operations on n numbers."""
    fits = 8 * n * d <= 1 << 29
    passes = 1 if fits else k / 16
    held = 8 * n * d if fits else 32 * 4096 * d
    return Stage(name, passes, 8.0 * n * k * d, 15.0 * n * k + 4 * n * d * passes, 40 * k,
                held + 2 * min(64 * 8 * n, 1 << 27) + 60 * n)  # fmt: skip


def directions(n: int, d: int, k: int, name: str) -> Stage:
    """k products of all vectors with one vector, each known only after the one before, so memory is the limit."""
    fits = 4 * n * d <= 1 << 30
    held = 4 * n * d if fits else 24 * 4096 * d
    if fits and 8 * k >= n and 4 * n * n <= 1 << 28:  # products of all pairs
        return Stage(name, 1 + 2 * k / n, 2.0 * n * n * d, n * k * 12, 40 * k, held + 4.0 * n * (n + d) + 80 * n)
    return Stage(
        name,
        (1 if fits else k) + 2 * k / n,
        2.0 * n * k * d,
        n * k * (10 + d * (0.7 if fits else 4.0)),
        40 * k,
        held + 80 * n,
    )


def rows(n: int) -> Stage:
    """A few sorts of n rows."""
    return Stage("sort", moved=300 * n, memory=60 * n)
