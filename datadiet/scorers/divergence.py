"""Divergence: how far another network, such as the pruned copy, is from the network that is scored.

He et al.: PASER: Post-Training Data Selection for Efficient Pruned Large Language Model Recovery, ICLR 2026 (arXiv
2502.12594), the degradation of an example: JSD(p, q) = (KL(p || m) + KL(q || m)) / 2 with m = (p + q) / 2, in nats.
Here p are the class probabilities of the dense network and q those of the pruned one, in evaluation mode, without
augmentation.

Deviations: the paper averages over the tokens of a text; a classifier has one distribution per example. The mean over
seeds. The class that the dense network predicts is kept in a further column, for the selector `paser`.

Cost: an evaluation pass by each of the two networks, per seed; the first is shared with the pass of the output signals.
"""

from __future__ import annotations

from math import prod

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.scorers.presentations import mean_over_axes, outputs_of
from datadiet.scorers.spec import Need, ScorerSpec

__all__ = ["SPEC", "divergence"]


@checked
def divergence(divergence: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
    """The mean divergence over seeds, and the class that the scored networks predict.

    Args:
        divergence: (seeds, n), (n,) or (seeds, epochs, n): Jensen-Shannon divergences in nats, in [0, ln 2].
        predicted: the same shape, class numbers of at least 0.

    Returns:
        "": (n,) float32 in [0, ln 2], higher = the other network is further away. "predicted": (n,) float32, the class
        that most of the networks predict, of equally many the lowest; it has no order.

    Raises:
        OptionError: wrong shapes, no seed, or an entry that is NaN or out of range.

    >>> out = divergence(np.array([[0.0, 0.5], [0.25, 0.5]]), np.array([[1, 7], [0, 7]]))
    >>> [values.tolist() for values in out.values()]
    [[0.125, 0.5], [0.0, 7.0]]
    """
    mean = mean_over_axes(divergence, "divergence")
    classes = outputs_of(predicted, "predicted")
    if classes.shape != np.shape(divergence):
        raise OptionError(
            f"divergence has shape {np.shape(divergence)} and predicted {classes.shape}: they must be the same."
        )
    return {"": mean, "predicted": _most_frequent(classes.reshape(prod(classes.shape[:-1]), len(mean)))}


def _most_frequent(classes: np.ndarray) -> np.ndarray:
    """(networks, n) class numbers -> (n,) float32, the most frequent of each column, of equally many the lowest."""
    votes = (classes[:, None] == classes[None]).sum(axis=1)
    return np.where(votes == votes.max(axis=0), classes, np.inf).min(axis=0).astype(np.float32)


SPEC = ScorerSpec(
    divergence,
    (Need("divergence", "divergence"), Need("predicted", "divergence")),
    hardness={"": 1, "predicted": 0},
    reference="He et al. 2026 (PASER)",
)
