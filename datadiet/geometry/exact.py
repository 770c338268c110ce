"""Distances from differences in float64, and neighbours where float32 products do not tell which are nearest."""

from __future__ import annotations

import numpy as np

from datadiet.geometry.matrix import Matrix

__all__ = ["NOISE", "closest", "search_again"]

_AT_ONCE = 1 << 22  # numbers
NOISE = 1e-12  # error of a float64 product, as a share of the squared lengths: well above d * 1e-16


def closest(
    left: np.ndarray, right: Matrix, rows: np.ndarray, unit: bool, ties: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Candidates in order of distance; of equally near ones, the lower rows or smaller `ties` come first.

    Args:
        left: (b, d) vectors.
        right: the vectors that the candidates are rows of.
        rows: (b, c) candidates of each.
        unit: distances are |x - y|^2 / 2 = 1 - cosine of vectors of length 1; otherwise |x - y|.
        ties: a number for each row of `right`, or None.

    Returns:
        rows (b, c) and distance (b, c) float64.
    """
    distance = np.empty(rows.shape)
    step = max(1, _AT_ONCE // (rows.shape[1] * right.dim))
    for lo in range(0, len(rows), step):
        part = rows[lo : lo + step]
        read, place = np.unique(part, return_inverse=True)  # each row once, in the order on disk
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
    """The k nearest neighbours of a few vectors, by distance among all that float64 products cannot exclude.

    Args:
        left: (b, d) vectors.
        right: where to look.
        own: (b,) the rows of the vectors themselves in `right`, or None.
        k: how many.
        unit: as in `closest`.
        centre: (d,) the point that Euclidean coordinates are measured from.
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
            # Unit vectors need this too: in float32 their length is 1 to seven digits only.
            product[:, span] = points @ there.T - np.einsum("ij,ij->i", there, there) / 2
        if own is not None:
            product[np.arange(len(points)), own[lo : lo + step]] = -np.inf
        for i, scores in enumerate(product, start=lo):
            kth = np.partition(scores, len(scores) - k)[len(scores) - k]
            square = float(points[i - lo] @ points[i - lo])
            reach = 2 * square + abs(kth)  # of the order of the squared lengths of the vectors near x
            found = np.flatnonzero(scores >= kth - NOISE * reach)
            near, away = closest(left[i : i + 1], right, found[None], unit, ties)
            rows[i], distance[i] = near[0, :k], away[0, :k]
    return rows, distance
