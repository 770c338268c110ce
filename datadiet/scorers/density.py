"""Density: how far the nearest neighbours of an example are.

The score is the mean distance to the k nearest other examples: high where data is sparse. The sum of these distances
is the weight by which Angiulli and Pizzuti find outliers (Fast Outlier Detection in High Dimensional Spaces, PKDD
2002); density sampling (Sachdeva et al., How to Train Data-Efficient LLMs, arXiv 2402.09668) also values rare examples
more than those in dense regions, and estimates densities by kernel sums.

Deviations: the cosine distance is the default. The mean replaces the sum, so that the scale does not depend on k.

Cost: n^2 d operations, since the search is exact, in blocks; memory for n k numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost, nearest
from datadiet.geometry.matrix import Metric, is_cosine
from datadiet.parameters import checked
from datadiet.scorers.spec import ScorerSpec, vectors

__all__ = ["SPEC", "density"]


@checked
def density(features: Any, *, k: int = 10, metric: Metric = "cosine") -> np.ndarray:
    """The mean distance to the k nearest other examples.

    Args:
        features: (n, d) floats, in memory or memory-mapped.
        k: how many neighbours, 1..n-1.
        metric: "cosine", 1 - cos, or "euclidean".

    Returns:
        (n,) float32, at least 0, high = rare, in a sparse region; 0 for an example with k copies.

    Raises:
        OptionError: k outside 1..n-1, or an unknown metric.
        BadVector: a vector that is not finite, or all zeros with metric="cosine".

    References:
        Angiulli and Pizzuti 2002; Sachdeva et al. 2024.

    >>> density(np.array([[0.0], [1.0], [5.0]]), k=2, metric="euclidean").tolist()
    [3.0, 2.5, 4.5]
    """
    matrix = _opened(features, k=k, metric=metric)
    if k >= len(matrix):
        raise OptionError(f"k={k} neighbours of {len(matrix)} examples: give at most {len(matrix) - 1}.")
    return nearest(matrix, k, metric=metric, progress=True)[1].mean(axis=1, dtype=np.float64).astype(np.float32)


def _opened(features: Any, *, k: int = 10, metric: Metric = "cosine") -> Matrix:
    """Open the features and check the options, except whether there are more than k examples."""
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise OptionError(f"k={k!r}: give a whole number of neighbours, at least 1.")
    return Matrix.open(features, unit=is_cosine(metric))


def _cost(n: int, d: int, keep: int | None = None, /, *, k: int = 10, **parameters: Any) -> list[cost.Stage]:
    """The nearest neighbours."""
    return [cost.opening(n, d, 1), cost.nearest_neighbours(n, d, k)]


SPEC = ScorerSpec(
    density, (vectors("features"),), each=True, check=_opened, cost=_cost, reference="Angiulli and Pizzuti 2002"
)
