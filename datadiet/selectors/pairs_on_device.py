"""Pairs of similar vectors on an accelerator: products of wide blocks and decisions in float64, both there.

A block may hold many small clusters: only pairs of one cluster count. What is found comes back once for each pair of
blocks. The similarity of two vectors does not depend on which others are in their blocks.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from datadiet.geometry.device import Device, full_precision
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.exact_on_device import row_sums
from datadiet.selectors.similar_pairs import CHEAPER_WHOLE, EXACT, ZERO, Pairs, slack

if TYPE_CHECKING:
    import torch

__all__ = ["DeviceBlock", "PlacedVectors"]

_HELD = 8  # how many of the device's working sets of vectors are gathered at once


class PlacedVectors:
    """Some rows of a matrix on an accelerator, in a given order: `OrderedVectors`.

    Args:
        placed: the matrix, opened with unit=True.
        rows: (m,) int64, the clusters one after another.
        sizes: (c,) of the clusters: only pairs of one cluster count.
        block: the least rows in a block.
    """

    def __init__(self, placed: DeviceVectors, rows: np.ndarray, sizes: np.ndarray, block: int) -> None:
        import torch

        device = placed.device
        self.block = max(block, device.side)
        self._placed, self._starts = placed, np.concatenate([[0], np.cumsum(sizes)])
        self._rows = torch.from_numpy(rows).to(device.on)
        self._group = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(device.on)
        fits = len(rows) * placed.matrix.dim <= _HELD * device.at_once
        self._held = placed.take(self._rows) if fits else None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def spans(self) -> list[slice]:
        """The blocks, as slices."""
        return [slice(lo, min(lo + self.block, len(self))) for lo in range(0, len(self), self.block)]

    def before(self, later: slice) -> list[slice]:
        """The blocks up to a given one, this included, from the first with a vector of a cluster that it has too."""
        first = self._starts[np.searchsorted(self._starts, later.start, side="right") - 1]
        return self.spans[first // self.block : later.start // self.block + 1]

    def at(self, span: slice, look: np.ndarray | None = None) -> DeviceBlock:
        """The vectors of a block, or some of them."""
        import torch

        unit = self._placed.take(self._rows[span]) if self._held is None else self._held[span]
        group = self._group[span]
        if look is not None and len(look) < len(unit):
            some = torch.from_numpy(look).to(unit.device)
            unit, group = unit[some], group[some]
        return DeviceBlock(unit, group, self._placed.device)


class DeviceBlock:
    """Unit vectors on a device.

    Args:
        unit: (m, d) float32.
        group: (m,) int64, the cluster of each.
        device: where they are; it has float64.
    """

    def __init__(self, unit: torch.Tensor, group: torch.Tensor, device: Device) -> None:
        self.unit, self.group, self.device = unit, group, device

    def __len__(self) -> int:
        return len(self.unit)

    def above(
        self, right: DeviceBlock, floor: np.float32, low: tuple[np.ndarray, np.ndarray] | None, triangle: bool
    ) -> Pairs:
        """The pairs above a floor, as those of a block on the CPU."""
        import torch

        product = self._product(right, triangle)
        near = product > float(floor) - self._slack
        if low is not None:
            left_low, right_low = (torch.from_numpy(values).to(product.device) for values in low)
            near &= product >= torch.minimum(left_low[:, None], right_low) - self._slack
        i, j, similarity = self._similar(right, near)
        over = similarity > floor
        return i[over], j[over], similarity[over]

    def most_similar(self, right: DeviceBlock, best: np.ndarray, triangle: bool) -> Pairs:
        """Some pairs, with the most similar one of each left vector, as those of a block on the CPU."""
        import torch

        product, known = self._product(right, triangle), torch.from_numpy(best).to(self.unit.device)
        top = product.amax(1)
        live = (top >= known - self._slack) & (top > -torch.inf)
        # The highest similarity is at least top - slack, so the product of that pair is at least top - 2 slack.
        floor = torch.maximum(known, top - self._slack) - self._slack
        return self._similar(right, live[:, None] & (product >= floor[:, None]))

    @property
    def _slack(self) -> float:
        return slack(self.unit.shape[1])

    @cached_property
    def _exact(self) -> torch.Tensor:
        wide = self.unit.double()
        return wide / row_sums(wide.square()).sqrt_()[:, None]

    def _product(self, right: DeviceBlock, triangle: bool) -> torch.Tensor:
        """(m, k) float32; -inf between clusters and, with `triangle`, where right does not come before left."""
        import torch

        with full_precision():
            product = torch.mm(self.unit, right.unit.T)
        if triangle:
            product.masked_fill_(torch.ones_like(product, dtype=torch.bool).triu_(), -torch.inf)
        return product.masked_fill_(self.group[:, None] != right.group, -torch.inf)

    def _similar(self, right: DeviceBlock, near: torch.Tensor) -> Pairs:
        """The pairs with their similarity, in numpy."""
        import torch

        i, j = near.nonzero().unbind(1)
        similarity = self._similarity(right, i, j).cpu().numpy()
        left, other = torch.stack([i, j]).cpu().numpy()
        return left, other, similarity

    def _similarity(self, right: DeviceBlock, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        if len(i) * CHEAPER_WHOLE < len(self) * len(right):
            return self._one_by_one(right, i, j)
        whole = (self._exact @ right._exact.T)[i, j]
        out, other = _rounded(whole - EXACT), _rounded(whole + EXACT)
        unsure = (out != other).nonzero()[:, 0]
        out[unsure] = self._one_by_one(right, i[unsure], j[unsure])
        return out

    def _one_by_one(self, right: DeviceBlock, i: torch.Tensor, j: torch.Tensor) -> torch.Tensor:
        import torch

        step = max(1, self.device.at_once // self.unit.shape[1])
        pairs = zip(torch.split(i, step), torch.split(j, step), strict=True)
        return _rounded(torch.cat([row_sums(self._exact[a] * right._exact[b]) for a, b in pairs]))


def _rounded(wide: torch.Tensor) -> torch.Tensor:
    out = wide.float()
    return out.masked_fill_(out.abs() < float(ZERO), 0)
