"""Margin: the gap between the two most probable classes.

The margin of active learning, p_1 - p_2 with p_1 >= p_2 the two largest probabilities, where p is the softmax output of
the trained model in evaluation mode, without augmentation. DeepCore (Guo, Zhao, Bai 2022, arXiv
2204.08499) uses it as a baseline for data selection.

Deviations: none. No label is used.

Cost: one evaluation pass per seed.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.presentations import mean_over_axes
from datadiet.scorers.spec import ScorerSpec, outputs

__all__ = ["SPEC", "margin"]


@checked
def margin(p_gap: np.ndarray) -> np.ndarray:
    """The mean over seeds of p_1 - p_2.

    Args:
        p_gap: (seeds, n), (n,) or (seeds, epochs, n), in [0, 1].

    Returns:
        (n,) float32, the published sign: low = hard.

    Raises:
        OptionError: a scalar, no seed, or an entry that is NaN, infinite or out of range.

    >>> margin(np.array([[0.25, 0.5], [0.25, 0.5]])).tolist()
    [0.25, 0.5]
    """
    return mean_over_axes(p_gap, "p_gap")


SPEC = ScorerSpec(margin, outputs("p_gap"), hardness=-1, reference="Guo et al. 2022")
