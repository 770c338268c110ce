"""EL2N: how far the predicted probabilities are from the label, early in training.

Paul, Ganguli, Dziugaite: Deep Learning on a Data Diet, NeurIPS 2021 (arXiv 2107.07075), Definition 2.2:
EL2N(x, y) = E ||p(x) - y||_2, the mean over several initialisations, with p the softmax output in evaluation mode,
without augmentation, and y one-hot.

Deviations: none in the formula. Which epoch to use is a choice of the run: see docs/methods/el2n.md. Some later code
(CCS) sums training-mode errors of the first ten epochs: `-p el2n.mode=train -p el2n.at=1-10`.

Cost: one evaluation pass per seed. The authors recommend ten seeds or more; a single seed is noisy.
"""

from __future__ import annotations

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.presentations import mean_over_axes
from datadiet.scorers.spec import ScorerSpec, outputs

__all__ = ["SPEC", "el2n"]


@checked
def el2n(error_norm: np.ndarray) -> np.ndarray:
    """The mean error norm over seeds.

    Args:
        error_norm: (seeds, n), or (n,), or (seeds, epochs, n): ||p - y||_2, in [0, sqrt 2].

    Returns:
        (n,) float32 in [0, sqrt 2], higher = harder.

    Raises:
        OptionError: a scalar, no seed, or an entry that is NaN, infinite or out of range.

    >>> el2n(np.array([[0.0, 1.0], [0.5, 1.0]])).tolist()
    [0.25, 1.0]
    """
    return mean_over_axes(error_norm, "error_norm")


SPEC = ScorerSpec(el2n, outputs("error_norm", at="early"), reference="Paul et al. 2021")
