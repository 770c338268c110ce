"""Grad-Dot: how much one step on an example lowers the reference loss, to first order (TracIn over checkpoints).

Pruthi, Liu, Kale, Sundararajan: Estimating Training Data Influence by Tracing Gradient Descent, NeurIPS 2020 (arXiv
2002.08484), TracInCP: sum_t eta_t <g_i(theta_t), v(theta_t)>, with eta_t the learning rate at checkpoint t, g_i the
gradient of the example's loss and v here the mean gradient of the reference losses.

Deviations: divided by sum_t eta_t, so that the number of checkpoints does not change the scale (the ranking stays
the same); the mean over seeds. The reference gradients are averaged before the product, which gives the mean of the
published score over reference examples.

Cost: a pass over the reference data and a forward and backward pass over the training data, per seed and checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.checkpoints import mean_over_checkpoints
from datadiet.scorers.spec import Need, ScorerSpec

__all__ = ["SPEC", "grad_dot"]


@checked
def grad_dot(grad_dot: np.ndarray, *, lr: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """The mean product with the reference gradient over checkpoints, weighted by the learning rate, mean over seeds.

    Args:
        grad_dot: (seeds, epochs, n), or (seeds, n) or (n,) for one checkpoint: <g_i, v>, of any sign.
        lr: (epochs,), the learning rate at each checkpoint, at least 0; None = equal weights.

    Returns:
        (n,) float32, positive = keeping the example lowers the reference loss.

    Raises:
        OptionError: the wrong shape, NaN or infinity, or learning rates that cannot be weights.

    References:
        Pruthi et al. 2020.

    >>> grad_dot(np.array([[[2.0], [-2.0]]]), lr=[0.3, 0.1]).tolist()
    [1.0]
    """
    return mean_over_checkpoints("grad_dot", grad_dot, lr).astype(np.float32)


SPEC = ScorerSpec(
    grad_dot, (Need("grad_dot", "dots", "last"),), facts={"lr": "lr"}, reference="Pruthi et al. 2020 (TracInCP)"
)
