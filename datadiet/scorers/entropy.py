"""Entropy: the entropy of the predicted probabilities.

One of the uncertainty measures of active learning, used to select training data by Coleman et al.: Selection via
Proxy, ICLR 2020 (arXiv 1906.11829): H(p) = - sum_c p_c log p_c, where p is the softmax output of the trained model in
evaluation mode, without augmentation.

Deviations: none. No label is used.

Cost: one evaluation pass per seed.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.presentations import mean_over_axes
from datadiet.scorers.spec import ScorerSpec, outputs

__all__ = ["SPEC", "entropy"]


@checked
def entropy(entropy: np.ndarray) -> np.ndarray:
    """The mean over seeds of H(p) = - sum_c p_c log p_c.

    Args:
        entropy: (seeds, n), (n,) or (seeds, epochs, n), in nats, in [0, log C].

    Returns:
        (n,) float32, higher = harder.

    Raises:
        OptionError: a scalar, no seed, or an entry that is NaN, infinite or out of range.

    >>> entropy(np.array([[0.25, 0.5], [0.25, 0.5]])).tolist()
    [0.25, 0.5]
    """
    return mean_over_axes(entropy, "entropy")


SPEC = ScorerSpec(entropy, outputs("entropy"), reference="Coleman et al. 2020")
