"""Which examples training presents: from a selection, or the arguments of `train`, to rows of its data."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.data import Source
from datadiet.errors import DataError, OptionError
from datadiet.files import array_digest, digest
from datadiet.registry import read_spec
from datadiet.sampling import SCHEDULES, EpochSampler, SubsetSampler
from datadiet.sampling.epoch_sampler import Order, Schedule
from datadiet.table import Selection

__all__ = ["open_schedule", "placed_selection", "rows_kept", "rows_of", "schedule_name"]

_log = logging.getLogger("datadiet")

_PARTS = ("reads", "begin", "order", "update", "weights", "state_dict", "load_state_dict")


def open_schedule(
    sampler: Schedule | str | None,
    rows: np.ndarray | None,
    weights: np.ndarray | None,
    source: Source,
    seed: int,
    epochs: int | None = None,
) -> Schedule:
    """The schedule of a training run.

    Args:
        sampler: a sampler or schedule, or a string such as "rs2:keep=10%"; None = a static one.
        rows: (k,) rows of a selection; None = all.
        weights: (k,) weights of these rows, or None.
        source: the data.
        seed: of the order.
        epochs: the budget; None = it is in steps.

    Raises:
        OptionError: an unknown sampler, or one that was made for other data or another budget.
    """
    if sampler is None:
        return SubsetSampler(len(source) if rows is None else rows, seed=seed, loss_weights=weights)
    if not isinstance(sampler, str):
        return _fitted(sampler, source, epochs)
    spec, given = read_spec(sampler, SCHEDULES, "sampler")
    schedule: Schedule = spec.make(given, n=len(source), seed=seed, epochs=epochs, labels=source.labels)
    return schedule


def _fitted(sampler: Any, source: Source, epochs: int | None) -> Schedule:
    """A user's sampler, if it fits this data and this budget."""
    missing = [part for part in _PARTS if not hasattr(sampler, part)]
    if missing:
        raise OptionError(
            f"a {type(sampler).__name__} is not a schedule, since it has no {missing[0]!r}: give a sampler of "
            "datadiet.sampling, such as SubsetSampler or RS2Sampler."
        )
    made_for = getattr(sampler, "epochs", epochs) if isinstance(sampler, EpochSampler) else epochs
    if made_for != epochs:
        budget = "a budget in steps" if epochs is None else f"{epochs} epochs"
        raise OptionError(
            f"the sampler was made for {made_for} epochs, but the training has {budget}: give both the same number "
            "of epochs."
        )
    if isinstance(sampler, SubsetSampler) and sampler.indices is not None:
        rows_of(sampler.indices, source)  # refuses examples that are not there before any work
    n = _drawn_from(sampler)
    if n is None:
        return _OnRows(sampler, source)
    if n != len(source):
        raise OptionError(
            f"the sampler draws from {n} examples, but there are {len(source)} to train on: make it for these."
        )
    schedule: Schedule = sampler
    return schedule


def _drawn_from(sampler: Any) -> int | None:
    """How many examples a sampler of datadiet draws from; None if it, or a schedule of the user, names positions."""
    if isinstance(sampler, SubsetSampler):
        return len(sampler) if sampler.indices is None else None
    return getattr(sampler, "n", None) if isinstance(sampler, EpochSampler) else None


class _OnRows:
    """A schedule of positions in the opened data as one of the rows of what is trained on."""

    def __init__(self, schedule: Schedule, source: Source) -> None:
        self.schedule, self.source, self.reads = schedule, source, schedule.reads
        self.begin, self.state_dict = schedule.begin, schedule.state_dict
        self.load_state_dict = schedule.load_state_dict

    def order(self, epoch: int) -> Order:
        order = self.schedule.order(epoch)
        return lambda positions: rows_of(order(positions), self.source)

    def update(self, index: Tensor, values: Tensor) -> None:
        self.schedule.update(self._positions(index), values)

    def weights(self, index: Tensor) -> Tensor | None:
        return self.schedule.weights(self._positions(index))

    def _positions(self, rows: Tensor) -> Tensor:
        return torch.from_numpy(self.source.index[rows.numpy()])


def schedule_name(sampler: Schedule | str) -> str:
    """The name of a schedule in the plan: its spec, or hashes of what it holds and of the beginning of its orders."""
    if isinstance(sampler, str):
        return sampler
    first = []
    for epoch in range(3 if isinstance(sampler, EpochSampler) else 1):
        length = sampler.begin(epoch)
        first.append(sampler.order(epoch)(np.arange(min(length, 1 << 16))))
    length, orders, held = sampler.begin(0), array_digest(np.concatenate(first)), digest(_plain(vars(sampler)))
    return f"{type(sampler).__name__}(len={length}, orders={orders}, holds={held})"


def _plain(value: Any) -> Any:
    """Something that a schedule holds as JSON values; of an object that says nothing of itself, its type."""
    if isinstance(value, Tensor | np.ndarray):
        return array_digest(np.ascontiguousarray(value.cpu().numpy() if isinstance(value, Tensor) else value))
    if isinstance(value, Mapping):
        return {str(key): _plain(held) for key, held in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(held) for held in value]
    return value if value is None or isinstance(value, str | int | float | bool) else type(value).__name__


def placed_selection(selection: Selection | str | Path, source: Source) -> Selection:
    """A selection, its file, or a list of ids (.txt), checked against a source.

    Raises:
        FingerprintMismatch: the selection belongs to another data set.
        DataError: a damaged file, or ids that the data lacks.
    """
    if isinstance(selection, (str, Path)) and Path(selection).suffix == ".txt":
        return Selection.from_ids(selection, source)
    return (Selection.read(selection) if isinstance(selection, (str, Path)) else selection).placed(source)


def rows_kept(selection: Selection, source: Source) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows (k,) of a source that a selection keeps, ascending int64, and their weights, if it has any.

    A selection that read no scores, such as one of an embedded data set, may keep examples that are held out or skipped
    here: they are left out, which a note says, and the other weights get mean 1 again.

    Args:
        selection: checked against the source.
        source: the data to train on.

    Raises:
        DataError: a selection by scores keeps examples that are held out or skipped, or all are.
    """
    positions, weights = selection.indices, None if selection.weight is None else selection.weights
    here = np.isin(positions, source.index)
    if here.all() or selection.meta.get("columns") != {} or not here.any():
        return rows_of(positions, source), weights
    _log.warning(
        "%d of the %d kept examples are held out or skipped here: training leaves them out",
        len(here) - int(here.sum()), len(here),
    )  # fmt: skip
    if weights is not None:
        weights = (weights[here] / weights[here].mean(dtype=np.float64)).astype(np.float32)
    return rows_of(positions[here], source), weights


def rows_of(positions: np.ndarray, source: Source) -> np.ndarray:
    """The rows at which a source holds positions of the opened data, (m,) int64.

    Raises:
        DataError: it lacks some of them.
    """
    rows = np.searchsorted(source.index, positions)
    if (rows == len(source)).any() or (source.index[rows] != positions).any():
        raise DataError(
            "some examples to keep are held out or skipped here: use the same eval= and on_error= (--eval, --on-error) "
            "as for scoring, or name data of its own with eval= (--eval DATA)."
        )
    return rows
