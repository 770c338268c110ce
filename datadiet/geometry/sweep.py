"""One pass over all vectors: the nearest centroid of each, its distance, and the sums of the clusters.

The nearest is found by matrix products (`x.c`, or `x.c - |c|^2 / 2`, the largest), in tiles at fixed places; the
distance to it is then computed from the difference of the two vectors, which does not cancel: |x - c|, or
1 - cos = |x - c|^2 / 2 for unit vectors. Sums are made in float64, one row after the other.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from datadiet.geometry.matrix import TILE, Matrix
from datadiet.geometry.tiles import centre_of, full_precision, load, pick_device, spans
from datadiet.geometry.workers import Workers

if TYPE_CHECKING:
    import torch

__all__ = ["Pass", "sweep"]

_COLUMNS = 1024  # centroids in one product: with TILE rows it stays in the processor's cache
_TILES_IN_FLOAT32 = 8


@dataclass(frozen=True, eq=False)
class Pass:
    """What one pass finds.

    Attributes:
        labels: (n,) int32.
        distance: (n,) float32, 1 - cosine or Euclidean.
        sums: (k, d) float64, or None where they were not asked for.
        sizes: (k,) int64.
        value: the mean of the distances, squared if Euclidean.
    """

    labels: np.ndarray
    distance: np.ndarray
    sums: np.ndarray | None
    sizes: np.ndarray
    value: float


def sweep(
    matrix: Matrix,
    centroids: np.ndarray,
    spherical: bool,
    chunk: int,
    device: str,
    sums: bool = False,
    tick: Callable[[int], object] | None = None,
) -> Pass:
    """Assign every vector to its nearest centroid; of equal centroids to the first.

    Args:
        matrix: n vectors; of length 1 if spherical.
        centroids: (k, d) float32; of length 1 if spherical.
        spherical: by cosine, or by Euclidean distance.
        chunk: vectors read at once, by all threads; it changes no bit of the result.
        device: "auto" or a torch device.
        sums: whether to add up the vectors of each cluster.
        tick: called with the number of vectors done since the last call.
    """
    import torch

    on = pick_device(device)
    centres = torch.from_numpy(centroids).to(on)
    total = _Sums(centroids.shape, on) if sums else None
    labels, distance = np.empty(len(matrix), dtype=np.int32), np.empty(len(matrix), dtype=np.float32)
    with full_precision(), torch.inference_mode(), Workers(on) as workers:
        nearest, step = _nearest(centroids, spherical, workers), workers.share(len(matrix), chunk, TILE)

        def look(span: slice) -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
            rows = list(torch.split(load(matrix, span, on), TILE))
            where = [nearest(tile) for tile in rows]
            far = [away(tile, near) for tile, near in zip(rows, where, strict=True)]
            return rows if sums else [], where, far

        def away(tile: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
            apart = torch.index_select(centres, 0, where, out=workers.buffer(*tile.shape)).sub_(tile)
            far = torch.linalg.vector_norm(apart, dim=1)
            return far.square_().div_(2).clamp_(max=2) if spherical else far

        for span, (rows, where, far) in workers.in_order(look, spans(len(matrix), step)):
            if total is not None:
                total.add(where, rows)
            labels[span], distance[span] = torch.cat(where).cpu().numpy(), torch.cat(far).cpu().numpy()
            if tick is not None:
                tick(span.stop - span.start)
    cost = distance if spherical else np.square(distance, dtype=np.float64)
    sizes = np.bincount(labels, minlength=len(centroids))
    return Pass(labels, distance, None if total is None else total.result(), sizes, float(cost.mean(dtype=float)))


def _nearest(centroids: np.ndarray, spherical: bool, workers: Workers) -> Callable[[torch.Tensor], torch.Tensor]:
    """The function from a tile of vectors to the numbers of their nearest centroids."""
    import torch

    k, on = len(centroids), workers.on
    origin = np.zeros(1, dtype=np.float32) if spherical else centre_of(centroids.min(0), centroids.max(0))
    around = centroids if spherical else centroids - origin
    moved = torch.from_numpy(around).to(on)
    halves = np.einsum("ij,ij->i", around, around, dtype=np.float64) / 2
    bias = None if spherical else torch.from_numpy(halves.astype(np.float32)).to(on)
    offset = torch.from_numpy(origin).to(on)
    first = _first_equal(centroids)
    same = None if (first == np.arange(k)).all() else torch.from_numpy(first).to(on)
    edges = np.linspace(0, k, -(-k // _COLUMNS) + 1).astype(int).tolist()
    parts = [(lo, moved[lo:hi], None if bias is None else bias[lo:hi]) for lo, hi in itertools.pairwise(edges)]

    def nearest(tile: torch.Tensor) -> torch.Tensor:
        points = tile if bias is None else tile - offset
        best = where = torch.empty(0, dtype=torch.float32, device=on)
        for lo, part, half in parts:
            product = torch.mm(points, part.T, out=workers.buffer(len(tile), len(part)))
            if half is not None:
                product -= half
            column = _largest(product)
            if len(parts) == 1:
                where = column
                break
            value = product.gather(1, column[:, None])[:, 0]
            where = torch.where(value > best, column + lo, where) if lo else column
            best = torch.maximum(value, best) if lo else value
        return where if same is None else same[where]

    return nearest


def _largest(product: torch.Tensor) -> torch.Tensor:
    """The column of the largest of every row, the first one of equals."""
    import torch

    if product.device.type == "cpu":  # numpy's argmax is vectorised and torch's is not: a tenth of the time
        return torch.from_numpy(product.numpy().argmax(1))
    return product.max(1).indices


class _Sums:
    """The sums of the vectors of each cluster, of eight tiles in float32 and then in float64."""

    def __init__(self, shape: tuple[int, ...], on: torch.device) -> None:
        import torch

        self.few = torch.zeros(shape, dtype=torch.float32, device=on)
        self.all = torch.zeros(shape, dtype=torch.float64, device=on)
        self.tiles = 0

    def add(self, where: list[torch.Tensor], tiles: list[torch.Tensor]) -> None:
        """Add every row to the sum of its cluster, in the order of the rows."""
        for near, tile in zip(where, tiles, strict=True):
            if self.few.device.type == "cpu":
                self.few.index_add_(0, near, tile)
            else:  # on CUDA index_add_ is a race, and index_put_, which sorts first, is not
                self.few.index_put_((near,), tile, accumulate=True)
            self.tiles += 1
            if self.tiles % _TILES_IN_FLOAT32 == 0:
                self._flush()

    def _flush(self) -> None:
        self.all += self.few
        self.few.zero_()

    def result(self) -> np.ndarray:
        """(k, d) float64."""
        self._flush()
        return self.all.cpu().numpy()


def _first_equal(centroids: np.ndarray) -> np.ndarray:
    """(k,) int64: the first centroid that equals each, itself where there is none before it.

    Products with equal centroids may differ in the last bit where the processor's kernels treat the last columns in
    another way.
    """
    plain = np.ascontiguousarray(centroids + np.float32(0))  # -0 to 0
    rows = plain.view([("", np.void, plain.itemsize * plain.shape[1])]).ravel()
    _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)
