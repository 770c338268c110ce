"""What every sampler shares: one order per epoch, computed in chunks, that can be stopped and resumed anywhere.

A sampler says only what its epochs look like (`order`) and how long they are. It is also a schedule for the training
loop: a static one, which learns nothing from the training. The order is a function of the seed and
the epoch, the same on every rank, so these samplers are right under Accelerate and Lightning, which give each rank
its part themselves; bare DDP goes through `datadiet.sampling.shard`. There is no attribute named `generator`, which
Accelerate would replace. To a DataLoader a sampler is anything that has a length and can be iterated: torch's base
class adds nothing to that, and without it the records of the schedules can be read before torch is loaded.
"""

from __future__ import annotations

import itertools
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import check_whole

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["EpochIterator", "EpochSampler", "Order", "Schedule", "indices_from"]

Order = Callable[[np.ndarray], np.ndarray]

# The first chunks are small, so that the first batch comes at once.
_FIRST_CHUNK, _LARGEST_CHUNK = 64, 16384


class Schedule(Protocol):
    """What decides which examples each epoch presents, in which order and with which weights.

    The order is a function of (seed, epoch, state), and the state changes between epochs only, so that every process
    has the same order and a training can be resumed within an epoch.

    Attributes:
        reads: the value that `update` is given of each presentation, or None if it learns nothing.
    """

    reads: Literal["loss", "error_norm", "correct"] | None

    def begin(self, epoch: int) -> int:
        """Begin an epoch, counted from 0; returns how many examples it presents."""
        ...

    def order(self, epoch: int) -> Order:
        """The function from positions in the epoch, (m,) int64, to indices of examples, (m,) int64."""
        ...

    def update(self, index: Tensor, values: Tensor) -> None:
        """Learn from the presentations of an epoch, in order and of all processes, once it is over.

        Args:
            index: (m,) int64, the examples; one that padding repeated occurs more than once.
            values: (m,), what `reads` names.
        """
        ...

    def weights(self, index: Tensor) -> Tensor | None:
        """The loss weights of some examples, (m,) float32; None = all 1."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What the coming epochs depend on: JSON values, arrays and tensors."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        ...


def indices_from(order: Order, start: int, length: int) -> Iterator[int]:
    """The examples of an epoch from position `start` on, computed in chunks."""
    for lo in range(start, length, _LARGEST_CHUNK):
        yield from order(np.arange(lo, min(lo + _LARGEST_CHUNK, length), dtype=np.int64)).tolist()


class EpochSampler(ABC):
    """A sampler whose epoch is a function of (seed, epoch).

    The first `iter` is epoch 0. Another `iter` without a `set_epoch` in between is the next epoch if anything was drawn
    from the last one.

    Args:
        seed: a whole number of at least 0; a saved state only fits a sampler with the same one.
    """

    reads: Literal["loss", "error_norm", "correct"] | None = None

    def __init__(self, seed: int) -> None:
        self.seed = check_whole("seed", seed, 0)
        self._cursor = Cursor(epoch=0, start=0)

    @abstractmethod
    def order(self, epoch: int) -> Order:
        """The function from positions in the epoch, (m,) int64 in [0, len), to examples, (m,) int64."""

    @abstractmethod
    def __len__(self) -> int: ...

    def begin(self, epoch: int) -> int:
        """Begin an epoch, counted from 0; returns how many examples it presents."""
        self.set_epoch(epoch)
        return len(self)

    def update(self, index: Tensor, values: Tensor) -> None:
        """A static sampler learns nothing."""
        return

    def weights(self, index: Tensor) -> Tensor | None:
        """The loss weights of some examples, (m,) float32; None = all 1."""
        return None

    @property
    def epoch(self) -> int:
        """The epoch under way, or, if there is none, the one that the next `iter` begins."""
        return self._cursor.epoch

    def set_epoch(self, epoch: int) -> None:
        """Make the next `iter` this epoch. A position that was loaded for the same epoch is kept."""
        epoch = check_whole("epoch", epoch, 0)
        resumed = epoch == self.epoch and not self._cursor.moved
        self._cursor = Cursor(epoch, self._cursor.start if resumed else 0)

    def __iter__(self) -> Iterator[int]:
        self.set_epoch(self.epoch + self._cursor.moved)
        return EpochIterator.over(self, self._cursor)

    def state_dict(self) -> dict[str, Any]:
        """Where the latest iterator stands: seed, epoch, pos; and what the sampler has learned.

        pos counts the examples handed out. With loader workers this runs ahead of the examples trained on: replace it
        by the number of examples consumed, or use torchdata's StatefulDataLoader, which asks the iterator.
        """
        return self._state_at(self._cursor)

    def _state_at(self, cursor: Cursor) -> dict[str, Any]:
        return {"seed": self.seed, "epoch": cursor.epoch, "pos": cursor.position, **self._learned_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make the next `iter` continue where the state was taken, or begin the next epoch if that one was finished."""
        epoch, position = self._load_place(state)
        finished = position == self._epoch_length(epoch)
        self._cursor = Cursor(epoch, 0 if finished else position)
        self.set_epoch(epoch + finished)

    def _learned_state(self) -> dict[str, Any]:
        """What the state holds besides the place: nothing, for a sampler that learns nothing."""
        return {}

    def _load_learned(self, state: Mapping[str, Any]) -> None:
        """Go on from what `_learned_state` returned, which is among `state`."""
        if "learned" in state:
            raise OptionError(f"The state is that of a sampler that learns, which a {type(self).__name__} does not.")

    def _epoch_length(self, epoch: int) -> int:
        """How many examples an epoch has."""
        return len(self)

    def _load_place(self, state: Mapping[str, Any]) -> tuple[int, int]:
        """(epoch, pos) of a saved state, once what it learned is loaded; OptionError if it is another sampler's."""
        if not {"seed", "epoch", "pos"} <= state.keys():
            raise OptionError(
                f"The state has {', '.join(map(str, state)) or 'nothing'}: give what state_dict() returned, with seed, "
                "epoch and pos."
            )
        seed, epoch, position = (int(state[key]) for key in ("seed", "epoch", "pos"))
        if seed != self.seed:
            raise OptionError(f"The state has seed={seed} and the sampler seed={self.seed}: build it with seed={seed}.")
        self._load_learned(state)
        length = self._epoch_length(max(epoch, 0))
        if epoch < 0 or not 0 <= position <= length:
            raise OptionError(
                f"The state is at epoch {epoch}, position {position}, and the sampler has epochs of {length}: "
                "load it into a sampler built like the one that was saved."
            )
        return epoch, position


class Cursor:
    """The place of one iterator: positions up to `end` are computed, and those not yet drawn are in `ready`."""

    def __init__(self, epoch: int, start: int) -> None:
        self.move(epoch, start, start)

    def move(self, epoch: int, start: int, position: int) -> None:
        """Move to `position` of an epoch, which counts as begun if that is past `start`."""
        self.epoch, self.start, self.end = epoch, start, position
        self.ready: Iterator[int] = iter([])

    @property
    def position(self) -> int:
        """How many positions of the epoch have been drawn."""
        return self.end - operator.length_hint(self.ready)

    @property
    def moved(self) -> bool:
        """Whether anything was drawn."""
        return self.position > self.start


class EpochIterator(itertools.chain):  # type: ignore[type-arg]
    """The rest of one epoch as Python ints, with a state. A chain of lists, so that `next` never leaves C."""

    _sampler: EpochSampler
    _cursor: Cursor

    @classmethod
    def over(cls, sampler: EpochSampler, cursor: Cursor) -> EpochIterator:
        """The examples of `sampler` from `cursor` on."""
        iterator = cast(EpochIterator, cls.from_iterable(_chunks(sampler, cursor)))
        iterator._sampler, iterator._cursor = sampler, cursor
        return iterator

    def state_dict(self) -> dict[str, Any]:
        """Where the iterator stands: seed, epoch, pos, the number of examples drawn; and what the sampler learned."""
        return self._sampler._state_at(self._cursor)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where the state was taken; only before anything was drawn."""
        if self._cursor.moved:
            raise OptionError("A state was loaded into an iterator that is under way: load it into a new one.")
        epoch, position = self._sampler._load_place(state)
        self._cursor.move(epoch, 0, position)


def _chunks(sampler: EpochSampler, cursor: Cursor) -> Iterator[Iterator[int]]:
    """The epoch in pieces. It begins when the first example is drawn, so a state may be loaded until then."""
    order, length, size = sampler.order(cursor.epoch), sampler._epoch_length(cursor.epoch), _FIRST_CHUNK
    while cursor.end < length:
        end = min(cursor.end + size, length)
        cursor.ready = iter(order(np.arange(cursor.end, end, dtype=np.int64)).tolist())
        cursor.end, size = end, min(2 * size, _LARGEST_CHUNK)
        yield cursor.ready
