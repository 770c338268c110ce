"""A fixed subset, in a new order every epoch."""

from __future__ import annotations

from numbers import Integral
from typing import TYPE_CHECKING

import numpy as np

from datadiet.arrays import in_numpy, numbers
from datadiet.errors import OptionError
from datadiet.sampling.epoch_sampler import EpochSampler, Order
from datadiet.sampling.permutation import Permutation

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SubsetSampler"]


class SubsetSampler(EpochSampler):
    """Each of the given examples once an epoch.

    Rank-agnostic: every rank has the same global order. That is right under Accelerate and Lightning, which shard for
    themselves; with bare DDP wrap it in `datadiet.sampling.shard`.

    Args:
        indices: (k,) int64 positions in the data set, k >= 1; an int n means range(n), which is not stored.
        shuffle: a new order every epoch, or always that of `indices`.
        seed: a whole number of at least 0.
        loss_weights: (k,) float32 weights of the examples in the loss of datadiet's own trainer; None = all 1.

    Raises:
        OptionError: `indices` is empty, negative, not one-dimensional or not integers; or not one weight for each.

    >>> sampler = SubsetSampler([30, 10, 20], shuffle=False)
    >>> list(sampler), len(sampler), sampler.epoch
    ([30, 10, 20], 3, 0)
    >>> sorted(SubsetSampler(4, seed=1))
    [0, 1, 2, 3]
    """

    def __init__(
        self,
        indices: np.ndarray | list[int] | int,
        *,
        shuffle: bool = True,
        seed: int = 0,
        loss_weights: np.ndarray | None = None,
    ) -> None:
        super().__init__(seed)
        self.shuffle = shuffle
        self.indices = None if isinstance(indices, Integral) else _positions(indices)
        self._length = int(indices) if self.indices is None else len(self.indices)
        if self._length < 1:
            raise OptionError(f"A subset of {self._length} examples was given: give at least one.")
        self._weights = None if loss_weights is None else _weights(loss_weights)
        if self._weights is not None and self._weights.shape != (self._length,):
            raise OptionError(
                f"loss_weights of shape {self._weights.shape} for {self._length} examples: give one each."
            )
        if self._weights is not None and self.indices is not None:
            order = np.argsort(self.indices, kind="stable")
            self._ascending, self._weights = self.indices[order], self._weights[order]

    def __len__(self) -> int:
        return self._length

    def order(self, epoch: int) -> Order:
        """Positions in the epoch, (m,) int64 in [0, k), to examples, (m,) int64."""
        indices = self.indices
        shuffle = Permutation(len(self), self.seed, "subset", epoch) if self.shuffle else np.asarray
        return shuffle if indices is None else lambda positions: indices[shuffle(positions)]

    def weights(self, index: Tensor) -> Tensor | None:
        """The loss weights of some of the examples, (m,) float32; None = all 1."""
        if self._weights is None:
            return None
        import torch

        if self.indices is None:
            return torch.from_numpy(self._weights)[index]
        return torch.from_numpy(self._weights[np.searchsorted(self._ascending, index.numpy())])


def _weights(given: np.ndarray) -> np.ndarray:
    """The weights as float32."""
    return numbers("loss_weights", given, "k*").astype(np.float32)


def _positions(indices: np.ndarray | list[int] | int) -> np.ndarray:
    """The indices as (k,) int64."""
    array = np.asarray(in_numpy(indices, "indices"))
    if array.dtype == bool:
        raise OptionError("A boolean mask was given as indices: give positions, np.flatnonzero(mask).")
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise OptionError(f"indices of shape {array.shape} and type {array.dtype} were given: give (k,) integers.")
    if array.size and array.max() >= 2**63:
        raise OptionError(f"An index of {array.max()} was given: positions are below 2^63.")
    if array.size and array.min() < 0:
        raise OptionError(f"A negative index, {array.min()}, was given: positions count from 0.")
    return array.astype(np.int64, copy=False)
