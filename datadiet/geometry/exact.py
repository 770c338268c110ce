"""Distances from differences, and neighbours where products in float32 do not tell which are nearest."""

from __future__ import annotations

import numpy as np

from datadiet.geometry.matrix import Matrix

__all__ = ["closest", "search_again"]

_AT_ONCE = 1 << 22  # numbers
_NOISE = 1e-12  # of a product in float64, as a share of the squared lengths; d * 1e-16 and to spare


def closest(
    left: np.ndarray, right: Matrix, rows: np.ndarray, unit: bool, ties: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates in the order of their distances, of equal ones the lower rows first, or the smaller `ties`.

    Args:
        left: (b, d) vectors.
        right: where the candidates are.
        rows: (b, c) candidates of each.
        unit: distances are |x - y|^2 / 2 = 1 - cosine of vectors of length 1; else |x - y|.
        ties: a number for each row of `right`, or None.

    Returns:
        rows (b, c) and distance (b, c) float64.
    """
    distance = np.empty(rows.shape)
    step = max(1, _AT_ONCE // (rows.shape[1] * right.dim))
    for lo in range(0, len(rows), step):
        part = rows[lo : lo + step]
        read, place = np.unique(part, return_inverse=True)  # every one once, in the order on disk
        there = right.take(read)[place.reshape(part.shape)]
        apart = np.subtract(there, left[lo : lo + step, None], dtype=np.float64)
        square = np.square(apart, out=apart).sum(2)
        distance[lo : lo + step] = np.minimum(square / 2, 2) if unit else np.sqrt(square)
    order = np.lexsort((rows if ties is None else ties[rows], distance), axis=1)
    return np.take_along_axis(rows, order, 1), np.take_along_axis(distance, order, 1)


def search_again(
    left: np.ndarray,
    right: Matrix,
    own: np.ndarray | None,
    k: int,
    unit: bool,
    centre: np.ndarray,
    ties: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of a few vectors: all that products in float64 cannot exclude, by their distances.

    Args:
        left: (b, d) vectors.
        right: where to look.
        own: (b,) the rows of `right` that the vectors are themselves, or None.
        k: how many.
        unit: as in `closest`.
        centre: (d,) what Euclidean coordinates are measured from.
        ties: as in `closest`.

    Returns:
        rows (b, k) int64 and distance (b, k) float64.
    """
    rows, distance = np.empty((len(left), k), dtype=np.int64), np.empty((len(left), k))
    step = max(1, 4 * _AT_ONCE // len(right))
    for lo in range(0, len(left), step):
        points = left[lo : lo + step].astype(np.float64) - centre
        product = np.empty((len(points), len(right)))
        for span, block in right.blocks(max(1, _AT_ONCE // right.dim)):
            there = block.astype(np.float64) - centre
            # Also where vectors have length 1, which in float32 they have to seven digits.
            product[:, span] = points @ there.T - np.einsum("ij,ij->i", there, there) / 2
        if own is not None:
            product[np.arange(len(points)), own[lo : lo + step]] = -np.inf
        for i, scores in enumerate(product, start=lo):
            kth = np.partition(scores, len(scores) - k)[len(scores) - k]
            square = float(points[i - lo] @ points[i - lo])
            reach = 2 * square + abs(kth)  # of the order of the squared lengths of the vectors near x
            found = np.flatnonzero(scores >= kth - _NOISE * reach)
            near, away = closest(left[i : i + 1], right, found[None], unit, ties)
            rows[i], distance[i] = near[0, :k], away[0, :k]
    return rows, distance
