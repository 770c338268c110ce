"""DUAL: uncertainty times difficulty, from an early part of one training run.

Cho, Shin, Yun: Lightweight Dataset Pruning without Full Training via Example Difficulty and Prediction Uncertainty,
ICML 2025 (arXiv 2502.06905): the mean over sliding windows of J epochs of std(p_y) * (1 - mean(p_y)), with
the sample standard deviation, over the first T epochs.

Deviations: the mean over seeds, where the paper uses one run. T is the number of epochs passed in: restrict a longer
run with `-p dual.at=1-30` (the authors' T for CIFAR; 60 for ImageNet).

Cost: none beyond the first T epochs of a training run.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.dyn_unc import mean_over_windows, windowed_std
from datadiet.scorers.presentations import mean_over_presentations, packed
from datadiet.scorers.spec import ScorerSpec, presentations

__all__ = ["SPEC", "dual", "p_mean"]


@checked
def dual(p_true: np.ndarray, *, seen: np.ndarray | None = None, window: int = 10) -> np.ndarray:
    """The spread of the true class's probability times its distance from 1, mean over windows and seeds.

    Args:
        p_true: (seeds, epochs, n) or (epochs, n), in [0, 1], training mode.
        seen: the same shape, False where an example was not presented; None = always.
        window: J, presentations per window. Paper: 10.

    Returns:
        (n,) float32, at least 0, higher = kept first.

    Raises:
        OptionError: wrong shapes, p_true outside [0, 1], or an example with fewer presentations than one window.

    >>> print(dual(np.array([[0.0], [1.0]]), window=2).round(4))
    [0.3536]
    """
    values, counts = packed(p_true, seen, "p_true")
    spread, mean, full = windowed_std(values, counts, window, "dual")
    return mean_over_windows(spread * (1 - mean), full)


def p_mean(p_true: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
    """(n,) float32: the mean probability of the true class, which DUAL's Beta sampling needs.

    >>> p_mean(np.array([[0.0], [1.0]])).tolist()
    [0.5]
    """
    return mean_over_presentations(p_true, seen, "p_true").astype(np.float32)


SPEC = ScorerSpec(
    dual,
    presentations("p_true"),
    hardness={"": 1, "p_mean": -1},
    extras={"p_mean": p_mean},
    reference="Cho et al. 2025",
)
