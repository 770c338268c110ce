"""What scorers of signals share: arrays over seeds and presentations, checked once; some presentations may be missing.

A signal recorded during training has shape (seeds, epochs, n). With repeated random sampling, `drop_last` or
your own sampler, not every example is presented in every epoch: `seen`, of the same shape, says which entries were.
Scorers for which order does not matter average over these presentations; the others read the presentations of each
example in order. `name` is the name of a signal: its entries must then be in the range of that signal, and under any
other name they must be finite.
"""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np

from datadiet.arrays import ANY, Range, as_array, check_range
from datadiet.errors import OptionError
from datadiet.randomness import blocks

__all__ = ["RANGES", "as_runs", "mean_of_seen", "mean_over_axes", "mean_over_presentations", "outputs_of", "packed"]

_LONGEST = 1e18  # a norm; above it, squares overflow in float32

RANGES = {
    "loss": Range(0),
    "error_norm": Range(0, 2**0.5),
    "p_true": Range(0, 1),
    "doubt": Range(0, 1),
    "p_gap": Range(0, 1),
    "entropy": Range(0),
    "correct": Range(0, 1, binary=True),
    "seen": Range(0, 1, binary=True),
    "feature_norm": Range(0, _LONGEST),
    "shift": Range(0, _LONGEST),
    "grad_norm": Range(0, _LONGEST),
    "grad_cos": Range(-1, 1, rounding=1e-3),  # sums over all parameters
    "ekfac": Range(0),
    "input_grad_spread": Range(0),
    "divergence": Range(0, log(2)),
    "predicted": Range(0),
}
"""The range of each signal that has one."""

_RUNS = "seeds epochs n* | epochs n*"


def as_runs(signal: Any, seen: Any = None, name: str = "the signal") -> tuple[np.ndarray, np.ndarray | None]:
    """The signal, which may be a single run (epochs, n), as (seeds, epochs, n), and what was seen of it (None = all).

    Raises:
        OptionError: the wrong number of axes, `seen` of another shape, no epoch, an example that some run never saw, or
            an entry that was seen and is NaN, infinite or out of range.
    """
    values, seen = _runs(signal, seen, name)
    check_range(name, values, RANGES.get(name, ANY), seen)
    return values, seen


def outputs_of(signal: Any, name: str = "the signal") -> np.ndarray:
    """A signal of an evaluation pass: (n,), (seeds, n) or (seeds, epochs, n), as it is.

    Raises:
        OptionError: a scalar, an empty axis before the last, or an entry that is NaN, infinite or out of range.
    """
    values = _outputs(signal, name)
    check_range(name, values, RANGES.get(name, ANY))
    return values


def mean_over_axes(signal: Any, name: str = "the signal") -> np.ndarray:
    """(n,), (seeds, n) or (seeds, epochs, n) -> float32 (n,): the mean over all axes but the last.

    Raises:
        OptionError: as for `outputs_of`.
    """
    return _checked_mean(_outputs(signal, name), name, np.float32)


def mean_over_presentations(signal: Any, seen: Any = None, name: str = "the signal") -> np.ndarray:
    """(seeds, epochs, n) -> float64 (n,): the mean over each run's presentations, then over the runs.

    Raises:
        OptionError: as for `as_runs`.
    """
    values, seen = _runs(signal, seen, name)
    if seen is None:
        return _checked_mean(values, name, np.float64)
    allowed = RANGES.get(name, ANY)
    out = np.empty(values.shape[-1])
    for span in blocks(len(out)):
        part, there = values[..., span], seen[..., span]
        if not allowed.holds(part):
            check_range(name, values, allowed, seen)
        out[span] = mean_of_seen(part, there)
    return out


def mean_of_seen(values: np.ndarray, seen: np.ndarray | None) -> np.ndarray:
    """`mean_over_presentations` of what `as_runs` returns."""
    if seen is None:
        return values.mean(axis=(0, 1), dtype=np.float64)
    total = np.where(seen, values, 0).sum(axis=1, dtype=np.float64)
    return (total / seen.sum(axis=1)).mean(axis=0)


def packed(signal: Any, seen: Any = None, name: str = "the signal") -> tuple[np.ndarray, np.ndarray]:
    """Each example's presentations moved to the front of the epoch axis, in order.

    Returns:
        (seeds, epochs, n) values, and (seeds, n) int64 counts: entries at or after the count are meaningless.
    """
    values, seen = as_runs(signal, seen, name)
    if seen is None:
        return values, np.full((values.shape[0], values.shape[2]), values.shape[1])
    order = np.argsort(~seen, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), seen.sum(axis=1)


def _runs(signal: Any, seen: Any, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """As `as_runs`, without looking at the entries of the signal."""
    values = as_array(name, signal, _RUNS)
    values = values[None] if values.ndim == 2 else values
    if seen is None:
        return values, None
    mask = as_array("seen", seen, _RUNS)
    mask = mask[None] if mask.ndim == 2 else mask
    if mask.shape != values.shape:
        raise OptionError(f"seen has shape {mask.shape} and {name} {values.shape}: they must be the same.")
    check_range("seen", mask, RANGES["seen"])
    mask = mask.astype(bool, copy=False)
    if mask.all():
        return values, None
    never = ~mask.any(axis=1)
    if never.any():
        run, example = np.argwhere(never)[0]
        raise OptionError(
            f"{int(never.any(axis=0).sum())} examples were never presented in some run, the first at position "
            f"{example} in run {run}: record more epochs, or more of the data in each."
        )
    return values, mask


def _outputs(signal: Any, name: str) -> np.ndarray:
    return as_array(name, signal, "n* | seeds n* | seeds epochs n*")


def _checked_mean(values: np.ndarray, name: str, dtype: type[np.floating[Any]]) -> np.ndarray:
    """The mean over all axes but the last; every part is checked while it is in the processor's cache."""
    allowed, axes = RANGES.get(name, ANY), tuple(range(values.ndim - 1))
    out = np.empty(values.shape[-1], dtype=dtype)
    for span in blocks(len(out)):
        part = values[..., span]
        if not allowed.holds(part):
            check_range(name, values, allowed)
        out[span] = part.mean(axis=axes, dtype=np.float64)
    return out
