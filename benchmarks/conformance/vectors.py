"""Vectors that several peers get: clusters, so that distances differ, in few enough dimensions to be quick."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays

__all__ = ["clustered", "cosines", "in_clusters", "kept"]


def clustered(n: int, dimensions: int = 32) -> Arrays:
    """(n, dimensions) float32 around ten centres, and the labels of the centres."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, n)
    centres = rng.normal(size=(10, dimensions))
    return {"x": (centres[labels] + rng.normal(size=(n, dimensions))).astype(np.float32), "labels": labels}


def cosines(x: np.ndarray) -> np.ndarray:
    """(n, n) float64: (1 + cosine) / 2, in the steps of 2^-20 that we round to."""
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    return np.rint((1 + unit @ unit.T) / 2 * 2**20) / 2**20


def kept(n: int) -> int:
    """How many of n are kept: a tenth."""
    return n // 10


def in_clusters(n: int, *, copies: bool = False) -> Arrays:
    """Unit vectors in clusters.

    Args:
        n: how many vectors.
        copies: each vector but every fifth is a copy of the one before, a little changed.

    Returns:
        x; n // 100 centroids, but at least 25, after two rounds of spherical k-means; labels; and distance: 1 - cosine
        to the centroid.
    """
    rng = np.random.default_rng(1)
    x = clustered(n)["x"].astype(np.float64) + 0.5 * rng.normal(size=(n, 1))
    for row in range(1, n) if copies else ():
        if row % 5:
            x[row] = x[row - 1] + rng.uniform(0.1, 0.5) * rng.normal(size=x.shape[1])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    number = max(25, n // 100)
    centroids = x[:: n // number][:number]
    for _ in range(2):
        labels = (x @ centroids.T).argmax(1)
        sums = np.stack([x[labels == cluster].sum(0) for cluster in range(number)])
        centroids = sums / np.linalg.norm(sums, axis=1, keepdims=True)
    labels = (x @ centroids.T).argmax(1)
    distance = 1 - (x * centroids[labels]).sum(1)
    names = {"x": x, "centroids": centroids, "distance": distance}
    return {"labels": labels, **{name: value.astype(np.float32) for name, value in names.items()}}
