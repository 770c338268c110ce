"""Dyn-Unc: how much the predicted probability of the true class moves within a sliding window of training.

He, Yang, Huang, Zhao: Large-scale Dataset Pruning with Dynamic Uncertainty, CVPR Workshops 2024 (arXiv 2306.05175):
U_k = the sample standard deviation of p_y over the J epochs k..k+J-1, averaged over k = 0..T-J-1 (the
window that contains the last epoch is left out).

Deviations: the authors take p_y in evaluation mode on an un-augmented view at every step. The default here is the
training-mode recording, which costs nothing; `-p dyn_unc.mode=eval` records evaluation passes instead. Their constant
factor 10 is dropped.

Cost: none beyond the training run; with mode=eval one evaluation pass per epoch.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.scorers.presentations import packed
from datadiet.scorers.spec import ScorerSpec, presentations

__all__ = ["SPEC", "dyn_unc", "mean_over_windows", "windowed_std"]


@checked
def dyn_unc(p_true: np.ndarray, *, seen: np.ndarray | None = None, window: int = 10) -> np.ndarray:
    """The mean standard deviation of the true class's probability over sliding windows, mean over seeds.

    Args:
        p_true: (seeds, epochs, n) or (epochs, n), in [0, 1].
        seen: the same shape, False where an example was not presented; None = always.
        window: J, presentations per window. Paper: 10.

    Returns:
        (n,) float32, at least 0, higher = more uncertain, kept first.

    Raises:
        OptionError: wrong shapes, p_true outside [0, 1], or an example with fewer than window + 1 presentations.

    >>> print(dyn_unc(np.array([[0.0], [1.0], [0.0], [1.0]]), window=2).round(4))
    [0.7071]
    """
    values, counts = packed(p_true, seen, "p_true")
    spread, _, full = windowed_std(values, counts - 1, window, "dyn_unc")
    return mean_over_windows(spread, full)


def windowed_std(
    values: np.ndarray, counts: np.ndarray, window: int, method: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per window: the sample standard deviation and the mean, (seeds, windows, n) float64, and which windows are full.

    Args:
        values: (seeds, epochs, n), packed; only the first `counts` (seeds, n) presentations are used.

    Raises:
        OptionError: window below 2, or an example with fewer presentations than one window.
    """
    if window < 2:
        raise OptionError(f"window={window}: {method} measures a spread and needs at least 2 presentations per window.")
    longest = int(counts.max(initial=window))
    fewest = int(counts.min(initial=longest))
    if fewest < window:
        raise OptionError(
            f"{method} uses windows of {window} presentations and an example has only {fewest} to fill them: record "
            f"more epochs, or pass a smaller window= (-p {method}.window={max(2, fewest)})."
        )
    number = longest - window + 1
    shape = (values.shape[0], number, values.shape[2])
    spread, mean = np.empty(shape), np.empty(shape)
    for k in range(number):
        part = values[:, k : k + window].astype(np.float64)
        spread[:, k] = part.std(axis=1, ddof=1)
        mean[:, k] = part.mean(axis=1)
    return spread, mean, (np.arange(number)[:, None] + window) <= counts[:, None, :]


def mean_over_windows(values: np.ndarray, full: np.ndarray) -> np.ndarray:
    """(seeds, windows, n) -> float32 (n,): mean over each run's full windows, then over runs."""
    return (np.where(full, values, 0.0).sum(axis=1) / full.sum(axis=1)).mean(axis=0).astype(np.float32)


SPEC = ScorerSpec(dyn_unc, presentations("p_true"), reference="He et al. 2024")
