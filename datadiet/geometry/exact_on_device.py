"""`exact.py` for an accelerator: what decides is computed in float64 there, and comes back once for many vectors.

Sums of squares are taken by `row_sums`, which gives a row the same sum whatever the rows beside it are. So equal
vectors are at equal distances, and no result depends on how many are compared at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.geometry.device_vectors import Block, DeviceVectors
from datadiet.geometry.exact import NOISE

if TYPE_CHECKING:
    import torch

__all__ = ["closest_on_device", "row_sums", "search_again_on_device", "square_distances"]


def row_sums(values: torch.Tensor) -> torch.Tensor:
    """Sums over the last dimension, which overwrite `values`.

    One half is added to the other until one number is left: the order of a library's sum depends on the shape.
    """
    width = values.shape[-1]
    while width > 1:
        half = (width + 1) // 2
        values[..., : width - half] += values[..., half:width]
        width = half
    return values[..., 0].clone()


def square_distances(left: torch.Tensor, right: torch.Tensor, exact: torch.device) -> torch.Tensor:
    """The squared distances of vectors (…, d), from differences in float64: (…,) on the device `exact`."""
    return row_sums(left.to(exact).double().sub_(right.to(exact)).square_())


def closest_on_device(
    block: Block, right: DeviceVectors, rows: torch.Tensor, unit: bool, ties: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Candidates in order of distance; of equally near ones, the lower rows or smaller `ties` come first.

    Args:
        block: b vectors.
        right: the vectors that the candidates are rows of.
        rows: (b, c) candidates of each.
        unit: as in `exact.closest`.
        ties: (m,) a number for each vector of `right`, or None.

    Returns:
        rows (b, c) and distance (b, c) float64.
    """
    import torch

    device = right.device
    step = max(1, device.at_once // (rows.shape[1] * right.matrix.dim))
    parts = []
    for tile, some in zip(block.tiles(step), torch.split(rows, step), strict=True):
        there = right.take(some.reshape(-1)).view(*some.shape, -1)
        parts.append(_distance(square_distances(there, tile[:, None], device.exact), unit))
    distance, rows = torch.cat(parts), rows.to(device.exact)
    by_tie = (rows if ties is None else ties[rows]).argsort(1)
    order = by_tie.gather(1, distance.gather(1, by_tie).argsort(dim=1, stable=True))
    return rows.gather(1, order), distance.gather(1, order)


def search_again_on_device(
    left: torch.Tensor,
    right: DeviceVectors,
    own: torch.Tensor | None,
    k: int,
    unit: bool,
    centre: torch.Tensor,
    ties: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """`exact.search_again`: the k nearest neighbours of a few vectors, by distance among all that cannot be excluded.

    Args:
        left: (b, d) float32.
        right: where to look.
        own: (b,) the rows of the vectors themselves in `right`, or None.
        k: how many.
        unit: as in `exact.closest`.
        centre: (d,) the point that Euclidean coordinates are measured from.
        ties: as in `closest_on_device`.

    Returns:
        rows (b, k) int64 and distance (b, k) float64.
    """
    import torch

    step = max(1, right.device.at_once // len(right))
    found = []
    for number, some in enumerate(torch.split(left, step)):
        row, column = _cannot_be_excluded(some, right, None if own is None else own[number * step :], k, centre)
        found.append(_nearest_pairs(some, right, row, column, k, unit, ties))
    rows, distance = (torch.cat(column) for column in zip(*found, strict=True))
    return rows, distance


def _cannot_be_excluded(
    left: torch.Tensor, right: DeviceVectors, own: torch.Tensor | None, k: int, centre: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs, by ascending rows of `left`, whose product is about that of the k-th neighbour or above."""
    import torch

    exact = right.device.exact
    middle = centre.to(exact).double()
    points, product = left.to(exact).double() - middle, []
    height = right.device.height(right.matrix.dim)
    for block in right.blocks(height):
        for tile in block.tiles(height):
            there = tile.to(exact).double() - middle
            # Unit vectors need this too: in float32 their length is 1 to seven digits only.
            product.append(points @ there.T - there.square().sum(1) / 2)
    products = torch.cat(product, 1)
    if own is not None:
        products.scatter_(1, own[: len(left), None].to(exact), -torch.inf)
    kth = products.topk(k, dim=1).values[:, -1:]
    reach = 2 * points.square().sum(1, keepdim=True) + kth.abs()  # of the order of the squared lengths near x
    row, column = (products >= kth - NOISE * reach).nonzero().unbind(1)
    return row, column


def _nearest_pairs(
    left: torch.Tensor,
    right: DeviceVectors,
    row: torch.Tensor,
    column: torch.Tensor,
    k: int,
    unit: bool,
    ties: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k nearest of the vectors that each row is paired with, at least k: rows of `right` and distances, (b, k)."""
    import torch

    exact, step = right.device.exact, max(1, right.device.at_once // right.matrix.dim)
    pairs = torch.split(row.to(left.device), step), torch.split(column.to(right.device.on), step)
    parts = [square_distances(right.take(others), left[rows], exact) for rows, others in zip(*pairs, strict=True)]
    distance = _distance(torch.cat(parts), unit)
    order = (column if ties is None else ties[column]).argsort()
    for values in (distance, row):
        order = order[values[order].argsort(stable=True)]
    first = torch.searchsorted(row[order], torch.arange(len(left), device=row.device))
    kept = order[first[:, None] + torch.arange(k, device=row.device)]
    return column[kept], distance[kept]


def _distance(square: torch.Tensor, unit: bool) -> torch.Tensor:
    return (square / 2).clamp_(max=2) if unit else square.sqrt()
