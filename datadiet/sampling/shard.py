"""One rank's part of a sampler, for bare DistributedDataParallel.

Accelerate, the transformers Trainer and Lightning give each rank its part themselves: do not use `shard` there, or
each rank gets a part of a part and most of the subset is never seen.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from datadiet.errors import OptionError
from datadiet.parameters import check_whole
from datadiet.sampling.epoch_sampler import EpochSampler, Order

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["ShardedSampler", "shard", "share_of"]


def shard(sampler: EpochSampler, rank: int, world: int, drop_last: bool = False) -> ShardedSampler:
    """The part of `sampler` that one rank of a bare DDP run trains on.

    Entries rank, rank + world, rank + 2 world … of the global order, which is first padded by repeating its beginning
    (or cut, with `drop_last`) to a multiple of world, so that all ranks get the same number. For bare DDP
    only: Accelerate and Lightning shard for themselves and need the whole sampler.

    Args:
        sampler: a datadiet sampler, built in the same way on every rank.
        rank: 0..world-1, which part.
        world: number of ranks, at least 1.
        drop_last: cut instead of padding, with a warning that says how many examples are lost every epoch.

    Returns:
        A sampler with its own epoch and state, to be used in place of `sampler`: from here on, call `set_epoch` and
        `load_state_dict` on it. `.repeats` is the number of repeated presentations in an epoch, over all ranks.

    Raises:
        OptionError: rank and world do not fit, nothing would be left, or `sampler` is sharded already or not ours.

    >>> from datadiet.sampling import SubsetSampler
    >>> parts = [shard(SubsetSampler(5, shuffle=False), rank, 2) for rank in (0, 1)]
    >>> [list(part) for part in parts], parts[0].repeats
    ([[0, 2, 4], [1, 3, 0]], 1)
    """
    if isinstance(sampler, ShardedSampler):
        raise OptionError(
            f"This sampler is already the part of rank {sampler.rank} of {sampler.world}: shard the sampler it was "
            "made from."
        )
    if not isinstance(sampler, EpochSampler):
        raise OptionError(
            f"A {type(sampler).__name__} cannot be sharded, since its order may differ between ranks: give a "
            "SubsetSampler or an RS2Sampler."
        )
    if check_whole("rank", rank, 0) >= check_whole("world", world):
        raise OptionError(f"rank={rank} of world={world} was given: give a rank from 0 to {world - 1}.")
    lost = len(sampler) % world if drop_last else 0
    if lost == len(sampler):
        raise OptionError(f"drop_last with {lost} examples on {world} ranks leaves none: use drop_last=False.")
    if lost:
        warnings.warn(
            f"drop_last loses {lost} of {len(sampler)} examples every epoch on {world} ranks.",
            UserWarning,
            stacklevel=2,
        )
    return ShardedSampler(sampler, rank, world, drop_last)


def share_of(order: Order, length: int, rank: int, world: int) -> Order:
    """Positions in one rank's part of an epoch of `length` examples, (m,) int64, to examples, (m,) int64.

    Entries rank, rank + world, rank + 2 world …; past the end the order begins again.
    """
    return lambda positions: order((rank + world * positions) % length)


class ShardedSampler(EpochSampler):
    """What `shard` returns; its arguments are checked there."""

    def __init__(self, sampler: EpochSampler, rank: int, world: int, drop_last: bool) -> None:
        super().__init__(sampler.seed)
        self.sampler = sampler
        self.rank, self.world, self.drop_last = rank, world, drop_last
        self.reads = sampler.reads
        self.set_epoch(sampler.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Make the next `iter` this epoch, for the underlying sampler too."""
        super().set_epoch(epoch)
        self.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return self._epoch_length(self.epoch)

    def _epoch_length(self, epoch: int) -> int:
        whole, rest = divmod(self.sampler._epoch_length(epoch), self.world)
        return whole + bool(rest and not self.drop_last)

    def begin(self, epoch: int) -> int:
        """Begin an epoch of the sampler that is shared out; returns the length of this rank's part."""
        self.sampler.begin(epoch)
        return super().begin(epoch)

    def update(self, index: Tensor, values: Tensor) -> None:
        """What the sampler that is shared out learns."""
        self.sampler.update(index, values)

    def weights(self, index: Tensor) -> Tensor | None:
        """Those of the sampler that is shared out."""
        return self.sampler.weights(index)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next `iter` continue where the state was taken."""
        super().load_state_dict(state)
        self.sampler.set_epoch(self.epoch)

    def _learned_state(self) -> dict[str, Any]:
        return {} if self.reads is None else {"sampler": self.sampler.state_dict()}

    def _load_learned(self, state: Mapping[str, Any]) -> None:
        if self.reads is not None and "sampler" in state:
            self.sampler.load_state_dict(state["sampler"])

    @property
    def repeats(self) -> int:
        """How many presentations in an epoch, over all ranks, repeat an example."""
        return max(0, len(self) * self.world - len(self.sampler))

    def order(self, epoch: int) -> Order:
        """Positions in this rank's part of the epoch, (m,) int64 in [0, len), to examples, (m,) int64."""
        return share_of(self.sampler.order(epoch), self.sampler._epoch_length(epoch), self.rank, self.world)
