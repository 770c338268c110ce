"""TDDS: how much the predictions of an example fluctuate between epochs, with late windows counting most.

Zhang, Du, Li, Xie, Zhou: Spanning Training Progress: Temporal Dual-Depth Scoring (TDDS) for Enhanced Dataset Pruning,
CVPR 2024 (arXiv 2311.13613). With shift_t = sum_c |p_{t,c} (log p_{t,c} - log p_{t-1,c})|, each window of J epochs has
J - 1 shifts; D_k = the Euclidean norm of the shifts minus their mean, and the score is sum_k D_k lambda
(1 - lambda)^(K - 1 - k) over the K = T - J + 1 windows. With the authors' lambda = 0.9 the last window carries 90 % of
the weight, so T matters: set it with `-p tdds.at=1-T`.

Deviations: the mean over seeds. The authors also multiply the training loss by the score; that is not done here.

Cost: the shift needs the whole probability vector of the previous epoch, n x C float32 in memory and, to be resumable,
on disk in RUN/state while the run lasts (2 GB for 500,000 examples of 1,000 classes). It is recorded only when asked
for.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.scorers.presentations import as_runs
from datadiet.scorers.spec import ScorerSpec, presentations

__all__ = ["SPEC", "tdds"]


@checked
def tdds(shift: np.ndarray, *, seen: np.ndarray | None = None, window: int = 10, decay: float = 0.9) -> np.ndarray:
    """The exponentially weighted spread of prediction shifts, mean over seeds.

    Args:
        shift: (seeds, T - 1, n) or (T - 1, n): column t compares epoch t + 2 with epoch t + 1; at least 0.
        seen: the same shape; every example must have been presented in every epoch.
        window: J, epochs per window. Published settings: 5 to 20, depending on the share pruned.
        decay: lambda, in (0, 1]. Paper: 0.9.

    Returns:
        (n,) float32, at least 0, higher = kept first.

    Raises:
        OptionError: missing presentations, a shift that is negative or not finite, fewer epochs than one window, window
            below 3, or decay outside (0, 1].

    >>> print(tdds(np.array([[0.0], [2.0]]), window=3).round(4))
    [1.2728]
    """
    values, partial = as_runs(shift, seen, "shift")
    if partial is not None:
        raise OptionError(
            "tdds compares consecutive epochs and some examples were not presented in every one: train on all the data."
        )
    if window < 3 or not 0 < decay <= 1:
        raise OptionError(
            f"window={window}, decay={decay}: tdds takes a window of at least 3 epochs and a decay in (0, 1]."
        )
    number = values.shape[1] - (window - 1) + 1
    if number < 1:
        raise OptionError(
            f"tdds uses windows of {window} epochs and {values.shape[1] + 1} were recorded: record more, or pass a "
            "smaller window= (-p tdds.window=…)."
        )
    score = np.zeros((values.shape[0], values.shape[2]))
    for k in range(number):
        part = values[:, k : k + window - 1].astype(np.float64)
        depth = np.sqrt(((part - part.mean(axis=1, keepdims=True)) ** 2).sum(axis=1))
        score = score * (1 - decay) + decay * depth
    return score.mean(axis=0).astype(np.float32)


SPEC = ScorerSpec(tdds, presentations("shift"), reference="Zhang et al. 2024")
