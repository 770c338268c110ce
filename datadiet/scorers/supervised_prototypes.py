"""Supervised prototypes: how far an example is from the mean of its class.

Sorscher, Geirhos, Shekhar, Ganguli, Morcos: Beyond neural scaling laws: beating power law scaling via data pruning,
NeurIPS 2022 (arXiv 2206.14486), the prototypes metric with labels: the features come from a network trained with
labels, and the score is 1 - cos(x, m) with m the mean of the class of x.

Deviations: the mean is taken over unit vectors, as in `prototypes`: this is one round of its k-means with the classes
as clusters. `spherical=False` gives the Euclidean distance to the plain mean.

Cost: the features are read twice; memory for C d numbers and one block of rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.arrays import class_numbers
from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost
from datadiet.parameters import checked
from datadiet.scorers.spec import ScorerSpec, class_labels, vectors

__all__ = ["SPEC", "supervised_prototypes"]

_ROWS = 4096


@checked
def supervised_prototypes(features: Any, labels: np.ndarray, *, spherical: bool = True) -> np.ndarray:
    """The distance to the mean of the class.

    Args:
        features: (n, d) floats, in memory or memory-mapped.
        labels: (n,) class numbers.
        spherical: cosine distance, or Euclidean.

    Returns:
        (n,) float32, at least 0, high = far from the class, hard. An example alone in its class scores 0.

    Raises:
        OptionError: labels that do not fit, or a class whose unit vectors cancel out.
        BadVector: a vector that is not finite, or all zeros if spherical.

    References:
        Sorscher et al. 2022.

    >>> at = np.array([[1.0, 0.0], [0.0, 2.0], [5.0, 5.0]])
    >>> print(supervised_prototypes(at, np.array([0, 0, 1])).round(4))
    [0.2929 0.2929 0.    ]
    """
    matrix = Matrix.open(features, unit=spherical)
    classes, label = np.unique(class_numbers("labels", labels, len(matrix)), return_inverse=True)
    centres = _means(matrix, label)
    if spherical:
        length = np.linalg.norm(centres, axis=1)
        if (length < 1e-6).any():
            raise OptionError(
                f"the unit vectors of class {classes[length.argmin()]} cancel out, so their mean has no direction: "
                "use spherical=False."
            )
        centres /= length[:, None]
    out = np.empty(len(matrix), dtype=np.float32)
    for span, block in matrix.blocks(_ROWS):
        away = block - centres[label[span]]
        square = np.einsum("nd,nd->n", away, away)
        # Half the squared distance of unit vectors is 1 - cos, without the digits that 1 - cos loses near 0.
        out[span] = square / 2 if spherical else np.sqrt(square)
    return out


def _means(matrix: Matrix, label: np.ndarray) -> np.ndarray:
    """(C, d) float64: the mean of every class."""
    sizes = np.bincount(label)
    sums = np.zeros((len(sizes), matrix.dim))
    for span, block in matrix.blocks(_ROWS):
        order = np.argsort(label[span], kind="stable")
        there, starts = np.unique(label[span][order], return_index=True)
        sums[there] += np.add.reduceat(block[order], starts, axis=0, dtype=np.float64)
    return sums / sizes[:, None]


def _cost(n: int, d: int, k: int | None = None, /, **parameters: Any) -> list[cost.Stage]:
    """Means of classes, then distances."""
    distances = cost.Stage("means, distances", 2, moved=40 * n * d, memory=60 * 4096 * d + 20 * n)
    return [cost.opening(n, d, 1), distances]


SPEC = ScorerSpec(
    supervised_prototypes,
    (vectors("features"), class_labels()),
    each=True,
    cost=_cost,
    reference="Sorscher et al. 2022",
)
