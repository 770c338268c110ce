"""The nearest neighbours of every vector, exactly, by blocked matrix products."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry.matrix import Matrix

__all__ = ["nearest"]


def nearest(
    embeddings: Any,
    k: int,
    *,
    among: Any = None,
    metric: Literal["cosine", "euclidean"] = "cosine",
    device: str = "auto",
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each vector.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped, or a `Matrix`.
        k: how many, at least 1 and at most as many as there are to choose from.
        among: (m, d), where to look; None = the other vectors of `embeddings`.
        metric: distance: 1 - cosine, or Euclidean.

    Returns:
        rows (n, k) int64, the nearest first, and distance (n, k) float32.
    """
    unit = metric == "cosine"
    left = Matrix.open(embeddings, unit=unit)
    right = left if among is None else Matrix.open(among, unit=unit)
    if not 1 <= k <= len(right) - (among is None):
        raise OptionError(f"{k} neighbours among {len(right)} vectors: give fewer.")
    a, b = left.take(slice(None)).astype(np.float64), right.take(slice(None)).astype(np.float64)
    far = 1 - a @ b.T if unit else np.sqrt(np.maximum(0, (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T))
    if among is None:
        np.fill_diagonal(far, np.inf)
    rows = np.argsort(far, axis=1, kind="stable")[:, :k]
    return rows, np.maximum(np.take_along_axis(far, rows, 1), 0).astype(np.float32)
