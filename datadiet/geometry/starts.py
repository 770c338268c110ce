"""The first centroids: vectors drawn by their keys, or by k-means++.

k-means++: Arthur, Vassilvitskii, SODA 2007. The first vector is drawn uniformly, each later one with a probability
proportional to D^2, its squared distance to the nearest one drawn before. For unit vectors D^2 = 2 (1 - cosine).

Deviations: k-means++ draws from a uniform sample of at most 32,768 vectors.

Cost: k passes over the sample, k * 32,768 * d operations.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry.device import Device
from datadiet.geometry.matrix import Matrix
from datadiet.randomness import Keys, generator

__all__ = ["SAMPLE", "plus_plus", "random_start"]

SAMPLE = 1 << 15


def random_start(matrix: Matrix, k: int, keys: Keys) -> np.ndarray:
    """The k vectors with the smallest keys, in the order of their keys: (k, d) float32."""
    return matrix.gather(_first(keys, k))


def plus_plus(matrix: Matrix, k: int, keys: Keys, device: str) -> np.ndarray:
    """k-means++: (k, d) float32, in the order in which they were drawn.

    Where fewer than k vectors of the sample differ, the rest are drawn uniformly.

    Raises:
        OptionError: k above the size of the sample.
    """
    import torch

    if k > SAMPLE:
        raise OptionError(
            f"start='k-means++' for {k} clusters: it draws from {SAMPLE} vectors, so give at most that many, or "
            "start='random'."
        )
    sample = matrix.gather(_first(keys, min(SAMPLE, len(matrix))))
    points = torch.from_numpy(sample).to(Device.named(device).on)
    draws = generator(keys.seed, keys.stream, "k-means++").random(k)
    difference = torch.empty_like(points)
    square = np.full(len(sample), np.inf)
    chosen = [0]
    for draw in draws[1:]:
        # By differences, so that a drawn vector and its duplicates are at exactly 0 and not drawn again.
        torch.sub(points, points[chosen[-1]], out=difference)
        np.minimum(square, difference.square_().sum(1).cpu().numpy(), out=square)
        reach = np.cumsum(square)
        if reach[-1] == 0:
            break
        last = int(np.flatnonzero(square)[-1])  # draw * reach[-1] may round up to reach[-1]
        chosen.append(min(int(np.searchsorted(reach, draw * reach[-1], side="right")), last))
    left = np.setdiff1d(np.arange(len(sample)), chosen)[: k - len(chosen)]
    return sample[np.concatenate([np.array(chosen), left])]


def _first(keys: Keys, m: int) -> np.ndarray:
    """The m rows with the smallest keys, in the order of their keys."""
    return keys.sort(np.zeros(keys.n, dtype=np.uint32))[:m]
