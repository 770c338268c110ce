"""The nearest centroid of each vector: found by matrix products in float32, decided by differences in float64.

The largest `x.c`, or `x.c - |c|^2 / 2`, shows the nearest one. Where a second centroid is so near that rounding may
have decided, those that near are compared again, by differences in float64; of equally near ones, the first is taken.
"""

from __future__ import annotations

import itertools
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from datadiet.geometry.exact_on_device import row_sums, square_distances
from datadiet.geometry.matrix import centre_of
from datadiet.geometry.workers import Workers

if TYPE_CHECKING:
    import torch

__all__ = ["NearestCentroid"]

_UNIT = 1.001  # more than the length of a vector that was scaled to length 1


class NearestCentroid:
    """Finds the nearest of k centroids.

    Args:
        centroids: (k, d) float32; of length 1 if spherical.
        spherical: by cosine, or by Euclidean distance.
        workers: the threads that will ask.
    """

    def __init__(self, centroids: np.ndarray, spherical: bool, workers: Workers) -> None:
        import torch

        self._workers, self._device = workers, workers.device
        on, k = self._device.on, len(centroids)
        origin = np.zeros(1, dtype=np.float32) if spherical else centre_of(centroids.min(0), centroids.max(0))
        around = centroids if spherical else centroids - origin
        squares = np.einsum("ij,ij->i", around, around, dtype=np.float64)
        bias = None if spherical else torch.from_numpy((squares / 2).astype(np.float32)).to(on)
        self._offset = None if spherical else torch.from_numpy(origin).to(on)
        self._longest = float(np.sqrt(squares.max()))
        # Of two products, in units of the lengths.
        self._noise = (4 * sqrt(centroids.shape[1]) + 8) * 2.0**-23
        self._centres = torch.from_numpy(centroids).to(on)
        moved, edges = torch.from_numpy(around).to(on), np.linspace(0, k, -(-k // self._device.side) + 1)
        self._parts = [
            (lo, moved[lo:hi], None if bias is None else bias[lo:hi])
            for lo, hi in itertools.pairwise(edges.astype(int).tolist())
        ]

    def look(self, tile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The nearest centroid of each vector of a tile by its product, where another may be as near, and the distance.

        Args:
            tile: (m, d) float32.

        Returns:
            (m,) int64, (m,) bool, (m,) float32. Nothing waits for the device.
        """
        import torch

        points, slack = self._points(tile)
        where, best, second = _two_largest(self._products(points, self._parts[0]), self._device.wide)
        for part in self._parts[1:]:
            column, value, next_value = _two_largest(self._products(points, part), self._device.wide)
            second = torch.maximum(torch.maximum(second, next_value), torch.minimum(best, value))
            where = torch.where(value > best, column + part[0], where)
            best = torch.maximum(value, best)
        return where, second >= best - slack, self.distance(tile, where)

    def distance(self, rows: torch.Tensor, near: torch.Tensor) -> torch.Tensor:
        """The distance of vectors (m, d) to their centroids `near` (m,): (m,) float32; |x - c|^2 / 2 if spherical.

        It does not depend on which other vectors are there.
        """
        import torch

        buffer = self._workers.buffer(len(rows), rows.shape[1])
        apart = torch.index_select(self._centres, 0, near, out=buffer).sub_(rows)
        length = row_sums(apart.square_()).sqrt_() if self._device.wide else torch.linalg.vector_norm(apart, dim=1)
        return length.square_().div_(2).clamp_(max=2) if self._offset is None else length

    def decide(self, rows: torch.Tensor) -> torch.Tensor:
        """The nearest centroid of a few vectors: (p,) int64.

        Args:
            rows: (p, d) float32.
        """
        import torch

        step = max(1, self._device.at_once // len(self._centres))
        return torch.cat([self._decide(some) for some in torch.split(rows, step)])

    def _decide(self, rows: torch.Tensor) -> torch.Tensor:
        import torch

        points, slack = self._points(rows)
        products = torch.cat([self._products(points, part).clone() for part in self._parts], 1)
        near = products >= (products.amax(1) - slack)[:, None]
        decide = _first_of_nearest if self._device.wide else _first_of_nearest_by_numpy
        exact = self._device.exact
        return decide(rows.to(exact), self._centres.to(exact), near.to(exact), self._device.at_once).to(rows.device)

    def _points(self, tile: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | float]:
        """The vectors measured from the origin of the products, and by how much their products may be off."""
        import torch

        if self._offset is None:
            return tile, self._noise * self._longest * (_UNIT + self._longest)
        points = torch.sub(tile, self._offset, out=self._workers.buffer(len(tile), tile.shape[1], "points"))
        return points, self._noise * self._longest * (torch.linalg.vector_norm(points, dim=1) + self._longest)

    def _products(self, points: torch.Tensor, part: tuple[int, torch.Tensor, torch.Tensor | None]) -> torch.Tensor:
        import torch

        _, centres, half = part
        found = torch.mm(points, centres.T, out=self._workers.buffer(len(points), len(centres)))
        return found if half is None else found.sub_(half)


def _two_largest(product: torch.Tensor, wide: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The column and value of the largest entry of each row, and the second largest value; overwrites `product`."""
    import torch

    if wide:
        value, column = product.max(1)
        product.scatter_(1, column[:, None], -torch.inf)
        return column, value, product.amax(1)
    # On a processor numpy's maxima are vectorised and torch's are not: a tenth of the time.
    there, rows = product.numpy(), np.arange(len(product))
    columns = there.argmax(1)
    values = there[rows, columns]
    there[rows, columns] = -np.inf
    return torch.from_numpy(columns), torch.from_numpy(values), torch.from_numpy(there.max(1))


def _first_of_nearest(rows: torch.Tensor, centres: torch.Tensor, near: torch.Tensor, at_once: int) -> torch.Tensor:
    """The nearest of a few centroids for each vector; of equally near ones, the first.

    Args:
        rows: (p, d), on a device with float64.
        centres: (k, d).
        near: (p, k) bool, which centroids to compare; at least one in each row.
        at_once: numbers gathered for single pairs.
    """
    import torch

    row, column = near.nonzero().unbind(1)
    step = max(1, at_once // rows.shape[1])
    square = torch.cat(
        [
            square_distances(rows[one], centres[other], rows.device)
            for one, other in zip(torch.split(row, step), torch.split(column, step), strict=True)
        ]
    )
    least = torch.full((len(rows),), torch.inf, dtype=torch.float64, device=rows.device)
    least.scatter_reduce_(0, row, square, "amin")
    first = torch.full((len(rows),), len(centres), device=rows.device)
    return first.scatter_reduce_(0, row, torch.where(square == least[row], column, len(centres)), "amin")


def _first_of_nearest_by_numpy(
    rows: torch.Tensor, centres: torch.Tensor, near: torch.Tensor, at_once: int
) -> torch.Tensor:
    """The same; several times faster on a processor."""
    import torch

    points, centroids = rows.numpy(), centres.numpy()
    row, column = np.nonzero(near.numpy())
    square = np.empty(len(row))
    step = max(1, at_once // points.shape[1])
    for lo in range(0, len(row), step):
        span = slice(lo, lo + step)
        apart = np.subtract(points[row[span]], centroids[column[span]], dtype=np.float64)
        square[span] = np.einsum("ij,ij->i", apart, apart)
    order = np.lexsort((column, square, row))
    first = np.ones(len(order), dtype=bool)
    first[1:] = row[order[1:]] != row[order[:-1]]
    return torch.from_numpy(column[order[first]])
