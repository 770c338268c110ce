"""Dataset cartography: confidence, variability and correctness over training.

Swayamdipta et al.: Dataset Cartography: Mapping and Diagnosing Datasets with Training Dynamics, EMNLP 2020 (arXiv
2009.10795), section 2.1: the mean of the true class's probability over epochs, its (population) standard deviation, and
the share of epochs in which the example is classified correctly. High variability marks ambiguous examples; low
confidence with low variability marks hard or mislabelled ones.

Deviations: scores are averaged over seeds.

Cost: none beyond the training run whose presentations are recorded.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.scorers.presentations import as_runs, mean_of_seen
from datadiet.scorers.spec import ScorerSpec, presentations

__all__ = ["SPEC", "cartography"]


@checked
def cartography(p_true: np.ndarray, correct: np.ndarray, *, seen: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The three coordinates of a data map.

    Args:
        p_true: (seeds, epochs, n) or (epochs, n), in [0, 1].
        correct: the same shape, bool or 0/1.
        seen: the same shape, False where an example was not presented; None = always.

    Returns:
        "confidence": (n,) float32 in [0, 1], low = hard. "variability": (n,) float32 in [0, 0.5], high = ambiguous.
        "correctness": (n,) float32 in [0, 1], low = hard.

    Raises:
        OptionError: wrong shapes, an entry that is NaN or out of range, or an example never presented in some run.

    >>> out = cartography(np.array([[0.2], [0.6]]), np.array([[0], [1]]))
    >>> print(*(values.round(2) for values in out.values()))
    [0.4] [0.2] [0.5]
    """
    values, mask = as_runs(p_true, seen, "p_true")
    right, _ = as_runs(correct, seen, "correct")
    if values.shape != right.shape:
        raise OptionError(f"p_true has shape {values.shape} and correct {right.shape}: they must be the same.")
    counts = values.shape[1] if mask is None else mask.sum(axis=1)
    mean = (values if mask is None else np.where(mask, values, 0)).sum(axis=1, dtype=np.float64) / counts
    squares = values - mean[:, None]
    np.square(squares, out=squares)
    if mask is not None:
        squares[~mask] = 0
    return {
        "confidence": mean.mean(axis=0).astype(np.float32),
        "variability": np.sqrt(squares.sum(axis=1) / counts).mean(axis=0).astype(np.float32),
        "correctness": mean_of_seen(right, mask).astype(np.float32),
    }


SPEC = ScorerSpec(
    cartography,
    presentations("p_true", "correct"),
    hardness={"confidence": -1, "variability": 1, "correctness": -1},
    reference="Swayamdipta et al. 2020",
)
