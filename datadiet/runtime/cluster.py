"""The resources of a Ray cluster, and how workers share them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import floor
from typing import Any

from datadiet.errors import counted

__all__ = ["Cluster", "Share"]


@dataclass(frozen=True)
class Share:
    """What each worker is given.

    Attributes:
        workers: how many.
        cpus: cores of each; may be a fraction.
        gpus: of each; may be a fraction, if several share one.
    """

    workers: int
    cpus: float
    gpus: float

    def __str__(self) -> str:
        gpus = f"{counted(self.gpus, 'GPU')} and " if self.gpus else ""
        return f"{gpus}{counted(self.cpus, 'core')}"

    def fitted(self, free: float) -> Share:
        """The same with fewer cores reserved, if fewer are free for all workers together."""
        return replace(self, cpus=min(self.cpus, _rounded(free / self.workers))) if free else self


@dataclass(frozen=True)
class Cluster:
    """What the machines of a cluster have.

    Attributes:
        nodes: (cores, GPUs) of each.
    """

    nodes: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, nodes: Iterable[Mapping[str, Any]]) -> Cluster:
        """Of what `ray.nodes()` returns."""
        resources = [node["Resources"] for node in nodes if node["Alive"]]
        return cls(tuple((found.get("CPU", 0.0), found.get("GPU", 0.0)) for found in resources))

    @property
    def cpus(self) -> float:
        """All cores."""
        return sum(cpus for cpus, _ in self.nodes)

    @property
    def gpus(self) -> float:
        """All GPUs."""
        return sum(gpus for _, gpus in self.nodes)

    def share(self, workers: int | None, gpus: float | None, threads: int) -> Share:
        """What each worker gets: one per GPU, or else as many as have room for their threads.

        Args:
            workers: how many, if that is given.
            gpus: of each, if that is given; otherwise 1 where there are any.
            threads: of each; 0 = all cores of a machine.

        >>> Cluster(((16.0, 4.0), (16.0, 4.0))).share(None, None, 0)
        Share(workers=8, cpus=4, gpus=1.0)
        >>> Cluster(((4.0, 0.0), (8.0, 0.0))).share(None, None, 2)
        Share(workers=6, cpus=2, gpus=0.0)
        >>> Cluster(((0.0, 0.0),)).share(8, None, 0)
        Share(workers=8, cpus=1, gpus=0.0)
        """
        each = (1.0 if self.gpus else 0.0) if gpus is None else gpus
        if each:
            fit = sum(int(there / each + 1e-9) for _, there in self.nodes)
            cpus = min((cores * each / there for cores, there in self.nodes if there and cores), default=1.0)
        else:
            fit = sum(int(cores / threads) if threads else 1 for cores, _ in self.nodes if cores)
            cpus = threads or min((cores for cores, _ in self.nodes if cores), default=1.0)
        if workers is not None and self.cpus:
            cpus = min(cpus, self.cpus / workers)
        return Share(max(1, fit) if workers is None else workers, _rounded(cpus), each)

    def __str__(self) -> str:
        return ", ".join((
            counted(len(self.nodes), "machine"), counted(self.cpus, "core"), counted(self.gpus, "GPU"),
        ))  # fmt: skip


def _rounded(cpus: float) -> float:
    """Whole cores, or hundredths of one, rounded down: so many fit."""
    return int(cpus) if cpus >= 1 else max(floor(100 * cpus) / 100, 0.01)
