"""The rounds of k-means by faiss.

`faiss.Kmeans(niter, spherical, max_points_per_centroid)` with our own first centroids and all vectors (by default
faiss draws 256 for every centroid). Where a cluster is empty, faiss splits a large one.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError, require
from datadiet.geometry.matrix import Matrix

__all__ = ["faiss_centroids"]


def faiss_centroids(
    matrix: Matrix, start: np.ndarray, iterations: int, spherical: bool
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Centroids after `iterations` rounds from `start`, and the objective before each round.

    Raises:
        MissingExtra: no faiss.
        OptionError: vectors on disk: faiss needs one float32 array in memory.
    """
    faiss = require("faiss", "faiss")
    if not isinstance(matrix.rows, np.ndarray) or isinstance(matrix.rows, np.memmap):
        raise OptionError(
            "engine='faiss' holds all vectors in memory and these are on disk: use engine='torch', or load them."
        )
    if iterations == 0:
        return start, ()
    n, k = len(matrix), len(start)
    model = faiss.Kmeans(
        matrix.dim, k, niter=iterations, spherical=spherical, min_points_per_centroid=1,
        max_points_per_centroid=-(-n // k),
    )  # fmt: skip
    model.train(matrix.take(slice(None)), init_centroids=start)
    value = np.asarray(model.obj, dtype=np.float64) / n
    return np.array(model.centroids, dtype=np.float32), tuple((1 - value if spherical else value).tolist())
