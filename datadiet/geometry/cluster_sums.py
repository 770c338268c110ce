"""The sums of the vectors of each cluster, and means, of whole numbers: nothing depends on the order of the vectors.

Each number is rounded to the finest grid with which all fit 62 bits. Integers may be added in any order and never
drift, so the sums are kept from pass to pass, and only vectors that change their cluster are added.
"""

from __future__ import annotations

import threading
from math import frexp
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import Block
from datadiet.geometry.matrix import Matrix

if TYPE_CHECKING:
    import torch

__all__ = ["ClusterSums", "mean"]

_WORTH_A_SUM = 1 << 11  # numbers of a cluster in a tile that take longer to add one vector after another


class ClusterSums:
    """The sum of the vectors of each cluster, kept from pass to pass.

    Args:
        shape: (k, d).
        matrix: the vectors.
        device: where the blocks are.

    Attributes:
        labels: (n,) integers on the device, the clusters that the sums are of before a pass; None before the first.
    """

    def __init__(self, shape: tuple[int, ...], matrix: Matrix, device: Device) -> None:
        import torch

        self.labels: torch.Tensor | None = None
        self._device, self._lock, self._own = device, threading.Lock(), threading.local()
        self._total = torch.zeros(shape, dtype=torch.int64, device=device.exact)
        self._unit = _unit_of(matrix.longest, len(matrix))

    def update(self, block: Block, where: torch.Tensor, height: int) -> None:
        """Put the vectors of a block into the clusters `where` (m,) int64. Several threads may do so."""
        import torch

        if self.labels is None:
            for tile, near in zip(block.tiles(height), torch.split(where, height), strict=True):
                if self._device.wide or tile.numel() < _WORTH_A_SUM * len(self._total):
                    self._add(self._whole(tile), near)
                else:
                    self._add_each_cluster(tile, near)
            return
        before = self.labels[block.span].to(where)
        changed = (before != where).nonzero()[:, 0]
        for lo in range(0, len(changed), height):
            rows = changed[lo : lo + height]
            whole = self._whole(block.take(rows))
            self._add(whole, where[rows])
            self._add(whole, before[rows], -1)

    def result(self) -> np.ndarray:
        """(k, d) float64."""
        return self._total.cpu().numpy() / self._unit

    def _whole(self, rows: torch.Tensor) -> torch.Tensor:
        """Each number in units of the grid, rounded towards 0; on a processor, until the thread asks again."""
        import torch

        if self._device.wide:
            return rows.to(self._device.exact).double().mul_(self._unit).long()
        wide, whole = self._buffer(torch.float64, *rows.shape), self._buffer(torch.int64, *rows.shape)
        return whole.copy_(wide.copy_(rows).mul_(self._unit))

    def _add(self, whole: torch.Tensor, to: torch.Tensor, sign: int = 1) -> None:
        with self._lock:
            self._total.index_add_(0, to.to(whole.device), whole, alpha=sign)

    def _add_each_cluster(self, tile: torch.Tensor, to: torch.Tensor) -> None:
        """As `_add`, where clusters have several vectors in the tile: a third of the time of adding them one by one."""
        import torch

        labels, order = to.sort()
        rows = torch.index_select(tile, 0, order, out=self._buffer(torch.float32, *tile.shape))
        whole = self._whole(rows).numpy()
        clusters, starts = np.unique(labels.numpy(), return_index=True)
        ends = [*starts[1:].tolist(), len(whole)]
        sums = np.stack([whole[lo:hi].sum(0) for lo, hi in zip(starts.tolist(), ends, strict=True)])
        self._add(torch.from_numpy(sums), torch.from_numpy(clusters))

    def _buffer(self, dtype: torch.dtype, rows: int, width: int) -> torch.Tensor:
        """Memory of the calling thread: new memory for each tile would take longer than the work on it."""
        import torch

        held: dict[Any, torch.Tensor] = self._own.__dict__.setdefault("held", {})
        if dtype not in held or len(held[dtype]) < rows:
            held[dtype] = torch.empty(rows, width, dtype=dtype)
        return held[dtype][:rows]


def mean(values: torch.Tensor, device: Device) -> float:
    """The mean of non-negative numbers.

    Args:
        values: (n,) float32 or float64.
        device: where float64 is.
    """
    values = values.to(device.exact).double()
    unit = _unit_of(float(values.max()), len(values))
    return int((values * unit).round_().long().sum()) / unit / len(values)


def _unit_of(largest: float, n: int) -> float:
    """The power of two u such that n numbers of at most that size, times u and rounded, sum to less than 2^62.

    >>> _unit_of(1.0, 1024) == 2.0**50
    True
    """
    return 2.0 ** (62 - n.bit_length() - (frexp(largest)[1] if largest else 0))
