"""Forgetting events: how often an example goes from right to wrong during training.

Toneva et al.: An Empirical Study of Example Forgetting during Deep Neural Network Learning, ICLR 2019 (arXiv
1812.05159), section 3. A forgetting event is a presentation at which the example is misclassified
although it was classified correctly at its previous presentation. An example that was never learned in a run counts as
many events as the run had presentations of it (the authors' code).

Deviations: the mean over seeds instead of the sum, so that the number of seeds does not change the scale. Other
published conventions for never-learned examples are options: `never="infinite"` (Data Diet) and `never="zero"` (the
code of CCS, DeepCore, DUAL and others, which ranks them among the easiest).

Cost: none beyond the training run whose presentations are recorded.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from datadiet.parameters import checked
from datadiet.scorers.presentations import packed
from datadiet.scorers.spec import ScorerSpec, presentations

__all__ = ["SPEC", "first_learned", "forgetting", "never_learned"]


@checked
def forgetting(
    correct: np.ndarray,
    *,
    seen: np.ndarray | None = None,
    never: Literal["presentations", "infinite", "zero"] = "presentations",
) -> np.ndarray:
    """Mean number of forgetting events per run.

    Args:
        correct: (seeds, epochs, n) or (epochs, n), bool or 0/1: was it classified correctly when presented?
        seen: the same shape, False where an example was not presented; None = always.
        never: the count for a run in which the example was never correct: its number of presentations, infinity, or 0.

    Returns:
        (n,) float32, at least 0, higher = harder.

    Raises:
        OptionError: wrong shapes, entries other than 0 and 1, an example never presented in some run, or an unknown
            `never`.

    >>> learned_lost_learned, never_right = [0, 1, 0, 1], [0, 0, 0, 0]
    >>> forgetting(np.array([learned_lost_learned, never_right]).T).tolist()
    [1.0, 4.0]
    """
    right, counts = _right(correct, seen)
    later = np.arange(1, right.shape[1])[:, None] < counts[:, None, :]
    events = (right[:, :-1] & ~right[:, 1:] & later).sum(axis=1).astype(np.float64)
    unlearned = {"presentations": counts, "infinite": np.array(np.inf), "zero": np.array(0)}[never]
    return np.where(right.any(axis=1), events, unlearned).mean(axis=0).astype(np.float32)


def never_learned(correct: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
    """(n,) bool: correct at no presentation of any run.

    >>> never_learned(np.array([[0, 0], [1, 0]])).tolist()
    [False, True]
    """
    right, _ = _right(correct, seen)
    return np.logical_not(right.any(axis=(0, 1)))


def first_learned(correct: np.ndarray, *, seen: np.ndarray | None = None) -> np.ndarray:
    """(n,) float32: the number, from 1, of the presentation at which it was first correct, mean over runs.

    A run in which it was never correct counts its number of presentations plus one.

    >>> first_learned(np.array([[0, 0], [1, 0]])).tolist()
    [2.0, 3.0]
    """
    right, counts = _right(correct, seen)
    first = np.where(right.any(axis=1), right.argmax(axis=1) + 1, counts + 1)
    return first.mean(axis=0).astype(np.float32)


def _right(correct: np.ndarray, seen: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Correctness at each presentation, packed, False beyond the last; and the number of presentations."""
    values, counts = packed(correct, seen, "correct")
    return (values != 0) & (np.arange(values.shape[1])[:, None] < counts[:, None, :]), counts


SPEC = ScorerSpec(
    forgetting,
    presentations("correct"),
    extras={"never_learned": never_learned, "first_learned": first_learned},
    reference="Toneva et al. 2019",
)
