"""Grad-Cos: whether an example pulls the network in the same direction as the reference data.

Charpiat, Girard, Felardos, Tarabalka: Input Similarity from the Neural Network Perspective, NeurIPS 2019, compare
examples by the angle of their gradients; Xia, Malladi, Gururangan, Arora, Chen: LESS, ICML 2024 (arXiv 2402.04333)
weight the cosines of the checkpoints by the learning rate: sum_t eta_t <g_i, v> / (||g_i|| ||v||), with g_i the
gradient of the example's loss and v here the mean gradient of the reference losses.

Deviations: divided by sum_t eta_t (the ranking stays the same); the mean over seeds. Gradients are plain on both
sides: LESS uses the Adam step for the training example, LoRA parameters, and the maximum over its validation tasks.

Cost: as for Grad-Dot: a pass over the reference data and a forward and backward pass over the training data, per seed
and checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.checkpoints import mean_over_checkpoints
from datadiet.scorers.spec import Need, ScorerSpec

__all__ = ["SPEC", "grad_cos"]


@checked
def grad_cos(grad_cos: np.ndarray, *, lr: Sequence[float] | np.ndarray | None = None) -> np.ndarray:
    """The mean cosine with the reference gradient over checkpoints, weighted by the learning rate, mean over seeds.

    Args:
        grad_cos: (seeds, epochs, n), or (seeds, n) or (n,) for one checkpoint: cosine of g_i and v, in [-1, 1].
        lr: (epochs,), the learning rate at each checkpoint, at least 0; None = equal weights.

    Returns:
        (n,) float32 in [-1, 1], positive = keeping the example lowers the reference loss.

    Raises:
        OptionError: the wrong shape, NaN, infinity or an entry out of range, or learning rates that cannot be weights.

    References:
        Charpiat et al. 2019; Xia et al. 2024.

    >>> grad_cos(np.array([[[1.0], [-1.0]]]), lr=[0.3, 0.1]).tolist()
    [0.5]
    """
    return mean_over_checkpoints("grad_cos", grad_cos, lr).astype(np.float32)


SPEC = ScorerSpec(grad_cos, (Need("grad_cos", "dots", "last"),), facts={"lr": "lr"}, reference="Charpiat et al. 2019")
