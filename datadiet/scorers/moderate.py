"""Moderate: how far an example is from the median of its class.

Xia, Liu, Yu, Shen, Han, Liu: Moderate Coreset: A Universal Method of Data Selection for Real-world Data-efficient Deep
Learning, ICLR 2023 (OpenReview 7D5EECbOaf9). With m_c the vector of the medians, dimension by dimension, of the
features of class c, the score is |x - m_c|_2. The paper keeps the middle of all scores: use the selector `band`.

Deviations: none in the score. The baseline of this name in the code of D2 (arXiv 2310.07931) keeps the two tails
instead of the middle (found by reading it and re-running its index arithmetic).

Cost: the features are read twice, and more often if a class has more than 2^26 numbers: a median needs all values of a
dimension at once, and each reading collects 2^26 numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.arrays import class_numbers
from datadiet.geometry import Matrix, cost
from datadiet.parameters import checked
from datadiet.scorers.spec import ScorerSpec, class_labels, vectors

__all__ = ["SPEC", "moderate"]

_ROWS = 4096
_AT_ONCE = 1 << 26  # numbers whose medians are taken at a time


@checked
def moderate(features: Any, labels: np.ndarray) -> np.ndarray:
    """The Euclidean distance to the median of the class.

    Args:
        features: (n, d) floats, in memory or memory-mapped.
        labels: (n,) class numbers.

    Returns:
        (n,) float32, at least 0, high = far from the class, hard; the paper keeps the middle.

    Raises:
        OptionError: labels that do not fit.
        BadVector: a vector that is not finite.

    References:
        Xia et al. 2023.

    >>> moderate(np.array([[0.0], [1.0], [5.0], [7.0]]), np.array([0, 0, 0, 1])).tolist()
    [1.0, 0.0, 4.0, 0.0]
    """
    matrix = Matrix.open(features)
    label = np.unique(class_numbers("labels", labels, len(matrix)), return_inverse=True)[1]
    members = np.split(np.argsort(label, kind="stable"), np.cumsum(np.bincount(label))[:-1])
    centres = np.stack([_median(matrix, rows) for rows in members])
    out = np.empty(len(matrix), dtype=np.float32)
    for span, block in matrix.blocks(_ROWS):
        away = block - centres[label[span]]
        out[span] = np.sqrt(np.einsum("nd,nd->n", away, away))
    return out


def _median(matrix: Matrix, rows: np.ndarray) -> np.ndarray:
    """The medians of some rows, dimension by dimension: (d,) float64."""
    width = max(1, _AT_ONCE // len(rows))
    out = np.empty(matrix.dim)
    for left in range(0, matrix.dim, width):
        columns = np.empty((len(rows), min(width, matrix.dim - left)), dtype=np.float32)
        for low in range(0, len(rows), _ROWS):
            columns[low : low + _ROWS] = matrix.take(rows[low : low + _ROWS])[:, left : left + width]
        out[left : left + width] = np.median(columns, axis=0, overwrite_input=True)
    return out


def _cost(n: int, d: int, k: int | None = None, /, **parameters: Any) -> list[cost.Stage]:
    """Medians of classes, then distances."""
    held = 4 * min(n * d, 1 << 26) + 40 * 4096 * d + 20 * n
    return [cost.opening(n, d, 1), cost.Stage("medians, distances", 2, moved=120 * n * d, memory=held)]


SPEC = ScorerSpec(moderate, (vectors("features"), class_labels()), each=True, cost=_cost, reference="Xia et al. 2023")
