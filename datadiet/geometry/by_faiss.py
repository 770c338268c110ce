"""The rounds of k-means by faiss.

`faiss.Kmeans(niter, spherical, max_points_per_centroid)` with our own first centroids and all vectors (by default
faiss draws 256 for every centroid). Where a cluster is empty, faiss splits a large one. It works on a GPU if it was
built for that (`pip install 'datadiet[faiss-gpu]'`), else on the processor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datadiet.errors import OptionError, require
from datadiet.geometry.matrix import Matrix

if TYPE_CHECKING:
    import torch

__all__ = ["faiss_centroids"]


def faiss_centroids(
    matrix: Matrix, start: np.ndarray, iterations: int, spherical: bool, device: torch.device
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Centroids after `iterations` rounds from `start`, and the objective before each round.

    Args:
        matrix: n vectors.
        start: (k, d) float32.
        iterations: how many rounds.
        spherical: by cosine, or by Euclidean distance.
        device: a CUDA device is used if this faiss can; otherwise the processor.

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
    if device.type == "cuda" and faiss.get_num_gpus() > 0:
        model.index = faiss.index_cpu_to_gpus_list(model.index, gpus=[device.index or 0])
    model.train(matrix.take(slice(None)), init_centroids=start)
    value = np.asarray(model.obj, dtype=np.float64) / n
    return np.array(model.centroids, dtype=np.float32), tuple((1 - value if spherical else value).tolist())
