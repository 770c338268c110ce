"""The largest inner products of vectors, in float32 tiles: the candidates for their nearest neighbours."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from datadiet.geometry.device import full_precision
from datadiet.geometry.device_vectors import Block, DeviceVectors
from datadiet.geometry.matrix import TILE, centre_of
from datadiet.geometry.workers import Workers

if TYPE_CHECKING:
    import torch

__all__ = ["TopProducts"]

_LEAST = 128  # the fewest rows of `left` that are worth a thread


class TopProducts:
    """The `count` vectors with the largest `x.y`, or `x.y - |y|^2 / 2`, for vectors x of a block.

    Args:
        right: m vectors y.
        count: how many candidates for each; at most m, or m - 1 with `others`.
        unit: whether vectors have length 1; otherwise both are measured from `centre`.
        others: whether the blocks are of the same vectors, so that none may be its own candidate.
        chunk: vectors read at once on a processor.

    Attributes:
        centre: (d,) float32.
    """

    def __init__(self, right: DeviceVectors, count: int, unit: bool, others: bool, chunk: int) -> None:
        import torch

        self.right, self.count, self.unit, self.others = right, count, unit, others
        self.chunk, self.device = max(1, chunk // TILE) * TILE, right.device
        self.centre = np.zeros(right.matrix.dim, dtype=np.float32) if unit else _centre(right, self.chunk)
        self._moved = torch.from_numpy(self.centre).to(self.device.on)

    @property
    def height(self) -> int:
        """The rows of `left` in a product."""
        return self.device.side if self.device.wide else TILE

    def of(self, block: Block) -> tuple[torch.Tensor, torch.Tensor]:
        """The candidates of the vectors of a block, which starts at a multiple of `height`.

        Returns:
            rows (b, count) int64, the largest product first, and last (b,) float32, the smallest of these products.
        """
        import torch

        with full_precision(), torch.inference_mode(), Workers(self.device) as workers:
            least = TILE if self.device.wide else _LEAST
            height = self.height if self.device.wide else min(TILE, workers.share(len(block), self.chunk, least))
            mine = [
                _Best(number * height, self._points(tile).clone(), self.count, self.device.wide)
                for number, tile in enumerate(block.tiles(height))
            ]
            width = self.device.height(self.height)
            for other in self.right.blocks(width, self.chunk):
                for number, tile in enumerate(other.tiles(width)):
                    points, start = self._points(tile), other.span.start + number * width
                    half = None if self.unit else self._half_squares(points)
                    compare = partial(self._compare, workers, points, half, start, block.span.start)
                    deque(workers.in_order(compare, mine), maxlen=0)
            rows = torch.cat([best.rows for best in mine])
            last = torch.cat([best.values[:, -1] for best in mine])
        return rows, last

    def _compare(
        self, workers: Workers, points: torch.Tensor, half: torch.Tensor | None, start: int, own: int, best: _Best
    ) -> None:
        """Products of some vectors of the block that begins at row `own` with the points from `start` on."""
        import torch

        shape = len(best.points), len(points)
        buffer = workers.buffer(self.height, self.device.height(self.height)).view(-1)[: shape[0] * shape[1]]
        product = torch.mm(best.points, points.T, out=buffer.view(shape))
        if half is not None:
            product -= half
        place = own + best.start - start  # of the first of these rows among the points
        if self.others and -shape[0] < place < shape[1]:
            product.diagonal(place).fill_(-torch.inf)
        best.take(product, start)

    def _points(self, tile: torch.Tensor) -> torch.Tensor:
        return tile if self.unit else tile - self._moved

    def _half_squares(self, points: torch.Tensor) -> torch.Tensor:
        wide = points.to(self.device.exact).double()
        return wide.square().sum(1).div(2).float().to(points.device)


class _Best:
    """The largest products so far of one tile of vectors."""

    def __init__(self, start: int, points: torch.Tensor, count: int, wide: bool) -> None:
        import torch

        self.start, self.points, self.count, self.wide = start, points, count, wide
        self.values = torch.full((len(points), count), -torch.inf, device=points.device, dtype=torch.float32)
        self.rows = torch.zeros(self.values.shape, dtype=torch.int64, device=points.device)

    def take(self, product: torch.Tensor, start: int) -> None:
        """Merge in the products with the vectors from row `start` on."""
        import torch

        if self.wide:
            values, columns = _largest(product, min(self.count, product.shape[1]))
            values = torch.cat([self.values, values], 1)
            self.values, kept = values.topk(self.count, dim=1)
            self.rows = torch.cat([self.rows, columns + start], 1).gather(1, kept)
        elif start == 0:
            some = slice(min(self.count, product.shape[1]))
            self.values[:, some], self.rows[:, some] = product.topk(some.stop, dim=1)
        else:
            self._take_above(product, start)

    def _take_above(self, product: torch.Tensor, start: int) -> None:
        """Merge on a processor.

        After the first tile few products are large enough. One comparison finds them, at a tenth of the cost of the
        product; torch's topk of a whole tile costs several times the product.
        """
        import torch

        width = product.shape[1]
        # numpy is several times faster than torch here.
        place = torch.from_numpy(np.flatnonzero(product.numpy() > self.values[:, -1].numpy()[:, None]))
        if len(place) == 0:
            return
        row, count = torch.unique_consecutive(place // width, return_counts=True)
        first = count.cumsum(0) - count
        at = torch.arange(len(row)).repeat_interleave(count)
        nth = torch.arange(len(place)) - first[at]
        shape = len(row), self.count + int(count.max())
        values = torch.full(shape, -torch.inf, dtype=torch.float32)
        rows = torch.zeros(shape, dtype=torch.int64)
        values[:, : self.count], rows[:, : self.count] = self.values[row], self.rows[row]
        values[at, self.count + nth], rows[at, self.count + nth] = product.view(-1)[place], place % width + start
        kept = values.topk(self.count, dim=1)
        self.values[row], self.rows[row] = kept.values, rows.gather(1, kept.indices)


def _largest(product: torch.Tensor, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The `count` largest entries of each row, in any order, without waiting for the device: values and columns.

    They are in those `count` groups of columns whose maxima are largest. The maxima take one reading; topk, which takes
    many, then sees sqrt(count / width) of the entries twice.
    """
    import torch

    width = product.shape[1]
    each = 1 << (width // count).bit_length() // 2  # columns in a group
    groups = width // each
    if each < 4 or groups <= count:
        values, columns = product.topk(count, dim=1, sorted=False)
        return values, columns
    grouped = product[:, : groups * each].view(len(product), each, groups)  # column j is in group j % groups
    chosen = grouped.amax(1).topk(count, dim=1, sorted=False).indices
    steps = groups * torch.arange(each, device=product.device)
    some = (chosen[:, None, :] + steps[:, None]).flatten(1)
    rest = torch.arange(groups * each, width, device=product.device).expand(len(product), -1)
    some = torch.cat([some, rest], 1)
    values, place = product.gather(1, some).topk(count, dim=1, sorted=False)
    return values, some.gather(1, place)


def _centre(right: DeviceVectors, chunk: int) -> np.ndarray:
    """A point amid the vectors."""
    import torch

    low, high = np.full(right.matrix.dim, np.inf), np.full(right.matrix.dim, -np.inf)
    if not right.device.wide:
        for _, rows in right.matrix.blocks(chunk):
            np.minimum(low, rows.min(0), out=low)
            np.maximum(high, rows.max(0), out=high)
        return centre_of(low, high)
    height = right.device.height(right.matrix.dim)
    parts = [torch.stack(tile.aminmax(dim=0)) for block in right.blocks(height, chunk) for tile in block.tiles(height)]
    found = torch.stack(parts)
    return centre_of(found[:, 0].amin(0).cpu().numpy(), found[:, 1].amax(0).cpu().numpy())
