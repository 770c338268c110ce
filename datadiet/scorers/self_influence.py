"""TracIn self-influence: how much an example's own steps lowered its own loss, to first order.

Pruthi, Liu, Kale, Sundararajan: Estimating Training Data Influence by Tracing Gradient Descent, NeurIPS 2020 (arXiv
2002.08484), TracInCP with the example as its own test example: sum_t eta_t ||g_i(theta_t)||^2, with eta_t the learning
rate at checkpoint t and g_i the gradient of the example's loss. Mislabelled and rare examples score high.

Deviations: divided by sum_t eta_t, so that the number of checkpoints does not change the scale (the ranking stays
the same); the mean over seeds.

Cost: one forward and one backward pass per seed and checkpoint, without weight gradients: the same as GraNd, whose
recording it shares.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.checkpoints import mean_over_checkpoints
from datadiet.scorers.spec import Need, ScorerSpec

__all__ = ["SPEC", "self_influence"]


@checked
def self_influence(grad_norm: np.ndarray, *, lr: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """The mean squared gradient norm over checkpoints, weighted by the learning rate, mean over seeds.

    Args:
        grad_norm: (seeds, epochs, n), or (seeds, n) or (n,) for one checkpoint: ||g_i||_2, at least 0.
        lr: (epochs,), the learning rate at each checkpoint, at least 0; None = equal weights.

    Returns:
        (n,) float32, at least 0, higher = harder.

    Raises:
        OptionError: the wrong shape, NaN, infinity or an entry out of range, or learning rates that cannot be weights.

    References:
        Pruthi et al. 2020.

    >>> self_influence(np.array([[[1.0], [3.0]]]), lr=[0.1, 0.3]).tolist()
    [7.0]
    """
    return mean_over_checkpoints("grad_norm", grad_norm, lr, squared=True).astype(np.float32)


SPEC = ScorerSpec(
    self_influence, (Need("grad_norm", "grad", "every"),), facts={"lr": "lr"}, reference="Pruthi et al. 2020"
)
