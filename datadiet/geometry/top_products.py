"""The largest inner products of vectors, in float32 tiles: the candidates for their nearest neighbours."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from datadiet.geometry.matrix import TILE, Matrix
from datadiet.geometry.tiles import centre_of, full_precision, load, tiles, torch_device
from datadiet.geometry.workers import Workers

if TYPE_CHECKING:
    import torch

__all__ = ["TopProducts"]

_LEAST = 128  # the fewest rows of `left` that are worth a thread


class TopProducts:
    """The `count` vectors of `right` with the largest `x.y`, or `x.y - |y|^2 / 2`, for vectors x of `left`.

    Attributes:
        left: n vectors.
        right: m vectors.
        count: how many candidates for each; at most m, or m - 1 with `others`.
        unit: whether vectors have length 1; otherwise both are measured from `centre`.
        others: whether left and right are the same vectors, so that none may be its own candidate.
        centre: (d,) float32.
    """

    def __init__(
        self, left: Matrix, right: Matrix, count: int, unit: bool, others: bool, chunk: int, device: str
    ) -> None:
        self.left, self.right, self.count, self.unit, self.others = left, right, count, unit, others
        self.chunk, self.on = max(1, chunk // TILE) * TILE, torch_device(device)
        self.centre = np.zeros(right.dim, dtype=np.float32) if unit else _centre(right, self.chunk)

    def of(self, span: slice) -> tuple[np.ndarray, np.ndarray]:
        """The candidates of the rows of `span`, which starts at a multiple of TILE.

        Returns:
            rows (b, count) int64, the largest product first, and last (b,) float32, the smallest of these products.
        """
        import torch

        with full_precision(), torch.inference_mode(), Workers(self.on) as workers:
            height = min(TILE, workers.share(span.stop - span.start, self.chunk, _LEAST))
            parts = torch.split(self._points(load(self.left, span, self.on)), height)
            mine = [_Best(number * height, points, self.count) for number, points in enumerate(parts)]
            for where, tile in tiles(self.right, self.chunk, self.on):
                points = self._points(tile)
                half = None if self.unit else points.double().square().sum(1).div(2).float()
                compare = partial(self._compare, workers, points, half, where.start, span.start)
                deque(workers.in_order(compare, mine), maxlen=0)
            rows = torch.cat([best.rows for best in mine])
            last = torch.cat([best.values[:, -1] for best in mine])
        return rows.cpu().numpy(), last.cpu().numpy()

    def _compare(
        self, workers: Workers, points: torch.Tensor, half: torch.Tensor | None, start: int, own: int, best: _Best
    ) -> None:
        """Products of some vectors of the chunk that begins at row `own` with the points from `start` on."""
        import torch

        shape = len(best.points), len(points)
        buffer = workers.buffer(TILE, TILE).view(-1)[: shape[0] * shape[1]].view(shape)
        product = torch.mm(best.points, points.T, out=buffer)
        if half is not None:
            product -= half
        place = own + best.start - start  # of the first of these rows among the points
        if self.others and -shape[0] < place < shape[1]:
            product.diagonal(place).fill_(-torch.inf)
        best.take(product, start)

    def _points(self, tile: torch.Tensor) -> torch.Tensor:
        import torch

        return tile if self.unit else tile - torch.from_numpy(self.centre).to(self.on)


class _Best:
    """The largest products so far of one tile of vectors."""

    def __init__(self, start: int, points: torch.Tensor, count: int) -> None:
        import torch

        self.start, self.points, self.count = start, points, count
        self.values = torch.full((len(points), count), -torch.inf, device=points.device, dtype=torch.float32)
        self.rows = torch.zeros(self.values.shape, dtype=torch.int64, device=points.device)

    def take(self, product: torch.Tensor, start: int) -> None:
        """Merge in the products with the TILE vectors from row `start` on.

        After the first tile few products are large enough. One comparison finds them, at a tenth of the cost of the
        product; torch's topk of a whole tile costs several times the product.
        """
        import torch

        width = product.shape[1]
        if start == 0:
            some = slice(min(self.count, width))
            self.values[:, some], self.rows[:, some] = product.topk(some.stop, dim=1)
            return
        place = _above(product, self.values[:, -1])
        if len(place) == 0:
            return
        row, count = torch.unique_consecutive(place // width, return_counts=True)
        first = count.cumsum(0) - count
        at = torch.arange(len(row), device=place.device).repeat_interleave(count)
        nth = torch.arange(len(place), device=place.device) - first[at]
        shape = len(row), self.count + int(count.max())
        values = torch.full(shape, -torch.inf, device=place.device, dtype=torch.float32)
        rows = torch.zeros(shape, dtype=torch.int64, device=place.device)
        values[:, : self.count], rows[:, : self.count] = self.values[row], self.rows[row]
        values[at, self.count + nth], rows[at, self.count + nth] = product.view(-1)[place], place % width + start
        kept = values.topk(self.count, dim=1)
        self.values[row], self.rows[row] = kept.values, rows.gather(1, kept.indices)


def _above(product: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """The flat positions, ascending, of the entries above the value of their row."""
    import torch

    if product.device.type == "cpu":  # numpy is several times faster than torch here
        return torch.from_numpy(np.flatnonzero(product.numpy() > least.numpy()[:, None]))
    return (product > least[:, None]).view(-1).nonzero()[:, 0]


def _centre(matrix: Matrix, chunk: int) -> np.ndarray:
    low, high = np.full(matrix.dim, np.inf), np.full(matrix.dim, -np.inf)
    for _, block in matrix.blocks(chunk):
        np.minimum(low, block.min(0), out=low)
        np.maximum(high, block.max(0), out=high)
    return centre_of(low, high)
