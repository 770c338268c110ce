"""Decontamination: remove rows that are nearly the same as rows of a reference set, such as test data.

With s_i the largest cosine of row i to any row of the reference, row i is removed if s_i > 1 - epsilon; with k, the k
rows with the lowest s_i are kept. The witness is the reference row. The rule within one set is SemDeDup's (Abbas et al.
2023, arXiv 2303.09540); here there are no chains and no order, so no mode and no preference is needed.

Deviations: no clusters. Every row is compared with every reference row, so none is missed at a border between clusters.

Cost: 2 n m d operations for n rows and m of the reference. Memory: the reference in float32 (at most 256 MiB; a larger
one is read repeatedly, in blocks), a few block^2, and 20 bytes a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Matrix, cost
from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.matrix import CHUNK
from datadiet.parameters import check_whole, checked
from datadiet.randomness import Keys
from datadiet.selectors.duplicates import check_epsilon, check_limit
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.pairs_on_device import PlacedVectors
from datadiet.selectors.similar_pairs import BLOCK, OrderedVectors, Vectors, nearest_in
from datadiet.selectors.spec import FurtherVectors, SelectorSpec

__all__ = ["Leaks", "SPEC", "decontaminate", "leaks"]

_WORTH_TORCH = 1 << 38  # multiplications that take longer than loading torch to look for a GPU


@explained
def decontaminate(
    embeddings: Any,
    k: int | None = None,
    *,
    reference: Any,
    epsilon: float | None = None,
    block: int = BLOCK,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """Keep the rows that are not nearly the same as a reference row.

    Args:
        embeddings: (n, d) floats, in memory or memory-mapped, or a `Matrix`; no row of zeros.
        k: how many to keep, 1..n; give either k or epsilon.
        epsilon: in [0, 2): rows more similar than 1 - epsilon to a reference row are removed; larger removes more.
        reference: (m, d) floats from the same embedding, such as those of the test data.
        block: rows per matrix product, on a GPU at least 4,096; affects memory and speed, not the result.
        rng, keys: break ties: the smaller key is kept.

    Returns:
        (k,) int64 positions, the least similar to the reference first. Nested: a smaller k gives a prefix; `.explain`
        also gives `witness`: the most similar reference row, of equally similar ones the first, `similarity`: the
        cosine with it.

    Raises:
        OptionError: both or neither of k and epsilon, one of them out of range, or vectors of different width.
        BadVector: a vector that is not finite, or all zeros.

    >>> decontaminate([[1.0, 0.0], [0.1, 1.0], [0.7, 0.7]], reference=[[2.0, 0.0]], epsilon=0.1).tolist()
    [1, 2]
    """
    floor = check_limit(k, epsilon)
    rows, others = _two(embeddings, reference, block)
    keys = choose_keys(len(rows), rng, keys)
    witness, similarity = nearest_in(rows, others)
    if k is not None:
        check_k(k, len(rows))
    order = np.lexsort((keys.draw(), similarity))
    chosen = order[:k] if floor is None else order[similarity[order] <= floor]
    witness[chosen], similarity[chosen] = -1, np.nan
    return Explained(chosen, witness=witness, similarity=similarity, witness_in="reference")


@dataclass(frozen=True, eq=False)
class Leaks:
    """Reference rows that have a near-duplicate in another set, the most similar pair first.

    Attributes:
        reference: (p,) int64, rows of the reference.
        witness: (p,) int64, the most similar row of the other set.
        similarity: (p,) float32, their cosine.
        size: number of reference rows.
    """

    reference: np.ndarray
    witness: np.ndarray
    similarity: np.ndarray
    size: int

    @property
    def share(self) -> float:
        """The share of the reference that leaked."""
        return len(self.reference) / self.size


@checked
def leaks(embeddings: Any, reference: Any, *, epsilon: float, block: int = BLOCK) -> Leaks:
    """Which rows of the reference have a near-duplicate among the embeddings: what a test score may owe to memory.

    Args:
        embeddings, reference, epsilon, block: as for `decontaminate`.

    >>> found = leaks([[1.0, 0.0], [0.1, 1.0]], [[5.0, 0.0], [1.0, 1.0]], epsilon=0.01)
    >>> found.reference.tolist(), found.witness.tolist(), found.share
    ([0], [0], 0.5)
    """
    floor = check_epsilon(epsilon)
    others, rows = _two(embeddings, reference, block)
    witness, similarity = nearest_in(rows, others)
    order = np.lexsort((np.arange(len(rows)), -similarity))
    order = order[similarity[order] > floor]
    return Leaks(order, witness[order], similarity[order], len(rows))


def _two(embeddings: Any, reference: Any, block: int) -> tuple[OrderedVectors, OrderedVectors]:
    left, right = (Matrix.open(vectors, unit=True) for vectors in (embeddings, reference))
    if left.dim != right.dim:
        raise OptionError(
            f"vectors of {left.dim} numbers and a reference of {right.dim}: embed both with the same network."
        )
    check_whole("block", block)
    device = Device.accelerator() if len(left) * len(right) * left.dim >= _WORTH_TORCH else None
    return _all_of(left, block, device), _all_of(right, block, device)


def _all_of(matrix: Matrix, block: int, device: Device | None) -> OrderedVectors:
    rows = np.arange(len(matrix))
    if device is None:
        return Vectors(matrix, rows, block)
    return PlacedVectors(DeviceVectors(matrix, device, CHUNK), rows, np.array([len(rows)]), block)


def _cost(n: int, d: int, k: int | None, /, *, reference: int = 0, **parameters: Any) -> list[cost.Stage]:
    """The most similar reference vector of each row."""
    held = min(4 * reference * d, 1 << 28) + 40e6 + 20 * n
    compare = cost.Stage("against the reference", 1, 2.0 * n * reference * d, 6.0 * n * reference, n, held)
    return [cost.opening(n, d), compare]


SPEC = SelectorSpec(
    decontaminate,
    reads={"reference": FurtherVectors()},
    threshold="epsilon",
    nested=True,
    cost=_cost,
    reference="Abbas et al. 2023 (their rule)",
)
