"""k-means, spherical or Euclidean, of vectors that need not fit in memory.

Lloyd, 1982 (IEEE Transactions on Information Theory 28): every vector to its nearest centroid, every centroid to the
mean of its vectors, until the objective stops falling. Spherical: Dhillon and Modha, 2001 (Machine Learning 42), where
nearness is the cosine and centroids are means scaled to length 1.

Deviations: an empty cluster takes the vector farthest from its centroid, which lowers the objective; a round that does
not lower it is discarded, so the objective never rises.

Cost: a round is 2 n k d operations and one pass over the vectors. Memory: at most 32 n + 50 k d + 8 chunk d bytes, and
8 MB and 33 kB d for every thread; the vectors stay where they are. An accelerator holds them too, if it has the room.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt
from typing import Any, Literal

import numpy as np

from datadiet.arrays import class_numbers, numbers
from datadiet.errors import BadVector, DataError, OptionError
from datadiet.geometry.assignment import Assignment, assignment_step
from datadiet.geometry.by_faiss import faiss_centroids
from datadiet.geometry.cluster_sums import ClusterSums
from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.matrix import CHUNK, Matrix
from datadiet.geometry.starts import plus_plus, random_start
from datadiet.parameters import check_whole
from datadiet.progress import progress_bar
from datadiet.randomness import Keys

__all__ = ["Clusters", "assign", "kmeans", "usual_clusters"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """n vectors in k clusters.

    Attributes:
        centroids: (k, d) float32; of length 1 if spherical.
        labels: (n,) int32, the cluster of each vector.
        distance: (n,) float32 to its centroid: 1 - cosine if spherical, in [0, 2], else Euclidean.
        spherical: which of the two.
        objective: the mean distance (squared if Euclidean) at the start and after each round; it never rises, and the
            last value belongs to these labels.
    """

    centroids: np.ndarray
    labels: np.ndarray
    distance: np.ndarray
    spherical: bool
    objective: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        distance, centroids = numbers("distance", self.distance, "n"), numbers("centroids", self.centroids, "k d")
        labels = class_numbers("labels", self.labels, len(distance), len(centroids)).astype(np.int32, copy=False)
        for name, values in (("distance", distance), ("centroids", centroids), ("labels", labels)):
            object.__setattr__(self, name, values)

    @property
    def sizes(self) -> np.ndarray:
        """(k,) int64: how many vectors each cluster has."""
        return np.bincount(self.labels, minlength=len(self.centroids))

    def members(self) -> tuple[np.ndarray, np.ndarray]:
        """The rows of every cluster: order (n,) int64 and starts (k+1,); cluster j is order[starts[j] : starts[j+1]].

        Within a cluster rows ascend.
        """
        order = np.argsort(self.labels, kind="stable")
        return order, np.concatenate([[0], np.cumsum(self.sizes)])


def kmeans(
    embeddings: Any,
    k: int,
    *,
    spherical: bool = True,
    seed: int = 0,
    start: Literal["random", "k-means++"] = "random",
    iterations: int = 25,
    tolerance: float = 1e-4,
    chunk: int = CHUNK,
    device: str = "auto",
    engine: Literal["auto", "torch", "faiss"] = "auto",
    progress: bool = False,
    keys: Keys | None = None,
) -> Clusters:
    """Cluster vectors.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped, a `Matrix`, or `DeviceVectors` of one.
        k: how many clusters, 1..n.
        spherical: by cosine, or by Euclidean distance.
        seed: for the start.
        start: the first centroids: k vectors at random, or k-means++ over at most 32 k of them.
        iterations: the most rounds of Lloyd's algorithm to run.
        tolerance: stop when the objective falls by no more than this share of itself. faiss always runs all rounds.
        chunk: vectors read at once; the result is the same to the bit for any value.
        device: "auto" or a torch device.
        engine: which library runs the rounds: "torch" or "faiss" (on a GPU only with the extra `faiss-gpu`); `assign`
            always computes labels and distances. "auto" is torch: at 1,000 clusters a round takes about as long
            (docs/results.md), it stops when the objective stops falling, and the result depends neither on what is
            installed nor on the order of the vectors.
        progress: show a bar with the objective if stderr is a terminal.
        keys: for the start and for ties, instead of keys from the seed.

    Returns:
        The clusters; none is empty if at least k vectors differ (in float32 products).

    Raises:
        OptionError: k outside 1..n, or another invalid argument.
        DataError: vectors of the wrong shape or type.
        BadVector: a vector that is not finite, or all zeros if spherical.

    >>> found = kmeans(np.array([[0.0], [1.0], [10.0], [12.0]]), 2, spherical=False)
    >>> sorted(found.centroids[:, 0].tolist()), found.distance.tolist(), found.objective[-1]
    ([0.5, 11.0], [0.5, 0.5, 1.0, 1.0], 0.625)
    """
    placed = embeddings if isinstance(embeddings, DeviceVectors) else None
    matrix = Matrix.open(embeddings if placed is None else placed.matrix, unit=spherical)
    n = len(matrix)
    _check(n, k, start, iterations, tolerance, chunk, engine)
    keys = Keys(seed, "kmeans", n) if keys is None else keys
    if keys.n != n:
        raise OptionError(f"{keys.n} keys for {n} vectors: give one key for each.")
    centroids = random_start(matrix, k, keys) if start == "random" else plus_plus(matrix, k, keys, device)
    centroids = _unit(centroids) if spherical else centroids
    before: tuple[float, ...] = ()
    if engine == "faiss":
        centroids, before = faiss_centroids(matrix, centroids, iterations, spherical, Device.named(device).on)
        iterations = 0
    with progress_bar("k-means", (iterations + 1) * n, progress) as bar:
        if placed is None or placed.matrix is not matrix:
            placed = DeviceVectors(matrix, Device.named(device), chunk)
        run = _Run(placed, spherical, chunk, keys, bar)
        centroids, last = run.rounds(centroids, iterations, tolerance)
    return Clusters(centroids, last.labels, last.distance, spherical, before + tuple(run.objective))


def assign(
    embeddings: Any, centroids: np.ndarray, *, spherical: bool = True, chunk: int = CHUNK, device: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each vector, and its distance.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped, or a `Matrix`.
        centroids: (k, d) floats; if spherical, only their directions count.
        spherical: by cosine, or by Euclidean distance.
        chunk: vectors read at once; the result is the same to the bit for any value.
        device: "auto" or a torch device.

    Returns:
        labels (n,) int32, the first of equally near centroids; distance (n,) float32 as in `Clusters`.

    Raises:
        DataError: centroids of another dimension than the vectors, not finite, or all zeros if spherical.

    >>> assign(np.array([[2.0, 0.0], [0.0, 3.0]]), np.array([[0.0, 1.0], [1.0, 0.0]]))[0].tolist()
    [1, 0]
    """
    matrix = Matrix.open(embeddings, unit=spherical)
    centres = Matrix.open(centroids)
    if centres.dim != matrix.dim:
        raise DataError(
            f"centroids have {centres.dim} dimensions and vectors {matrix.dim}: give centroids of the same embedding."
        )
    rows = centres.take(slice(None))
    vectors = DeviceVectors(matrix, Device.named(device), chunk, keep=False)
    found = assignment_step(vectors, _unit(rows) if spherical else rows, spherical, chunk)
    return found.labels, found.distance


def _check(n: int, k: int, start: str, iterations: int, tolerance: float, chunk: int, engine: str) -> None:
    for name, value, least in (("k", k, 1), ("iterations", iterations, 0), ("chunk", chunk, 1)):
        check_whole(name, value, least)
    if k > n:
        raise OptionError(f"{k} clusters of {n} vectors: give a number of clusters between 1 and {n}.")
    if not 0 <= tolerance < 1:
        raise OptionError(f"tolerance={tolerance!r}: give a number of at least 0 and below 1.")
    for name, word, known in (
        ("start", start, ("random", "k-means++")),
        ("engine", engine, ("auto", "torch", "faiss")),
    ):
        if word not in known:
            raise OptionError(f"{name}={word!r}: give {', '.join(map(repr, known[:-1]))} or {known[-1]!r}.")


def _unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1. Rows that have it up to rounding are left alone, so that a vector is at 0 from itself."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    if not length.all():
        raise BadVector(int(length.argmin()), "all zeros", f"centroid {int(length.argmin())}")
    if np.abs(length - 1).max() < 1e-6:
        return vectors
    return (vectors / length[:, None]).astype(np.float32)


class _Run:
    """The rounds of one k-means."""

    def __init__(self, vectors: DeviceVectors, spherical: bool, chunk: int, keys: Keys, bar: Any) -> None:
        self.vectors, self.spherical, self.chunk, self.keys, self.bar = vectors, spherical, chunk, keys, bar
        self.objective: list[float] = []
        self.sums: ClusterSums | None = None

    def rounds(self, centroids: np.ndarray, iterations: int, tolerance: float) -> tuple[np.ndarray, Assignment]:
        """Lloyd's algorithm: the last centroids, and the assignment to them."""
        if iterations:
            self.sums = ClusterSums(centroids.shape, self.vectors.matrix, self.vectors.device)
        now = self._pass(centroids)
        for _ in range(iterations):
            centroids, now, fell = self._better(self._means(centroids, now), centroids, now)
            if fell <= tolerance * self.objective[-2]:
                break
        fell = 1.0
        while fell > 0 and not now.sizes.all():  # it stops falling if fewer than k vectors differ
            filled = self._filled(centroids, now)
            centroids, now, fell = (
                (centroids, now, 0.0) if filled is centroids else self._better(filled, centroids, now)
            )
        return centroids, now

    def _pass(self, centroids: np.ndarray) -> Assignment:
        """One pass, and its objective."""
        found = assignment_step(self.vectors, centroids, self.spherical, self.chunk, self.sums, self.bar.update)
        self.objective.append(found.value)
        self.bar.set_postfix(objective=f"{found.value:.6g}")
        return found

    def _better(self, new: np.ndarray, old: np.ndarray, now: Assignment) -> tuple[np.ndarray, Assignment, float]:
        """The new centroids and their assignment, unless the old ones were as good; and how far the objective fell."""
        found = self._pass(new)
        fell = self.objective[-2] - self.objective[-1]
        if fell > 0:
            return new, found, fell
        self.objective[-1] = self.objective[-2]
        return old, now, 0.0

    def _means(self, centroids: np.ndarray, now: Assignment) -> np.ndarray:
        """(k, d) means of the clusters, of length 1 if spherical; empty clusters filled.

        A cluster whose vectors cancel has no mean direction: any centroid is as good, so it keeps its own.
        """
        assert self.sums is not None, "there is a round to come"
        sums, sizes = self.sums.result(), np.maximum(now.sizes, 1)
        length = np.linalg.norm(sums, axis=1) if self.spherical else sizes.astype(float)
        kept = (now.sizes == 0) | (length <= 1e-6 * sizes)
        means = sums / np.where(kept, 1, length)[:, None]
        return self._filled(np.where(kept[:, None], centroids, means).astype(np.float32), now)

    def _filled(self, centroids: np.ndarray, now: Assignment) -> np.ndarray:
        """Centroids in which each empty cluster takes the vector farthest from its centroid, while any are left."""
        empty = np.flatnonzero(now.sizes == 0)
        if len(empty) == 0:
            return centroids
        rows = now.farthest(len(empty), self.keys)
        if len(rows) == 0:
            return centroids
        filled = centroids.copy()
        filled[empty[: len(rows)]] = self.vectors.matrix.take(rows)
        return filled


def usual_clusters(n: int) -> int:
    """The default number of clusters: floor(sqrt(n)), at most 1000.

    >>> usual_clusters(99), usual_clusters(10**7)
    (9, 1000)
    """
    return min(isqrt(n), 1000)
