"""n vectors in clusters, each cluster ordered by preference, and the passes over them that find near-duplicates.

A pass reads the vectors once, one cluster at a time, and holds no more than one cluster. Vectors that are equal bit for
bit are found first: all other vectors are equally similar to them, so only the most preferred of them enters matrix
products, and thousands of copies of one picture cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Clusters, Matrix
from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.matrix import CHUNK
from datadiet.progress import progress_bar
from datadiet.randomness import Keys
from datadiet.selectors.centroid_distances import centroid_distances, centroid_distances_on_device
from datadiet.selectors.clustered import clustered
from datadiet.selectors.duplicate_rules import components, greedy
from datadiet.selectors.greedy_sizes import changes, changes_at, few_pairs
from datadiet.selectors.pairs_on_device import PlacedVectors
from datadiet.selectors.preference import (
    Preference,
    by_preference,
    check_preference,
    firsts,
    inverse_order,
)
from datadiet.selectors.similar_pairs import BLOCK, OrderedVectors, Pairs, Vectors, nearest_earlier

__all__ = ["OrderedClusters", "below", "default_clusters"]

_EXACT = 1 << 14
_THRESHOLDS = 32  # for clusters with very many pairs
_SHARES = (0.97, 0.94, 0.9, 0.85, 0.8, 0.7, 0.6, 0.5, 0.3, 0.1)


def below(similarity: np.ndarray | np.float32) -> Any:
    """The next lower float32: "more than this" means "at least the similarity"; for -inf, -2, which is below all."""
    return np.nextafter(np.maximum(similarity, np.float32(-2)), np.float32(-2), dtype=np.float32)


def _above(threshold: np.ndarray) -> np.ndarray:
    return np.nextafter(threshold, np.float32(2), dtype=np.float32)


def _grid(crowded: list[OrderedVectors], floor: np.float32) -> np.ndarray:
    """Some thresholds down to the floor, descending, at which chain removes more and more of these vectors."""
    nearest = np.sort(np.concatenate([nearest_earlier(vectors)[1] for vectors in crowded]))
    nearest = nearest[nearest > floor]
    some = below(nearest[np.linspace(0, len(nearest) - 1, _THRESHOLDS).astype(np.int64)])
    return np.unique(np.append(some, floor))[::-1]


def default_clusters(n: int) -> int:
    """1 up to 16,384 vectors, so that all pairs are compared; above, sqrt(n / 50).

    25 rounds of k-means take 50 n k d operations and the pairs n^2 d / k: at sqrt(n / 50) both cost the same.

    >>> default_clusters(16_384), default_clusters(1_000_000)
    (1, 141)
    """
    return 1 if n <= _EXACT else round((n / 50) ** 0.5)


@dataclass(frozen=True, eq=False)
class OrderedClusters:
    """Vectors in ordered clusters; make them with `OrderedClusters.of`.

    Attributes:
        matrix: the vectors, of unit length.
        labels: (n,) the cluster of each.
        place: (n,) int64, its place in the order of preference of all n, 0 for the most preferred.
        original: (n,) int64, the most preferred row of the cluster with an equal vector: usually the row itself.
        block: how many rows go into a product.
        placed: the vectors on an accelerator, or None without one.
    """

    matrix: Matrix
    labels: np.ndarray
    place: np.ndarray
    original: np.ndarray
    block: int
    placed: DeviceVectors | None

    @classmethod
    def of(
        cls,
        embeddings: Any,
        clusters: int | Clusters | None = None,
        *,
        keys: Keys,
        prefer: Preference = "hardest",
        hardness: np.ndarray | None = None,
        block: int = BLOCK,
    ) -> OrderedClusters:
        """Cluster, order and find equal vectors; the arguments are those of `semdedup`."""
        if not isinstance(block, (int, np.integer)) or block < 1:
            raise OptionError(f"block={block!r}: give a whole number of rows of at least 1.")
        matrix = Matrix.open(embeddings, unit=True)
        value = check_preference(prefer, hardness, len(matrix))
        device = Device.accelerator()
        placed = None if device is None else DeviceVectors(matrix, device, CHUNK)
        found = clustered(placed or matrix, clusters, keys, default_clusters(len(matrix)))
        if placed is None:
            distance, group = centroid_distances(matrix, found, block)
        else:
            distance, group = centroid_distances_on_device(placed, found)
        order = by_preference(distance if value is None else value, prefer, keys)
        return cls(matrix, found.labels, inverse_order(order), firsts(group, order), block, placed)

    def __len__(self) -> int:
        return len(self.place)

    @cached_property
    def copies(self) -> np.ndarray:
        """The rows that are equal to a more preferred one of their cluster."""
        return np.flatnonzero(self.original != np.arange(len(self)))

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """The rows of each cluster except copies, in order of preference; clusters without rows are left out."""
        order = np.lexsort((self.place, self.labels))
        order = order[self.original[order] == order]
        return np.split(order, np.flatnonzero(np.diff(self.labels[order])) + 1)

    def _vectors(self, *groups: np.ndarray) -> OrderedVectors:
        rows = np.concatenate(groups)
        if self.placed is None:
            return Vectors(self.matrix, rows, self.block)
        return PlacedVectors(self.placed, rows, np.array([len(group) for group in groups]), self.block)

    def _each(self) -> Iterator[tuple[np.ndarray, OrderedVectors]]:
        """The rows and vectors of each group, with a progress bar over them."""
        with progress_bar("pairs", sum(map(len, self.groups)), True) as bar:
            for rows in self.groups:
                yield rows, self._vectors(rows)
                bar.update(len(rows))

    def _together(self) -> Iterator[tuple[np.ndarray, OrderedVectors]]:
        """The same, on an accelerator with many groups at once: it compares only those of one group."""
        if self.placed is None:
            yield from self._each()
            return
        sizes = np.array([len(rows) for rows in self.groups])
        most = max(1, self.placed.device.at_once // self.matrix.dim)
        parts = np.split(np.arange(len(sizes)), np.flatnonzero(np.diff(np.cumsum(sizes) // most)) + 1)
        with progress_bar("pairs", int(sizes.sum()), True) as bar:
            for part in parts:
                groups = [self.groups[i] for i in part]
                yield np.concatenate(groups), self._vectors(*groups)
                bar.update(int(sizes[part].sum()))

    @cached_property
    def nearest_earlier(self) -> tuple[np.ndarray, np.ndarray]:
        """For each row, the most similar row of its cluster among the more preferred ones.

        Returns:
            (n,) int64, -1 for the first of a cluster; (n,) float32 similarity, -inf for the first.
        """
        witness, similarity = np.full(len(self), -1), np.full(len(self), -np.inf, dtype=np.float32)
        for rows, vectors in self._together():
            who, best = nearest_earlier(vectors)
            witness[rows], similarity[rows] = np.where(who >= 0, rows[who], -1), best
        of = self.original[self.copies]
        witness[self.copies] = np.where(similarity[of] == 1, witness[of], of)
        similarity[self.copies] = 1
        return witness, similarity

    def greedy(self, floors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For (t,) float32 thresholds, the row that removes each row.

        Returns:
            (t, n) int64, -1 for what is kept; (t, n) float32 similarity, -inf for what is kept. Of equal rows only the
            first is decided; it is the witness of the others if it is kept, else they share its witness.
        """
        shape = len(floors), len(self)
        witness, similarity = np.full(shape, -1), np.full(shape, -np.inf, dtype=np.float32)
        for rows, vectors in self._together():
            who, best = greedy(vectors, floors)
            witness[:, rows], similarity[:, rows] = np.where(who >= 0, rows[who], -1), best
        of, below = self.original[self.copies], (floors < 1)[:, None]
        kept = witness[:, of] < 0
        witness[:, self.copies] = np.where(kept & below, of, witness[:, of])
        similarity[:, self.copies] = np.where(kept & below, 1, similarity[:, of])
        return witness, similarity

    def greedy_sizes(self, floor: np.float32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """How many rows greedy keeps, at each similarity from the highest down to the floor.

        Returns:
            (s,) float32 similarities, descending; (s,) int64, the number kept if pairs of at least that similarity are
            duplicates; (s,) bool, whether that is certain. Clusters with very many pairs are run at some thresholds
            only.
        """
        at, change = [1.0] * bool(len(self.copies)), [-len(self.copies)] * bool(len(self.copies))
        crowded = []
        for rows, vectors in self._each():
            pairs = few_pairs(vectors, floor)
            if pairs is None:
                crowded.append(vectors)
            else:
                more = changes(len(rows), pairs)
                at += more[0]
                change += more[1]
        grid = _above(_grid(crowded, floor)) if crowded else np.zeros(0, dtype=np.float32)
        for vectors in crowded:
            at += grid.tolist()
            change += changes_at(vectors, below(grid))
        similarity, inverse = np.unique(np.array(at, dtype=np.float32), return_inverse=True)
        steps = np.bincount(inverse, weights=change, minlength=len(similarity)).astype(np.int64)
        certain = np.isin(similarity, grid) if crowded else np.ones(len(similarity), dtype=bool)
        return similarity[::-1], len(self) + np.cumsum(steps[::-1]), certain[::-1]

    def floors(self, k: int, *, for_greedy: bool) -> Iterator[np.float32]:
        """Ever lower thresholds; from the first on, components or greedy keeps about k or fewer of all n rows.

        They are estimated on 8 to 12 evenly spaced clusters, or on all if there are fewer than 16. Chain is run there,
        which keeps no fewer rows than components and no more than greedy; for greedy, greedy is run there too, at
        thresholds at which chain keeps fewer and fewer.
        """
        sample = [self._vectors(rows) for rows in self.groups[:: max(1, len(self.groups) // 8)]]
        nearest = np.sort(np.concatenate([nearest_earlier(vectors)[1] for vectors in sample]))
        wanted = k / (len(self) - len(self.copies)) * len(nearest)
        floors = np.array([below(nearest[min(int(wanted * share), len(nearest) - 1)]) for share in _SHARES])
        if for_greedy:
            kept = sum((greedy(vectors, floors)[0] < 0).sum(axis=1) for vectors in sample)
            floors = floors[kept <= wanted]
        yield from floors
        yield np.float32(-2)

    def forest(self, floor: np.float32) -> Pairs:
        """A maximum spanning forest of the pairs above a floor and of equal rows, by descending similarity.

        Returns:
            (later, earlier, similarity); of equally similar pairs, those of the most preferred earlier row come first,
            and of these the one whose later row is least preferred.
        """
        parts = []
        for rows, vectors in self._together():
            later, earlier, similarity = components(vectors, floor)
            parts.append((rows[later], rows[earlier], similarity))
        parts.append((self.copies, self.original[self.copies], np.ones(len(self.copies), dtype=np.float32)))
        later, earlier, similarity = (np.concatenate(column) for column in zip(*parts, strict=True))
        order = np.lexsort((-self.place[later], self.place[earlier], -similarity))
        return later[order], earlier[order], similarity[order]
