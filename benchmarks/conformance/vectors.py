"""Vectors that several peers get: clusters, so that distances differ, in few enough dimensions to be quick."""

from __future__ import annotations

import numpy as np

from conformance.case import Arrays

__all__ = ["clustered", "cosines", "kept"]


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
