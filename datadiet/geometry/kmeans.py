"""k-means, spherical or Euclidean, of vectors that need not fit in memory.

Lloyd, 1982 (IEEE Transactions on Information Theory 28); spherical: Dhillon and Modha, 2001 (Machine Learning 42),
where similarity is the cosine and centroids are means scaled to length 1. k-means++: Arthur, Vassilvitskii, SODA 2007.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry.matrix import TILE, Matrix
from datadiet.geometry.tiles import pick_device, tiles
from datadiet.randomness import Keys

__all__ = ["Clusters", "assign", "kmeans"]


@dataclass(frozen=True, eq=False)
class Clusters:
    """n vectors in k clusters.

    Attributes:
        centroids: (k, d) float32; of length 1 if spherical.
        labels: (n,) int32, the cluster of each vector.
        distance: (n,) float32 to its centroid: 1 - cosine if spherical, in [0, 2], else Euclidean.
        spherical: which of the two.
        objective: the mean of the distances (squared if Euclidean) before each update.
    """

    centroids: np.ndarray
    labels: np.ndarray
    distance: np.ndarray
    spherical: bool
    objective: tuple[float, ...] = ()

    @property
    def sizes(self) -> np.ndarray:
        """(k,) int64: how many vectors each cluster has."""
        return np.bincount(self.labels, minlength=len(self.centroids))


def kmeans(
    embeddings: Any,
    k: int,
    *,
    spherical: bool = True,
    seed: int = 0,
    start: Literal["random", "k-means++"] = "random",
    iterations: int = 25,
    tolerance: float = 1e-4,
    chunk: int = 1 << 15,
    device: str = "auto",
    progress: bool = False,
    keys: Keys | None = None,
) -> Clusters:
    """Cluster vectors.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped, or a `Matrix`.
        k: how many clusters, 1..n.
        spherical: by cosine, or by Euclidean distance.
        seed: of the start.
        start: the first centroids: k vectors at random, or k-means++ over at most 32 k of them.
        iterations: at most so many rounds of Lloyd's algorithm.
        tolerance: stop when the objective falls by less than this share of itself.
        chunk: vectors read at once; it changes no bit of the result.
        device: "auto" or a torch device.
        progress: show a bar with the objective.
        keys: break ties and make the start, instead of those of the seed.

    Returns:
        The clusters; none is empty as long as there are k different vectors.

    Raises:
        OptionError: k outside 1..n.
        BadVector: a vector that is not finite, or of zeros if spherical.
    """
    matrix = Matrix.open(embeddings, unit=spherical)
    if not 1 <= k <= len(matrix):
        raise OptionError(f"{k} clusters of {len(matrix)} vectors: give a number between 1 and {len(matrix)}.")
    keys = Keys(seed, "kmeans", len(matrix)) if keys is None else keys
    centroids = matrix.take(np.sort(keys.sort(np.zeros(len(matrix), dtype=np.uint32))[:k]))
    objective: list[float] = []
    for _ in range(iterations):
        labels, distance = assign(matrix, centroids, spherical=spherical, chunk=chunk, device=device)
        objective.append(float(np.mean(distance if spherical else distance**2, dtype=np.float64)))
        if len(objective) > 1 and objective[-2] - objective[-1] <= tolerance * objective[-2]:
            break
        centroids = _means(matrix, labels, distance, k, spherical, chunk)
    labels, distance = assign(matrix, centroids, spherical=spherical, chunk=chunk, device=device)
    return Clusters(centroids, labels, distance, spherical, tuple(objective))


def assign(
    embeddings: Any, centroids: np.ndarray, *, spherical: bool = True, chunk: int = 1 << 15, device: str = "auto"
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest centroid of each vector, and its distance.

    Returns:
        labels (n,) int32, of equally near centroids the first; distance (n,) float32 as in `Clusters`.
    """
    import torch

    matrix = Matrix.open(embeddings, unit=spherical)
    on = pick_device(device)
    centres = torch.from_numpy(centroids).to(on)
    bias = None if spherical else -0.5 * (centres**2).sum(1)
    labels, distance = np.empty(len(matrix), dtype=np.int32), np.empty(len(matrix), dtype=np.float32)
    for span, block in tiles(matrix, chunk, on):
        product = block @ centres.T if bias is None else torch.addmm(bias, block, centres.T)
        best, where = product.max(1)
        near = 1 - best if spherical else (block - centres[where]).square().sum(1).sqrt()
        m = span.stop - span.start
        labels[span], distance[span] = where[:m].cpu().numpy(), near[:m].clamp(min=0).cpu().numpy()
    return labels, distance


def _means(matrix: Matrix, labels: np.ndarray, distance: np.ndarray, k: int, spherical: bool, chunk: int) -> np.ndarray:
    """(k, d) means; an empty cluster takes the vector that is farthest from its centroid."""
    sums = np.zeros((k, matrix.dim))
    for span, block in matrix.blocks(TILE):
        np.add.at(sums, labels[span], block)
    sizes = np.bincount(labels, minlength=k)
    empty = np.flatnonzero(sizes == 0)
    far = np.argsort(-distance, kind="stable")[: len(empty)]
    sums[empty], sizes[empty] = matrix.take(far), 1
    means = sums / sizes[:, None]
    if spherical:
        means /= np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)
    return means.astype(np.float32)
