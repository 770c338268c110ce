"""What training-time scorers share: arrays over presentations, some of which may be missing.

A signal recorded during training has shape (seeds, epochs, n). With repeated random sampling, `drop_last` or
your own sampler, not every example is presented in every epoch: `seen`, of the same shape, says which entries were.
Scorers for which order does not matter average over these presentations; the others read the presentations of each
example in order.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError

__all__ = ["as_runs", "mean_over_axes", "mean_over_presentations", "packed"]


def as_runs(signal: np.ndarray, seen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray | None]:
    """The signal, which may be a single run (epochs, n), as (seeds, epochs, n), and what was seen of it (None = all).

    Raises:
        OptionError: the wrong number of axes, `seen` of another shape, no epoch, or an example that some run never saw.
    """
    values = np.asarray(signal)
    values = values[None] if values.ndim == 2 else values
    if values.ndim != 3 or 0 in values.shape[:2]:
        raise OptionError(
            f"the signal has shape {np.shape(signal)}: give (seeds, epochs, n) with at least one seed and epoch."
        )
    if seen is None:
        return values, None
    seen = np.asarray(seen, dtype=bool).reshape(np.shape(seen) if np.ndim(seen) == 3 else (1, *np.shape(seen)))
    if seen.shape != values.shape:
        raise OptionError(f"seen has shape {seen.shape} and the signal {values.shape}: they must be the same.")
    if seen.all():
        return values, None
    never = ~seen.any(axis=1)
    if never.any():
        run, example = np.argwhere(never)[0]
        raise OptionError(
            f"{int(never.any(axis=0).sum())} examples were never presented in some run, the first at position "
            f"{example} in run {run}: record more epochs, or more of the data in each."
        )
    return values, seen


def mean_over_axes(signal: np.ndarray) -> np.ndarray:
    """(n,), (seeds, n) or (seeds, epochs, n) -> float32 (n,): the mean over all axes but the last.

    Raises:
        OptionError: a scalar, or an empty axis before the last.
    """
    values = np.asarray(signal)
    if values.ndim == 0 or 0 in values.shape[:-1]:
        raise OptionError(f"the signal has shape {values.shape}: give (seeds, n) with at least one seed.")
    return values.mean(axis=tuple(range(values.ndim - 1)), dtype=np.float64).astype(np.float32)


def mean_over_presentations(signal: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
    """(seeds, epochs, n) -> float64 (n,): the mean over each run's presentations, then over the runs."""
    values, seen = as_runs(signal, seen)
    if seen is None:
        return values.mean(axis=(0, 1), dtype=np.float64)
    total = np.where(seen, values, 0).sum(axis=1, dtype=np.float64)
    return (total / seen.sum(axis=1)).mean(axis=0)


def packed(signal: np.ndarray, seen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Each example's presentations moved to the front of the epoch axis, in order.

    Returns:
        (seeds, epochs, n) values, and (seeds, n) int64 counts: entries at or after the count are meaningless.
    """
    values, seen = as_runs(signal, seen)
    if seen is None:
        return values, np.full((values.shape[0], values.shape[2]), values.shape[1])
    order = np.argsort(~seen, axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), seen.sum(axis=1)
