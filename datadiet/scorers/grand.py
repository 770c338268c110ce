"""GraNd: the norm of the gradient of an example's loss with respect to all parameters, early in training.

Paul, Ganguli, Dziugaite: Deep Learning on a Data Diet, NeurIPS 2021 (arXiv 2107.07075), Definition 2.1:
GraNd(x, y) = E ||grad_theta loss(theta; x, y)||_2, the mean over several initialisations at one early epoch.

Deviations: several epochs may be given; they are averaged. Which epoch to use is a choice of the run. At
initialisation, the published result was not reproduced, and the score follows the norm of the input (Kirsch, arXiv
2303.14753).

Cost: one forward and one backward pass per seed and checkpoint, without weight gradients.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.checkpoints import mean_over_checkpoints
from datadiet.scorers.spec import Need, ScorerSpec

__all__ = ["SPEC", "grand"]


@checked
def grand(grad_norm: np.ndarray) -> np.ndarray:
    """The mean gradient norm over seeds and checkpoints.

    Args:
        grad_norm: (seeds, n), or (n,), or (seeds, epochs, n): ||g_i||_2 over all parameters, at least 0.

    Returns:
        (n,) float32, at least 0, higher = harder.

    Raises:
        OptionError: the wrong shape, no seed or epoch, NaN, infinity or an entry out of range.

    References:
        Paul et al. 2021, Definition 2.1. `grand_last` is the same for the last layer alone, without a backward pass.

    >>> grand(np.array([[0.0, 3.0], [1.0, 5.0]])).tolist()
    [0.5, 4.0]
    """
    return mean_over_checkpoints("grad_norm", grad_norm).astype(np.float32)


SPEC = ScorerSpec(grand, (Need("grad_norm", "grad", "early"),), reference="Paul et al. 2021")
