"""KNN-Shapley: the exact Shapley value of every training example for a K-nearest-neighbour classifier.

Jia, Dao, Wang, Hubis, Gurel, Li, Zhang, Spanos, Song: Efficient Task-Specific Data Valuation for Nearest Neighbor
Algorithms, VLDB 2019 (arXiv 1908.08619), the unweighted classifier. The worth of a set S for a reference example is
the number of its min(K, |S|) nearest neighbours in S with the right label, divided by K. With the training examples
numbered 1..n from near to far and m_i = 1 if the label of i is right,
s_n = m_n min(K, n) / (K n),  s_i = s_{i+1} + (m_i - m_{i+1}) min(K, i) / (K i);
the score is the mean over reference examples. The sum over all examples is the worth of the whole set.

Deviations: none in the formula. K may be n or more: every example then votes and is worth m_i / K. Equal distances are
ordered by position.

Cost: n d + n log n operations per reference example; memory for n * block numbers besides the features in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np

from datadiet.arrays import as_array, check_range, class_numbers, numbers
from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.scorers.spec import ScorerSpec, class_labels, vectors

__all__ = ["SPEC", "knn_shapley"]


@checked
def knn_shapley(
    distances_or_features: np.ndarray,
    labels: np.ndarray,
    val_features: np.ndarray | None,
    val_labels: np.ndarray,
    *,
    k: int = 5,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    block: int = 16,
) -> np.ndarray:
    """The mean Shapley value over reference examples.

    Args:
        distances_or_features: (n, d) features; or, with val_features=None, (m, n) distances, one row per reference
            example, of which only the order matters.
        labels: (n,) class numbers.
        val_features: (m, d), or None.
        val_labels: (m,) class numbers.
        k: K, how many neighbours vote; may be n or more.
        metric: how features are compared; given distances are used as they are.
        block: reference examples at a time; affects memory, not the result.

    Returns:
        (n,) float32, positive = keeping the example improves the neighbours' votes.

    Raises:
        OptionError: shapes or labels that do not fit, NaN or infinity, an unknown metric, k or block below 1, or a
            feature vector of zeros, which has no cosine.

    References:
        Jia et al. 2019.

    >>> distances = np.array([[0.1, 0.2]])
    >>> knn_shapley(distances, np.array([1, 0]), None, np.array([1]), k=1).tolist()
    [1.0, 0.0]
    """
    check_whole("k", k)
    check_whole("block", block)
    m, n, away = _distances(distances_or_features, val_features, metric)
    label = class_numbers("labels", labels, n)
    asked = class_numbers("val_labels", val_labels, m)
    place = np.arange(1, n + 1)
    share = np.minimum(k, place) / (k * place)
    total = np.zeros(n)
    for start in range(0, m, block):
        rows = slice(start, min(start + block, m))
        order = _near_to_far(away(rows))
        change = (label[order] == asked[rows, None]).astype(np.float64)
        change[:, :-1] -= change[:, 1:]
        values = np.cumsum((change * share)[:, ::-1], axis=1)[:, ::-1]
        # Row by row, so that the sum does not depend on the block.
        for near_to_far, value in zip(order, values, strict=True):
            total[near_to_far] += value
    return (total / m).astype(np.float32)


def _near_to_far(away: np.ndarray) -> np.ndarray:
    """The order of each row; equal distances in that of their positions, which only a slower sort keeps."""
    order = np.argsort(away, axis=1)
    near_to_far = np.take_along_axis(away, order, axis=1)
    tied = (near_to_far[:, 1:] == near_to_far[:, :-1]).any(axis=1)
    order[tied] = np.argsort(away[tied], axis=1, kind="stable")
    return order


def _distances(
    first: np.ndarray, val_features: np.ndarray | None, metric: str
) -> tuple[int, int, Callable[[slice], np.ndarray]]:
    """m, n, and a function that gives the rows of a block of reference examples: (block, n) float64, small = near."""
    if val_features is None:
        given = as_array("distances", first, "m n")
        return *given.shape, lambda rows: _rows("distances", given, rows)
    features = np.ascontiguousarray(numbers("features", first, "n d"), dtype=np.float64)
    other = as_array("val_features", val_features, "m d")
    if other.shape[1] != features.shape[1]:
        raise OptionError(
            f"val_features has shape {other.shape} and the features {features.shape}: give (m, d) and (n, d) of the "
            "same network."
        )
    centre = features.mean(axis=0) if metric == "euclidean" else np.zeros(1)  # a common offset would cost precision
    features = features - centre
    offset = np.einsum("nd,nd->n", features, features) / 2
    if metric == "cosine":
        features = features / _norms("features", features)[:, None]
        offset = np.zeros(len(features))

    def away(rows: slice) -> np.ndarray:
        """|x - v|^2 / 2 - |v|^2 / 2, or minus the cosine times |v|: in the order of the distances."""
        part = _rows("val_features", other, rows) - centre
        if metric == "cosine":
            _norms("val_features", part)
        # einsum, not BLAS, whose last bit depends on the position and the block and would decide ties.
        return offset - np.einsum("nd,bd->bn", features, part)

    return len(other), len(features), away


def _rows(name: str, matrix: np.ndarray, rows: slice) -> np.ndarray:
    part = np.ascontiguousarray(matrix[rows], dtype=np.float64)  # sums depend on the layout, and decide ties
    check_range(name, part, at=(rows.start,))
    return part


def _norms(name: str, matrix: np.ndarray) -> np.ndarray:
    norms = np.sqrt(np.einsum("nd,nd->n", matrix, matrix))
    if not norms.all():
        raise OptionError(
            f"{name} has {int((norms == 0).sum())} rows of zeros, which have no cosine: use metric='euclidean', or "
            "leave them out."
        )
    return norms


SPEC = ScorerSpec(
    knn_shapley,
    (vectors("features"), class_labels(), vectors("features", "reference"), class_labels("reference")),
    each=True,
    reference="Jia et al. 2019",
)
