"""Least confidence: how far the most probable class is from certainty.

One of the uncertainty measures of active learning, used to select training data by Coleman et al.: Selection via
Proxy, ICLR 2020 (arXiv 1906.11829): 1 - max_c p_c, where p is the softmax output of the trained model in evaluation
mode, without augmentation.

Deviations: none. No label is used.

Cost: one evaluation pass per seed.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.presentations import mean_over_axes
from datadiet.scorers.spec import ScorerSpec, outputs

__all__ = ["SPEC", "least_confidence"]


@checked
def least_confidence(doubt: np.ndarray) -> np.ndarray:
    """The mean over seeds of 1 - max_c p_c.

    Args:
        doubt: (seeds, n), (n,) or (seeds, epochs, n), in [0, 1 - 1/C].

    Returns:
        (n,) float32, higher = harder.

    Raises:
        OptionError: a scalar, no seed, or an entry that is NaN, infinite or out of range.

    >>> least_confidence(np.array([[0.25, 0.5], [0.25, 0.5]])).tolist()
    [0.25, 0.5]
    """
    return mean_over_axes(doubt, "doubt")


SPEC = ScorerSpec(least_confidence, outputs("doubt"), reference="Coleman et al. 2020")
