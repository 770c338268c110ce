"""One pass over all vectors: the nearest centroid of each, its distance, and the sums of the clusters.

Matrix products in float32 find the nearest one (the largest `x.c`, or `x.c - |c|^2 / 2`). If a second centroid is so
near that rounding may have decided, the two are compared again, by differences in float64. The distance is computed
from the difference of the two vectors, which does not cancel: |x - c|, or 1 - cos = |x - c|^2 / 2 for unit vectors.
Sums are sums of integers: each number is rounded to the finest grid with which all fit 62 bits. So nothing depends on
the order of the vectors, on how much is read at once, or on the number of threads.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from math import frexp, sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from datadiet.geometry.matrix import TILE, Matrix
from datadiet.geometry.tiles import centre_of, full_precision, load, spans, torch_device
from datadiet.geometry.workers import Workers

if TYPE_CHECKING:
    import torch

__all__ = ["Assignment", "ClusterSums", "assignment_step"]

_COLUMNS = 1024  # centroids in one product: with TILE rows it stays in the processor's cache
_AT_ONCE = 1 << 20  # numbers gathered for single pairs


@dataclass(frozen=True, eq=False)
class Assignment:
    """The vectors assigned to their nearest centroids.

    Attributes:
        labels: (n,) int32.
        distance: (n,) float32, 1 - cosine or Euclidean.
        sizes: (k,) int64.
        value: the mean of the distances, squared if Euclidean.
    """

    labels: np.ndarray
    distance: np.ndarray
    sizes: np.ndarray
    value: float


def assignment_step(
    matrix: Matrix,
    centroids: np.ndarray,
    spherical: bool,
    chunk: int,
    device: str,
    sums: ClusterSums | None = None,
    tick: Callable[[int], object] | None = None,
) -> Assignment:
    """Assign every vector to its nearest centroid; of equally near ones, the first.

    Args:
        matrix: n vectors; of length 1 if spherical.
        centroids: (k, d) float32; of length 1 if spherical.
        spherical: by cosine, or by Euclidean distance.
        chunk: vectors read at once, by all threads; the result is the same to the bit for any value.
        device: "auto" or a torch device.
        sums: of the clusters of an earlier pass over the same vectors, which become those of this one.
        tick: called with the number of vectors done since the last call.
    """
    import torch

    on = torch_device(device)
    centres = torch.from_numpy(centroids).to(on)
    labels, distance = np.empty(len(matrix), dtype=np.int32), np.empty(len(matrix), dtype=np.float32)
    with full_precision(), torch.inference_mode(), Workers(on) as workers:
        nearest, step = _nearest(centroids, spherical, workers), workers.share(len(matrix), chunk, TILE)

        def look(span: slice) -> tuple[Moves | None, torch.Tensor, torch.Tensor]:
            rows = load(matrix, span, on)
            tiles = torch.split(rows, TILE)
            where = torch.cat([nearest(tile) for tile in tiles])
            far = torch.cat([away(tile, near) for tile, near in zip(tiles, torch.split(where, TILE), strict=True)])
            return None if sums is None else sums.moves(span, rows, where), where, far

        def away(tile: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
            apart = torch.index_select(centres, 0, where, out=workers.buffer(*tile.shape)).sub_(tile)
            far = torch.linalg.vector_norm(apart, dim=1)
            return far.square_().div_(2).clamp_(max=2) if spherical else far

        for span, (moves, where, far) in workers.in_order(look, spans(len(matrix), step)):
            if sums is not None and moves is not None:
                sums.apply(moves)
            labels[span], distance[span] = where.cpu().numpy(), far.cpu().numpy()
            if tick is not None:
                tick(span.stop - span.start)
    cost = distance if spherical else np.square(distance, dtype=np.float64)
    sizes = np.bincount(labels, minlength=len(centroids))
    if sums is not None:
        sums.labels = labels
    return Assignment(labels, distance, sizes, _mean(cost))


def _nearest(centroids: np.ndarray, spherical: bool, workers: Workers) -> Callable[[torch.Tensor], torch.Tensor]:
    """A function from a tile of vectors to the rows of their nearest centroids; of equally near ones, the first."""
    import torch

    k, on = len(centroids), workers.on
    origin = np.zeros(1, dtype=np.float32) if spherical else centre_of(centroids.min(0), centroids.max(0))
    around = centroids if spherical else centroids - origin
    moved = torch.from_numpy(around).to(on)
    squares = np.einsum("ij,ij->i", around, around, dtype=np.float64)
    bias = None if spherical else torch.from_numpy((squares / 2).astype(np.float32)).to(on)
    offset, longest = torch.from_numpy(origin).to(on), float(np.sqrt(squares.max()))
    noise = (4 * sqrt(centroids.shape[1]) + 8) * 2.0**-23  # of two products, in units of the lengths
    edges = np.linspace(0, k, -(-k // _COLUMNS) + 1).astype(int).tolist()
    parts = [(lo, moved[lo:hi], None if bias is None else bias[lo:hi]) for lo, hi in itertools.pairwise(edges)]

    def products(points: torch.Tensor, part: torch.Tensor, half: torch.Tensor | None) -> torch.Tensor:
        found = torch.mm(points, part.T, out=workers.buffer(len(points), len(part)))
        return found if half is None else found.sub_(half)

    def nearest(tile: torch.Tensor) -> torch.Tensor:
        points = tile if bias is None else tile - offset
        slack = noise * longest * (torch.linalg.vector_norm(points, dim=1) + longest)
        best = second = slack
        where = torch.empty(0, device=on)
        for lo, part, half in parts:
            column, value, next_value = _two_largest(products(points, part, half))
            if lo == 0:
                where, best, second = column, value, next_value
                continue
            second = torch.maximum(torch.maximum(second, next_value), torch.minimum(best, value))
            where = torch.where(value > best, column + lo, where)
            best = torch.maximum(value, best)
        unsure = (second >= best - slack).nonzero()[:, 0]
        if len(unsure):
            rows = torch.cat([products(points[unsure], *part[1:]).clone() for part in parts], 1)
            near = rows >= (rows.max(1).values - slack[unsure])[:, None]
            where[unsure] = _exactly(tile[unsure], centroids, near)
        return where

    return nearest


def _two_largest(product: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The column and value of the largest entry of each row, and the second largest value; overwrites `product`."""
    import torch

    if product.device.type == "cpu":  # numpy's maxima are vectorised and torch's are not: a tenth of the time
        there, rows = product.numpy(), np.arange(len(product))
        column = there.argmax(1)
        value = there[rows, column]
        there[rows, column] = -np.inf
        return torch.from_numpy(column), torch.from_numpy(value), torch.from_numpy(there.max(1))
    largest = product.max(1)
    product.scatter_(1, largest.indices[:, None], -torch.inf)
    return largest.indices, largest.values, product.max(1).values


def _exactly(tile: torch.Tensor, centroids: np.ndarray, near: torch.Tensor) -> torch.Tensor:
    """The nearest of a few centroids for each vector, by differences in float64; of equally near ones, the first.

    Args:
        tile: (m, d).
        centroids: (k, d).
        near: (m, k) bool, which centroids to compare; at least one in each row.
    """
    import torch

    points = tile.cpu().numpy()
    row, column = np.nonzero(near.cpu().numpy())
    square = np.empty(len(row))
    step = max(1, _AT_ONCE // points.shape[1])
    for lo in range(0, len(row), step):
        span = slice(lo, lo + step)
        apart = np.subtract(points[row[span]], centroids[column[span]], dtype=np.float64)
        square[span] = np.einsum("ij,ij->i", apart, apart)
    order = np.lexsort((column, square, row))
    first = np.ones(len(order), dtype=bool)
    first[1:] = row[order[1:]] != row[order[:-1]]
    return torch.from_numpy(column[order[first]]).to(tile.device)


class Moves(NamedTuple):
    """Vectors that change their cluster: rows of whole numbers (m, d) int64, and from and to which clusters (m,)."""

    whole: torch.Tensor
    before: torch.Tensor | None
    after: torch.Tensor


class ClusterSums:
    """The sum of the vectors of each cluster, kept from pass to pass: only vectors that change their cluster are added.

    Sums are of integers, so they may be changed in any order and never drift.

    Args:
        shape: (k, d).
        matrix: the vectors.
        device: "auto" or a torch device.

    Attributes:
        labels: (n,) int32, the clusters that the sums are of; None at first.
    """

    def __init__(self, shape: tuple[int, ...], matrix: Matrix, device: str) -> None:
        import torch

        self.labels: np.ndarray | None = None
        self._total = torch.zeros(shape, dtype=torch.int64, device=torch_device(device))
        self._unit = _unit_of(matrix.longest, len(matrix))

    def moves(self, span: slice, rows: torch.Tensor, where: torch.Tensor) -> Moves:
        """What changes if the vectors of `span` (m, d) go to the clusters `where` (m,)."""
        import torch

        if self.labels is None:
            return Moves(self._whole(rows), None, where)
        before = torch.from_numpy(self.labels[span]).to(where)
        changed = (before != where).nonzero()[:, 0]
        return Moves(self._whole(rows[changed]), before[changed], where[changed])

    def apply(self, moves: Moves) -> None:
        """Add the vectors to their new clusters and take them from their old ones."""
        self._total.index_add_(0, moves.after, moves.whole)
        if moves.before is not None:
            self._total.index_add_(0, moves.before, moves.whole, alpha=-1)

    def result(self) -> np.ndarray:
        """(k, d) float64."""
        return self._total.cpu().numpy() / self._unit

    def _whole(self, rows: torch.Tensor) -> torch.Tensor:
        """Each number in units of the grid, rounded towards 0."""
        return rows.double().mul_(self._unit).long()


def _unit_of(largest: float, n: int) -> float:
    """The power of two u such that n numbers of at most that size, times u and rounded, sum to less than 2^62.

    >>> _unit_of(1.0, 1024) == 2.0**50
    True
    """
    return 2.0 ** (62 - n.bit_length() - (frexp(largest)[1] if largest else 0))


def _mean(values: np.ndarray) -> float:
    """The mean of non-negative numbers; it does not depend on their order."""
    unit = _unit_of(float(values.max()), len(values))
    return int(np.rint(values.astype(np.float64) * unit).astype(np.int64).sum()) / unit / len(values)
