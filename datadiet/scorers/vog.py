"""VoG: how much the gradient of the true class's logit with respect to the pixels changes between checkpoints.

Agarwal, D'souza, Hooker: Estimating Example Difficulty Using Variance of Gradients, CVPR 2022 (arXiv 2008.11600). With
S_t the gradient of the true-class logit with respect to the input at checkpoint t, signed and averaged over channels,
VoG = mean over pixels of sqrt((1/K) sum_t (S_t - mean_t S_t)^2): despite the name, a population standard deviation.
The paper then standardises within each class: (VoG - mean_c) / std_c.

Deviations: standard scores use ddof 0, and a class of one example, or of equal ones, gets 0. By default `vog_spread`
does not normalise (as in the authors' ImageNet code): within-class scores make a class of hard images look like a class
of easy ones. The mean over seeds is taken first.

Cost: per checkpoint one forward pass and a backward pass to the input, without weight gradients. A probe that sees all
checkpoints of a batch stores one number per example and seed; only `vog` needs the maps themselves.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from datadiet.arrays import as_array, check_range, class_numbers
from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.scorers.checkpoints import mean_over_checkpoints
from datadiet.scorers.spec import Need, ScorerSpec, class_labels

__all__ = ["SPEC", "vog", "vog_spread"]

_ROWS = 32  # examples at a time: ten checkpoints of 224 x 224 pixels take 128 MB in float64


def vog(maps: np.ndarray, labels: np.ndarray | None = None) -> np.ndarray:
    """The pixel mean of the standard deviation over checkpoints, from the gradient maps.

    Args:
        maps: (checkpoints, n, *spatial), gradient of the true-class logit, signed, averaged over channels.
        labels: (n,) class numbers; if given, the result is the standard score within each class.

    Returns:
        (n,) float32, higher = harder; at least 0 without labels.

    Raises:
        OptionError: fewer than two checkpoints, no pixel, NaN or infinity, or labels that do not fit.

    References:
        Agarwal et al. 2022.

    >>> vog(np.array([[[1.0, 0.0]], [[3.0, 0.0]]])).tolist()
    [0.5]
    """
    values = as_array("maps", maps, "checkpoints n* ...")
    if len(values) < 2:
        raise OptionError(
            f"maps has shape {values.shape}: vog measures a spread, so give (checkpoints, n, height, width) with at "
            "least 2 checkpoints."
        )
    n = values.shape[1]
    spread = np.empty(n)
    for start in range(0, n, _ROWS):
        part = values[:, start : start + _ROWS].astype(np.float64)
        check_range("maps", part, at=(0, start))
        part -= part[:1].copy()  # so that equal maps have a spread of exactly 0
        spread[start : start + _ROWS] = part.std(axis=0).mean(axis=tuple(range(1, part.ndim - 1)))
    return (spread if labels is None else _within_class(spread, class_numbers("labels", labels, n))).astype(np.float32)


@checked
def vog_spread(
    spread: np.ndarray, labels: np.ndarray | None = None, *, normalise: Literal["none", "class"] = "none"
) -> np.ndarray:
    """The mean over seeds of spreads that were reduced during recording.

    Args:
        spread: (seeds, n) or (n,): per seed the pixel mean of the standard deviation over checkpoints, at least 0.
        labels: (n,) class numbers, needed to normalise.
        normalise: "class" gives the standard score within each class. Paper: "class".

    Returns:
        (n,) float32, higher = harder; at least 0 without normalisation.

    Raises:
        OptionError: no seed, NaN or infinity, an unknown `normalise`, or labels that are missing or do not fit.

    References:
        Agarwal et al. 2022.

    >>> vog_spread(np.array([[1.0, 2.0, 7.0], [1.0, 4.0, 7.0]]), np.array([0, 0, 1]), normalise="class").tolist()
    [-1.0, 1.0, 0.0]
    """
    mean = mean_over_checkpoints("input_grad_spread", spread)
    classes = None if labels is None else class_numbers("labels", labels, len(mean))
    if normalise == "class":
        if classes is None:
            raise OptionError("normalise='class' without labels: give the class of every example, or normalise='none'.")
        mean = _within_class(mean, classes)
    return mean.astype(np.float32)


def _within_class(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(n,) float64: how many standard deviations of its class an example lies above the mean of its class."""
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    count = np.bincount(group)
    # Measured from the first example of the class, equal values have a spread of exactly 0. Rounding the mean could
    # otherwise make it 1e-17, and their standard scores -1.
    moved = values - values[first][group]
    centred = moved - (np.bincount(group, moved) / count)[group]
    deviation = np.sqrt(np.bincount(group, centred**2) / count)[group]
    return np.divide(centred, deviation, out=np.zeros_like(centred), where=deviation > 0)


SPEC = ScorerSpec(
    vog_spread,
    (Need("input_grad_spread", "vog", "every"), class_labels()),
    name="vog",
    reference="Agarwal et al. 2022",
)
