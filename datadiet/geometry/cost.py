"""What steps over n vectors of d numbers cost, told before they run.

A step is counted in four ways, and time is a sum over them (`datadiet.workflow.planning` measures the rates):
flops, operations in matrix products, a multiplication and an addition counting two, those in float64 twice that;
moved, numbers read or written otherwise, in units of what the sum of two long float32 arrays moves;
calls, small calls from Python, such as a push onto a heap or an operation on a few numbers;
passes, readings of all vectors.
The formulas are those of the code; factors of `moved` and `calls` were fitted to it (docs/how-to/plan.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log

from datadiet.geometry.workers import usual_threads

__all__ = [
    "CostOf",
    "Step",
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
_CHUNK = 1 << 13  # vectors that k-means and neighbours read at once


@dataclass(frozen=True)
class Step:
    """One part of a method.

    Attributes:
        name: what it does.
        passes: readings of all vectors.
        flops: operations in matrix products.
        moved: numbers that are read or written otherwise.
        calls: from Python.
        memory: bytes held while it runs, beside the vectors where they were.
        torch: whether it loads torch.
    """

    name: str
    passes: float = 0
    flops: float = 0
    moved: float = 0
    calls: float = 0
    memory: float = 0
    torch: bool = False


CostOf = Callable[..., list[Step]]  # fn(n, d, k, **parameters of the method); k is None where a threshold decides


def opening(n: int, d: int, times: int = 2) -> Step:
    """Checking vectors, and their lengths: `Matrix.open`."""
    return Step("check", times, moved=4 * n * d * times, memory=50e6 + 4 * n)


def kmeans_rounds(n: int, d: int, k: int, rounds: int = 25) -> Step:
    """k-means: a pass for each round, and one for the start. With one cluster two rounds are enough."""
    passes = 1 + (rounds if k > 1 else min(2, rounds))
    moved = passes * n * (0.8 * k + 20 * d)
    name = f"k-means, {k} clusters" + f", up to {rounds} rounds" * (k > 1)
    memory = 32 * n + 50 * k * d + 32 * _CHUNK * d + usual_threads() * ((1 << 22) + 12_000 * d)
    return Step(name, passes, 2.0 * n * k * d * passes, moved, passes * n / 20, memory, torch=True)


def pairs(n: int, d: int, clusters: int, times: float, block: int = 1024) -> Step:
    """All pairs within clusters of the same size, `times` over: m (m + block) d operations for m vectors."""
    m = n / clusters
    each = n * (min(m, 2 * block) if m < block else m + block)
    held = min(4 * m * d, 1 << 28) + 16 * block**2 + 16 * block * d
    return Step("pairs within clusters", times, each * d * times, each * 10 * times + 4 * n * d, n * times, held)


def nearest_neighbours(n: int, d: int, k: int, m: int | None = None) -> Step:
    """The k nearest neighbours of n vectors among m, by default the others."""
    m = n if m is None else m
    candidates = k + 16
    tiles = max(1.0, m / 1024 / candidates)  # the share of tiles in which a row finds better candidates falls with 1/t
    better = min(1.0, (1 + log(tiles)) / tiles)
    moved = n * m * (2 + 0.2 * candidates * better) + 12.0 * n * d * candidates
    memory = 104e6 + 12 * n * k + 12 * _CHUNK * d + 1.07e6 * candidates
    again = min(candidates, max(1.0, n * candidates * d / _GATHERED))  # readings of candidates, at most
    passes, calls = 2 + ceil(n / _CHUNK) + again, n * m / 1024**2 * 60
    return Step(f"{k} nearest neighbours", passes, 2.0 * n * m * d, moved, calls, memory, torch=True)


def witnesses(n: int, d: int) -> Step:
    """The cosine of what is left out with what is kept."""
    return Step("witnesses", 2, moved=10 * n * d, memory=40e6 + 12 * n)


def columns(n: int, d: int, k: int, name: str) -> Step:
    """k columns of inner products in float64, many at a time, each followed by a few operations on n numbers."""
    fits = 8 * n * d <= 1 << 29
    passes = 1 if fits else k / 16
    held = 8 * n * d if fits else 32 * 4096 * d
    return Step(name, passes, 8.0 * n * k * d, 15.0 * n * k + 4 * n * d * passes, 40 * k,
                held + 2 * min(64 * 8 * n, 1 << 27) + 60 * n)  # fmt: skip


def directions(n: int, d: int, k: int, name: str) -> Step:
    """k products of all vectors with one, each known only after the one before, so that memory is what limits them."""
    fits = 4 * n * d <= 1 << 30
    held = 4 * n * d if fits else 24 * 4096 * d
    return Step(
        name,
        (1 if fits else k) + 2 * k / n,
        2.0 * n * k * d,
        n * k * (10 + d * (0.7 if fits else 4.0)),
        40 * k,
        held + 80 * n,
    )


def rows(n: int, name: str = "sort", work: float = 1.0, memory: float = 60.0) -> Step:
    """A few sorts of n rows."""
    return Step(name, 0, moved=300 * n * work, memory=memory * n)
