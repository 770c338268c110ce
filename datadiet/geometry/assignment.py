"""One pass over all vectors: the nearest centroid of each, its distance, and the sums of the clusters.

The distance is computed from the difference of the two vectors, which does not cancel: |x - c|, or
1 - cos = |x - c|^2 / 2 for unit vectors. On an accelerator everything stays there: a pass waits for it once or twice
for each block of vectors, when it is known how many need a second look and how many change their cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from datadiet.geometry.cluster_sums import ClusterSums, mean
from datadiet.geometry.device import full_precision
from datadiet.geometry.device_vectors import Block, DeviceVectors
from datadiet.geometry.matrix import CHUNK, TILE
from datadiet.geometry.nearest_centroid import NearestCentroid
from datadiet.geometry.workers import Workers
from datadiet.randomness import Keys

if TYPE_CHECKING:
    import torch

__all__ = ["Assignment", "assignment_step"]


@dataclass(frozen=True, eq=False)
class Assignment:
    """The vectors assigned to their nearest centroids.

    Attributes:
        where: (n,) int32 on the device, the clusters.
        far: (n,) float32 on the device, 1 - cosine or Euclidean.
        sizes: (k,) int64.
        value: the mean of the distances, squared if Euclidean.
    """

    where: torch.Tensor
    far: torch.Tensor
    sizes: np.ndarray
    value: float

    @cached_property
    def labels(self) -> np.ndarray:
        """(n,) int32, the clusters."""
        return np.asarray(self.where.cpu().numpy())

    @cached_property
    def distance(self) -> np.ndarray:
        """(n,) float32, 1 - cosine or Euclidean."""
        return np.asarray(self.far.cpu().numpy())

    def farthest(self, count: int, keys: Keys) -> np.ndarray:
        """Up to `count` vectors, the farthest from their centroids first: (m,) int64.

        Never the only vector of a cluster, which would leave that one empty; and of vectors of one cluster at the same
        distance, which may be duplicates, only the one with the smallest key.
        """
        import torch

        alone = torch.from_numpy(self.sizes == 1).to(self.far.device)
        far = torch.where(alone.index_select(0, self.where), 0, self.far)
        there, asked = int((far > 0).sum()), count
        while True:
            asked = min(2 * asked, there)
            if asked == 0:
                return np.zeros(0, dtype=np.int64)
            least = far.topk(asked, sorted=False).values.min()
            rows = (far >= least).nonzero()[:, 0]  # all that are as far as the last
            label, away = self.where[rows].cpu().numpy(), far[rows].cpu().numpy()
            found = _different(label, away, rows.cpu().numpy(), keys)
            if len(found) >= count or asked == there:
                return found[:count]


def assignment_step(
    vectors: DeviceVectors,
    centroids: np.ndarray,
    spherical: bool,
    chunk: int = CHUNK,
    sums: ClusterSums | None = None,
    tick: Callable[[int], object] | None = None,
) -> Assignment:
    """Assign every vector to its nearest centroid; of equally near ones, the first.

    Args:
        vectors: n vectors; of length 1 if spherical.
        centroids: (k, d) float32; of length 1 if spherical.
        spherical: by cosine, or by Euclidean distance.
        chunk: vectors read at once on a processor, by all threads; the result is the same to the bit for any value.
        sums: of the clusters of an earlier pass over the same vectors, which become those of this one.
        tick: called with the number of vectors done since the last call.
    """
    import torch

    device, (k, d) = vectors.device, centroids.shape
    height = device.height(max(d, min(k, device.side)))
    where = torch.empty(len(vectors), dtype=torch.int32, device=device.on)
    far = torch.empty(len(vectors), dtype=torch.float32, device=device.on)
    with full_precision(), torch.inference_mode(), Workers(device) as workers:
        nearest = NearestCentroid(centroids, spherical, workers)

        def look(block: Block) -> None:
            found = [nearest.look(tile) for tile in block.tiles(height)]
            near, unsure, away = (torch.cat(column) for column in zip(*found, strict=True))
            again = unsure.nonzero()[:, 0]  # this waits for the device
            for lo in range(0, len(again), height):
                some = again[lo : lo + height]
                rows = block.take(some)
                near[some] = nearest.decide(rows)
                away[some] = nearest.distance(rows, near[some])
            where[block.span], far[block.span] = near, away
            if sums is not None:
                sums.update(block, near, height)

        step = device.at_once if device.wide else workers.share(len(vectors), chunk, TILE)
        for block, _ in workers.in_order(look, vectors.blocks(height, step)):
            if tick is not None:
                tick(len(block))
        cost = far if spherical else far.to(device.exact).double().square_()
        found = Assignment(where, far, torch.bincount(where, minlength=k).cpu().numpy(), mean(cost, device))
    if sums is not None:
        sums.labels = where
    return found


def _different(label: np.ndarray, far: np.ndarray, rows: np.ndarray, keys: Keys) -> np.ndarray:
    """The rows in descending distance; of those of one cluster at one distance, that with the smallest key."""
    order = np.lexsort((keys.draw(rows), label, -far))
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (np.diff(label[order]) != 0) | (np.diff(far[order]) != 0)
    return rows[order[new]]
