"""Prototypes: how far an example is from the nearest centroid of the data.

Sorscher, Geirhos, Shekhar, Ganguli, Morcos: Beyond neural scaling laws: beating power law scaling via data pruning,
NeurIPS 2022 (arXiv 2206.14486), the self-supervised prototypes metric: embed without labels, k-means, and the score is
the cosine distance 1 - cos(x, c) to the nearest centroid c.

Deviations: the centroids come from spherical k-means: means of unit vectors, scaled to length 1. `spherical=False`
gives the Euclidean distance to the centroids of plain k-means.

Cost: k-means: n k d operations per round, and memory for one block of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Clusters, Matrix, assign, cost, kmeans
from datadiet.geometry.kmeans import usual_clusters
from datadiet.parameters import checked
from datadiet.randomness import Keys
from datadiet.scorers.spec import ScorerSpec, vectors

__all__ = ["SPEC", "prototypes"]


@checked
def prototypes(
    features: Any,
    *,
    clusters: int | Clusters | None = None,
    spherical: bool = True,
    seed: int = 0,
    keys: Keys | None = None,
) -> np.ndarray:
    """The distance to the nearest centroid.

    Args:
        features: (n, d) floats, in memory or memory-mapped.
        clusters: how many; or existing clusters, also of other vectors, whose centroids and kind of distance are used;
            None = floor(sqrt(n)), at most 1000. Paper: 1000 for the 1000 classes of ImageNet.
        spherical: cosine distance, or Euclidean.
        seed: starts k-means.
        keys: start k-means instead of the seed; give the examples' own keys if rows may come in another order.

    Returns:
        (n,) float32, at least 0, high = far from every prototype, hard.

    Raises:
        OptionError: a number of clusters outside 1..n, or centroids with the wrong number of dimensions.
        BadVector: a vector that is not finite, or all zeros if spherical.

    References:
        Sorscher et al. 2022.

    >>> print(prototypes(np.array([[1.0, 0.0], [0.0, 2.0]]), clusters=1).round(4))
    [0.2929 0.2929]
    """
    matrix = _opened(features, clusters=clusters, spherical=spherical)
    if isinstance(clusters, Clusters):
        return assign(matrix, clusters.centroids, spherical=clusters.spherical)[1]
    number = usual_clusters(len(matrix)) if clusters is None else int(clusters)
    if number > len(matrix):
        raise OptionError(f"clusters={clusters} of {len(matrix)} examples: give at most {len(matrix)}.")
    return kmeans(matrix, number, spherical=spherical, seed=seed, keys=keys, progress=True).distance


def _opened(features: Any, *, clusters: int | Clusters | None = None, spherical: bool = True, **unused: Any) -> Matrix:
    """Open the features and check the options, except whether there are as many examples as clusters."""
    if isinstance(clusters, Clusters):
        matrix = Matrix.open(features, unit=clusters.spherical)
        if clusters.centroids.shape[1] != matrix.dim:
            raise OptionError(
                f"the centroids have {clusters.centroids.shape[1]} dimensions and the features {matrix.dim}: give "
                "clusters of vectors from the same network."
            )
        return matrix
    number = isinstance(clusters, (int, np.integer)) and not isinstance(clusters, bool)
    if clusters is not None and not (number and clusters >= 1):
        raise OptionError(f"clusters={clusters!r}: give a whole number of at least 1, or the Clusters from kmeans.")
    return Matrix.open(features, unit=spherical)


def _cost(
    n: int, d: int, k: int | None = None, /, *, clusters: int | None = None, **parameters: Any
) -> list[cost.Stage]:
    """k-means."""
    number = usual_clusters(n) if clusters is None else clusters
    return [cost.opening(n, d, 1), cost.kmeans_rounds(n, d, number)]


SPEC = ScorerSpec(
    prototypes, (vectors("features"),), each=True, check=_opened, cost=_cost, reference="Sorscher et al. 2022"
)
