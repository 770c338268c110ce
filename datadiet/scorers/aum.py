"""AUM: the mean margin of the true class over training; mislabelled examples have the lowest.

Pleiss, Zhang, Elenberg, Weinberger: Identifying Mislabeled Data using the Area Under the Margin Ranking, NeurIPS 2020
(arXiv 2001.10528), equation 2: AUM(x, y) = mean over epochs of z_y(x) - max_{c != y} z_c(x), the logit margin when the
example is presented in training (training mode, augmented).

Deviations: none in the formula; all recorded epochs count unless `at` says otherwise. `aum_prob` is the same mean over
the margin of probabilities, the "accumulated margin" of the CCS code (a sum there); it ranks examples differently.

Cost: none beyond the training run whose presentations are recorded.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.presentations import mean_over_presentations
from datadiet.scorers.spec import ScorerSpec, presentations

__all__ = ["SPEC", "SPEC_PROB", "aum"]


@checked
def aum(margin: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
    """The mean margin over presentations and seeds.

    Args:
        margin: (seeds, epochs, n) or (epochs, n), the margin of the true class over the best other class.
        seen: the same shape, False where an example was not presented; None = always.

    Returns:
        (n,) float32, the published sign: low = hard or mislabelled.

    Raises:
        OptionError: wrong shapes, NaN or infinity, or an example never presented in some run.

    >>> aum(np.array([[1.0, -2.0], [3.0, 0.0]])).tolist()
    [2.0, -1.0]
    """
    return mean_over_presentations(margin, seen, "margin").astype(np.float32)


SPEC = ScorerSpec(aum, presentations("margin"), hardness=-1, reference="Pleiss et al. 2020")

SPEC_PROB = ScorerSpec(
    aum,
    presentations("p_margin"),
    hardness=-1,
    name="aum_prob",
    reference="Zheng et al. 2023 (their accumulated margin)",
)
