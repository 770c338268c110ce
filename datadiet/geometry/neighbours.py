"""The nearest neighbours of every vector, exactly, by blocked matrix products.

The candidates of a vector are slightly more than k others, with the largest `x.y`, or `x.y - |y|^2 / 2`, in float32
tiles; their distances are then computed from differences in float64, and the k nearest are kept. If the last candidate
is so near to the k-th neighbour that rounding may have left one out, as among many copies, that vector is searched
again in float64 (`exact.py`).

Cost: for n vectors among m, 2 n m d operations, n / chunk passes over the m, and 12 n k + 8 chunk * d bytes of memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.arrays import as_array, numbers
from datadiet.errors import DataError, OptionError
from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import Block, DeviceVectors
from datadiet.geometry.exact import closest, search_again
from datadiet.geometry.exact_on_device import closest_on_device, search_again_on_device
from datadiet.geometry.matrix import CHUNK, Matrix, Metric, is_cosine
from datadiet.geometry.top_products import TopProducts
from datadiet.parameters import check_whole
from datadiet.progress import progress_bar

if TYPE_CHECKING:
    import torch

__all__ = ["nearest"]


def nearest(
    embeddings: Any,
    k: int,
    *,
    among: Any = None,
    within: np.ndarray | None = None,
    ties: np.ndarray | None = None,
    metric: Metric = "cosine",
    chunk: int = CHUNK,
    device: str = "auto",
    progress: bool = False,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest neighbours of each vector; of equally near ones, the lower rows or the first by `ties`.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped, or a `Matrix`.
        k: how many, at least 1 and at most as many as there are to choose from.
        among: (m, d), where to look; None = the other vectors of `embeddings`.
        within: (n,) integers: look only among the vectors with the same number, such as the class.
        ties: distinct numbers, one for each vector to choose from: of equally near ones, the smaller come first, so
            that a selector can use its keys. None = the rows themselves.
        metric: distance: 1 - cosine, in [0, 2], or Euclidean.
        chunk: vectors held at once; the result is the same to the bit for any value.
        device: "auto" or a torch device.
        progress: show a bar if stderr is a terminal.

    Returns:
        rows (n, k) int64, the nearest first, and distance (n, k) float32, 0 for copies.

    Raises:
        OptionError: fewer than k to choose from, or another invalid argument.
        DataError: vectors of the wrong shape or type, or `among` of another dimension.
        BadVector: a vector that is not finite, or all zeros where the metric is the cosine.

    >>> rows, distance = nearest(np.array([[0.0], [1.0], [3.0], [1.0]]), 2, metric="euclidean")
    >>> rows.tolist(), distance[0].tolist(), distance[1].tolist()
    ([[1, 3], [3, 0], [1, 3], [1, 0]], [1.0, 1.0], [0.0, 1.0])
    """
    unit = is_cosine(metric)
    check_whole("k", k)
    check_whole("chunk", chunk)
    if among is not None and within is not None:
        raise OptionError("among and within were both given: give one of the two.")
    left = Matrix.open(embeddings, unit=unit)
    right = left if among is None else Matrix.open(among, unit=unit)
    if left.dim != right.dim:
        raise DataError(f"vectors of {left.dim} dimensions among vectors of {right.dim}: give one embedding for both.")
    ties = None if ties is None else numbers("ties", ties, "...")
    if ties is not None and ties.shape != (len(right),):
        raise OptionError(
            f"ties of shape {ties.shape}: give one number for each of {len(right)} vectors to choose from."
        )
    rows, distance = np.empty((len(left), k), dtype=np.int64), np.empty((len(left), k), dtype=np.float32)
    with progress_bar("neighbours", len(left), progress) as bar:
        search = _Search(k, unit, chunk, Device.named(device), bar.update)
        for group, what in _groups(within, len(left)):
            one = left if group is None else left.part(group)
            other = right if group is None else one
            if k > len(other) - (among is None):
                raise OptionError(f"{k} neighbours among {len(other)} vectors{what}: give a smaller k.")
            drawn = ties if ties is None or group is None else ties[group]
            for span, near, away in search(one, other, drawn):
                at = span if group is None else group[span]
                rows[at], distance[at] = near if group is None else group[near], away
    return rows, distance


def _groups(within: np.ndarray | None, n: int) -> list[tuple[np.ndarray | None, str]]:
    """The rows of each group, ascending, and how an error names it; None for all rows."""
    if within is None:
        return [(None, "")]
    labels = as_array("within", within, "...")
    if labels.shape != (n,) or labels.dtype.kind not in "iub":
        raise OptionError(
            f"within has shape {labels.shape} and type {labels.dtype}: give one whole number for each of {n} vectors."
        )
    values, sizes = np.unique(labels, return_counts=True)
    parts = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    return [(rows, f" of group {value}") for value, rows in zip(values.tolist(), parts, strict=True)]


@dataclass(frozen=True)
class _Search:
    """What is looked for, and where that is computed: k, unit, vectors at once, the device, and what counts them."""

    k: int
    unit: bool
    chunk: int
    device: Device
    tick: Callable[[int], object]

    def __call__(
        self, left: Matrix, right: Matrix, ties: np.ndarray | None
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """The neighbours, one block of vectors at a time: rows of `left`, rows (b, k) of `right`, distances."""
        others, device = left is right, self.device
        to_choose_from = len(right) - others
        count = min(self.k + max(8, self.k // 4), to_choose_from)
        among = DeviceVectors(right, device, self.chunk)
        products = TopProducts(among, count, self.unit, others, self.chunk)
        decide = _decided_on_device if device.wide else _decided
        order: Any = _ranks(ties, device) if device.wide else ties
        step = device.at_once // left.dim if device.wide else products.chunk
        vectors = among if others else DeviceVectors(left, device, self.chunk, keep=False)
        for block in vectors.blocks(products.height, step):
            rows, distance = decide(products, block, self.k, count < to_choose_from, order)
            self.tick(len(block))
            yield block.span, rows, distance.astype(np.float32)


def _ranks(ties: np.ndarray | None, device: Device) -> torch.Tensor | None:
    """The ranks of the numbers that ties are decided by, which fit into an int64 whatever their type."""
    import torch

    return None if ties is None else torch.from_numpy(ties.argsort().argsort()).to(device.exact)


def _decided(
    search: TopProducts, block: Block, k: int, may_be_left_out: bool, ties: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of the candidates of a block of vectors, and of all vectors where others may be as near."""
    unit, right = search.unit, search.right.matrix
    left = block.take(slice(None)).numpy()
    candidates, last = (column.numpy() for column in search.of(block))
    near, away = (column[:, :k] for column in closest(left, right, candidates, unit, ties))
    if may_be_left_out:
        points = left - search.centre
        length = None if unit else np.sqrt(np.einsum("ij,ij->i", points, points, dtype=np.float64))
        again = np.flatnonzero(last >= _certain(away[:, -1], right.dim, length))
        own = again + block.span.start if search.others else None
        near[again], away[again] = search_again(left[again], right, own, k, unit, search.centre, ties)
    return near, away


def _decided_on_device(
    search: TopProducts, block: Block, k: int, may_be_left_out: bool, order: torch.Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """The same on an accelerator, with ranks for ties."""
    import torch

    unit, right, exact = search.unit, search.right, search.device.exact
    candidates, last = search.of(block)
    near, away = (column[:, :k] for column in closest_on_device(block, right, candidates, unit, order))
    if may_be_left_out:
        centre, length = torch.from_numpy(search.centre).to(search.device.on), None
        if not unit:
            tiles = block.tiles(search.device.height(right.matrix.dim))
            length = torch.cat([(tile - centre).to(exact).double().square().sum(1) for tile in tiles]).sqrt()
        again = (last.to(exact) >= _certain(away[:, -1], right.matrix.dim, length)).nonzero()[:, 0]
        if len(again):
            own = again + block.span.start if search.others else None
            left = block.take(again.to(search.device.on))
            near[again], away[again] = search_again_on_device(left, right, own, k, unit, centre, order)
    return near.cpu().numpy(), away.cpu().numpy()


def _certain(reach: Any, d: int, length: Any) -> Any:
    """The product in float32 below which no vector can be nearer than the k-th neighbour: (b,).

    The rounding errors of a product of d terms behave like a random walk, of 0.3 sqrt(d) half units in the last place
    of |x| |y|; a vector nearer than `reach` has |y| <= |x| + reach.

    Args:
        reach: (b,) distance to the k-th neighbour.
        d: how many numbers a vector has.
        length: (b,) the lengths of the vectors, measured from the centre; None for vectors of length 1, whose distance
            is 1 - cosine.
    """
    noise = (4 * sqrt(d) + 8) * 2.0**-24
    if length is None:
        return 1 - reach - noise
    longest = length + reach
    return (length**2 - reach**2) / 2 - noise * longest * (length + longest)
