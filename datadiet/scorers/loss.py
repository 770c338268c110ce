"""Loss: the cross-entropy of an example under the trained model.

The plainest measure of difficulty, -log p_y, in evaluation mode without augmentation. At the final checkpoint it is a
baseline in the code of CCS (Zheng et al. 2023, arXiv 2210.15809).

Deviations: none.

Cost: one evaluation pass per seed.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.presentations import mean_over_axes
from datadiet.scorers.spec import ScorerSpec, outputs

__all__ = ["SPEC", "loss"]


@checked
def loss(loss: np.ndarray) -> np.ndarray:
    """The mean cross-entropy over seeds.

    Args:
        loss: (seeds, n), (n,) or (seeds, epochs, n), in nats, at least 0.

    Returns:
        (n,) float32, at least 0, higher = harder.

    Raises:
        OptionError: a scalar, no seed, or an entry that is NaN, infinite or out of range.

    >>> loss(np.array([[0.5, 2.0], [1.5, 4.0]])).tolist()
    [1.0, 3.0]
    """
    return mean_over_axes(loss, "loss")


SPEC = ScorerSpec(loss, outputs("loss"), reference="Zheng et al. 2023 (a baseline)")
