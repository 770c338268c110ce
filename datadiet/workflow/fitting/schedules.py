"""Which examples training presents: from the arguments of `train` to a schedule over the rows of its data."""

from __future__ import annotations

from typing import Any

import numpy as np

from datadiet.data import Source
from datadiet.errors import OptionError, unknown_name
from datadiet.files import array_digest
from datadiet.sampling import EpochSampler, RS2Sampler, SubsetSampler
from datadiet.sampling.epoch_sampler import Schedule
from datadiet.workflow.fitting.selected_rows import rows_of

__all__ = ["open_schedule", "schedule_name"]

_METHODS = ("begin", "order", "update", "weights", "state_dict", "load_state_dict")


def open_schedule(
    sampler: Schedule | str | None, rows: np.ndarray | None, weights: np.ndarray | None, source: Source, seed: int
) -> Schedule:
    """The schedule of a training run.

    Args:
        sampler: a sampler or schedule, or a string such as "rs2:keep=10%"; None = a static one.
        rows: (k,) rows of a selection; None = all.
        weights: (k,) weights of these rows, or None.
        source: the data.
        seed: of the order.

    Raises:
        OptionError: an unknown sampler, or one that was made for other data.
    """
    if sampler is None:
        return SubsetSampler(len(source) if rows is None else rows, seed=seed, loss_weights=weights)
    return _named(sampler, source, seed) if isinstance(sampler, str) else _fitted(sampler, source)


def _named(text: str, source: Source, seed: int) -> Schedule:
    name, _, rest = text.partition(":")
    if name != "rs2":
        raise unknown_name("sampler", name, ["rs2"])
    options = dict(part.partition("=")[::2] for part in rest.split(",") if part)
    unknown = sorted(set(options) - {"keep", "replacement", "stratified"})
    if unknown or "keep" not in options:
        raise OptionError(
            f"sampler {text!r}: write rs2:keep=10%, optionally with ,replacement=true or ,stratified=true."
        )
    flags = {key: _flag(key, options[key]) for key in ("replacement", "stratified") if key in options}
    labels = source.labels if flags.pop("stratified", False) else None
    return RS2Sampler(len(source), options["keep"], seed=seed, labels=labels, **flags)


def _fitted(sampler: Any, source: Source) -> Schedule:
    """A user's sampler, if it fits this data; positions in the source become rows."""
    if isinstance(sampler, SubsetSampler) and sampler.indices is not None:
        return sampler.over(rows_of(sampler.indices, source))
    if not all(callable(getattr(sampler, method, None)) for method in _METHODS):
        raise OptionError(
            f"a {type(sampler).__name__} is not a sampler of datadiet.sampling: give SubsetSampler or RS2Sampler."
        )
    if isinstance(sampler, RS2Sampler | SubsetSampler):
        n = sampler.n if isinstance(sampler, RS2Sampler) else len(sampler)
        if n != len(source):
            raise OptionError(
                f"the sampler draws from {n} examples, but there are {len(source)} to train on: make it for these."
            )
    schedule: Schedule = sampler
    return schedule


def _flag(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise OptionError(f"{name}={text!r}: give true or false.")
    return text.lower() == "true"


def schedule_name(sampler: Schedule | str) -> str:
    """The name of a schedule in the plan: its spec, or a hash of the beginning of its first epochs."""
    if isinstance(sampler, str):
        return sampler
    first = []
    for epoch in range(3 if isinstance(sampler, EpochSampler) else 1):
        length = sampler.begin(epoch)
        first.append(sampler.order(epoch)(np.arange(min(length, 1 << 16))))
    seed = getattr(sampler, "seed", None)
    return (
        f"{type(sampler).__name__}(len={sampler.begin(0)}, seed={seed}, orders={array_digest(np.concatenate(first))})"
    )
