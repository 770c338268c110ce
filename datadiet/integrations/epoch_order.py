"""A schedule as the sampler of a loader that is made once, for trainers that plan their steps from its length."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

from datadiet.data import check_identity, open_data
from datadiet.errors import DataError, OptionError, first_line
from datadiet.sampling import SubsetSampler
from datadiet.sampling.epoch_sampler import Schedule, indices_from
from datadiet.sampling.shard import ShardedSampler
from datadiet.table import Selection

__all__ = ["EpochOrder", "schedule_of"]


class EpochOrder(Sampler[int]):
    """The order of the epoch that was begun last. Its length is that of the first epoch, and does not change.

    Args:
        schedule: what chooses the examples.
        step: examples in an optimizer step of all processes. A shorter epoch is made up to whole steps by repeating
            its beginning, since a trainer takes the last step of an epoch only where it expects it.

    Attributes:
        epoch: the epoch that was begun last, from 0.
        length: how many examples it presents.
        steps: how many steps it takes.
    """

    def __init__(self, schedule: Schedule, step: int) -> None:
        self.schedule, self.step = schedule, step
        self.epoch, self.planned = 0, schedule.begin(0)
        self.length = self.planned

    def __len__(self) -> int:
        return self.planned

    @property
    def steps(self) -> int:
        """How many optimizer steps the epoch takes."""
        return -(-self.length // self.step)

    def begin(self, epoch: int) -> None:
        """Begin an epoch.

        Raises:
            OptionError: it presents nothing, or more than the first did.
        """
        length = self.schedule.begin(epoch)
        if not 0 < length <= self.planned:
            raise OptionError(
                f"the schedule presents {length} examples in epoch {epoch + 1} and {self.planned} in the first, from "
                "which the trainer plans its steps: let the first epoch be the longest, and none be empty."
            )
        self.epoch, self.length = epoch, length

    def __iter__(self) -> Iterator[int]:
        order, length = self.schedule.order(self.epoch), self.length
        padded = length if length == self.planned else min(self.steps * self.step, self.planned)
        return indices_from(lambda positions: order(positions % length), 0, padded)


def schedule_of(chosen: Selection | Schedule | None, dataset: Any, clean: Any, seed: int) -> Schedule:
    """What chooses the examples of a data set: a selection of it, a schedule, or all.

    Args:
        chosen: what the user gave.
        dataset: the data to train on, with `len` and `[i]`.
        clean: the same examples as they were selected from, if `dataset` transforms them.
        seed: of the order, for a selection or for all.

    Raises:
        OptionError: neither of these, the part of one process, or examples that are not there.
        DataError: the data set cannot be compared with the one that was selected from.
        FingerprintMismatch: the selection belongs to another data set.
    """
    if chosen is None:
        return SubsetSampler(len(dataset), seed=seed)
    if isinstance(chosen, Selection):
        placed = _placed(chosen, dataset, clean)
        weights = None if placed.weight is None else placed.weights
        return SubsetSampler(placed.indices, seed=seed, loss_weights=weights)
    if isinstance(chosen, ShardedSampler) or not all(hasattr(chosen, part) for part in ("begin", "order", "weights")):
        raise OptionError(
            f"a {type(chosen).__name__} was given: give a selection, or a sampler of datadiet.sampling without "
            "dd.shard, since the trainer deals its batches out to the processes itself."
        )
    indices = chosen.order(0)(np.arange(chosen.begin(0)))
    if len(indices) and not 0 <= indices.min() <= indices.max() < len(dataset):
        raise OptionError(
            f"the sampler presents example {indices.max()}, and there are {len(dataset)} to train on: make it for "
            "these."
        )
    return chosen


def _placed(chosen: Selection, dataset: Any, clean: Any) -> Selection:
    """The selection, checked against the data; if it knows only their number, as from a recorder, against that."""
    known = chosen.meta.get("data", {})
    if clean is None and set(known) <= {"n"}:
        check_identity(known, {"n": len(dataset)}, "the selection")
        return chosen
    try:
        source = open_data(dataset if clean is None else clean)
    except (DataError, OptionError) as error:
        raise DataError(
            f"the training data cannot be compared with those that were selected from ({first_line(error)}): give "
            "these as clean=."
        ) from None
    return chosen.placed(source)
