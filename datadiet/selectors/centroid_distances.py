"""One pass over vectors in clusters: how far each is from its centroid, and which are equal bit for bit.

The distance is computed in float64, not taken from k-means: one from a matrix product would order equal vectors by
chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from datadiet.geometry import Clusters, Matrix
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.exact_on_device import row_sums
from datadiet.randomness import generator
from datadiet.selectors.preference import equal_groups
from datadiet.selectors.similar_pairs import Vectors

if TYPE_CHECKING:
    import torch

__all__ = ["centroid_distances", "centroid_distances_on_device"]


def centroid_distances(matrix: Matrix, clusters: Clusters, block: int) -> tuple[np.ndarray, np.ndarray]:
    """1 - cosine to the centroid, (n,) float32, and a number for each group of equal vectors of a cluster, (n,) int64.

    Args:
        matrix: n vectors, opened with unit=True.
        clusters: of these vectors.
        block: rows read at once.
    """
    order = np.argsort(clusters.labels, kind="stable")
    distance, group, groups = np.empty(len(matrix), dtype=np.float32), np.empty(len(matrix), dtype=np.int64), 0
    for rows in np.split(order, np.flatnonzero(np.diff(clusters.labels[order])) + 1):
        centre = clusters.centroids[clusters.labels[rows[0]]].astype(np.float64)
        centre /= np.linalg.norm(centre) or 1.0
        vectors = Vectors(matrix, rows, block)
        for span in vectors.spans:
            unit = vectors[span]
            wide = unit.astype(np.float64)
            length = np.sqrt(np.einsum("ij,ij->i", wide, wide))
            distance[rows[span]] = 1 - np.einsum("ij,j->i", wide, centre) / length
        group[rows] = groups + equal_groups(row for span in vectors.spans for row in vectors[span])
        groups = int(group[rows].max()) + 1
    return distance, group


def centroid_distances_on_device(placed: DeviceVectors, clusters: Clusters) -> tuple[np.ndarray, np.ndarray]:
    """The same on an accelerator, in the order of the rows."""
    import torch

    device, on = placed.device, placed.device.on
    centres = torch.tensor(clusters.centroids, device=on, dtype=torch.float64)
    length = row_sums(centres.square()).sqrt_()
    centres /= torch.where(length > 0, length, 1)[:, None]
    labels = torch.tensor(clusters.labels, device=on, dtype=torch.int64)
    distance, hashes = [], []
    height = device.height(2 * placed.matrix.dim)
    for block in placed.blocks(height, device.at_once):
        for number, tile in enumerate(block.tiles(height)):
            start = block.span.start + number * height
            own, wide = labels[start : start + len(tile)], tile.double()
            length = row_sums(wide.square()).sqrt_()
            distance.append((1 - row_sums(wide.mul_(centres[own])) / length).float())
            hashes.append(_hashes(tile, own))
    return torch.cat(distance).cpu().numpy(), _equal(torch.cat(hashes, 1)).cpu().numpy()


def _hashes(tile: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Two numbers for each vector and its cluster: (2, m) int64.

    They are sums of products with random odd numbers, modulo 2^64. Two different vectors share both about as often as
    they would share 120 random bits.
    """
    import torch

    draws = generator(0, "equal vectors").integers(-(1 << 63), 1 << 63, size=(4, tile.shape[1]), dtype=np.int64) | 1
    words, (one, other, *weights) = tile.view(torch.int32).long(), torch.from_numpy(draws).to(tile.device)
    mixed = words * one
    mixed ^= (mixed >> 32) + other
    return torch.stack([(mixed * weight).sum(1) + labels * weight[0] for weight in weights])


def _equal(hashes: torch.Tensor) -> torch.Tensor:
    """A number for each column, the same for equal ones: (n,) int64."""
    import torch

    order = hashes[0].argsort()
    order = order[hashes[1][order].argsort(stable=True)]
    ordered = hashes[:, order]
    new = torch.zeros(len(order), dtype=torch.int64, device=order.device)
    new[1:] = (ordered[:, 1:] != ordered[:, :-1]).any(0)
    return torch.empty_like(order).scatter_(0, order, new.cumsum(0))
