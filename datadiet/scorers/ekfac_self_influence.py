"""Self-influence with curvature: how much an example's own loss would rise if it were left out, by EK-FAC.

g_i' (F + damping)^-1 g_i with F the Fisher matrix of the network, approximated layer by layer by eigenvalue-corrected
Kronecker factors (George et al., NeurIPS 2018, arXiv 1806.03884; for influence: Grosse et al. 2023, arXiv 2308.03296).
Directions in which the loss over the whole data set is curved count less than in `self_influence`, the plain squared
norm.

Deviations: one checkpoint, averaged over seeds; see `datadiet.signals.gradients.kfac` for the factors.

Cost: three passes with gradients per seed: two for the factors, one for the scores.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.checkpoints import mean_over_checkpoints
from datadiet.scorers.spec import Need, ScorerSpec

__all__ = ["SPEC", "ekfac_self_influence"]


@checked
def ekfac_self_influence(ekfac: np.ndarray) -> np.ndarray:
    """The mean over seeds and checkpoints.

    Args:
        ekfac: (seeds, n), (seeds, epochs, n) or (n,), g_i' (F + damping)^-1 g_i, at least 0.

    Returns:
        (n,) float32, at least 0, higher = harder.

    Raises:
        OptionError: the wrong shape, NaN, infinity or an entry out of range.

    >>> ekfac_self_influence(np.array([[1.0], [3.0]])).tolist()
    [2.0]
    """
    return mean_over_checkpoints("ekfac", ekfac).astype(np.float32)


SPEC = ScorerSpec(
    ekfac_self_influence, (Need("ekfac", "ekfac", "last"),), reference="George et al. 2018; Grosse et al. 2023"
)
