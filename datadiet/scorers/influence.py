"""Influence: how much the reference loss would rise if the example were left out and the last layer re-trained.

The last layer is re-fitted on its features until it converges, since the formula holds only at the optimum. Then the
leave-one-out effect of every example is computed, exact to second order: see `influence_last_layer` (Koh and Liang,
ICML 2017, arXiv 1703.04730; Rahnama Rad and Maleki, JRSS B 2020, arXiv 1801.10243).

Deviations: the layers below are held fixed, and the head's own weights are replaced by converged ones with penalty l2.

Cost: one pass for the features of both data sets, a Newton fit, and with P = C (d + 1) at most 8192 about 4 n P^2
operations.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from datadiet.arrays import as_array, class_numbers
from datadiet.parameters import checked
from datadiet.scorers.influence_last_layer import check_head, influence_last_layer
from datadiet.scorers.refit_head import head_probabilities, refit_head
from datadiet.scorers.spec import ScorerSpec, class_labels, vectors

__all__ = ["SPEC", "influence"]


@checked
def influence(
    features: np.ndarray,
    labels: np.ndarray,
    val_features: np.ndarray,
    val_labels: np.ndarray,
    *,
    l2: float = 1e-3,
    order: Literal["newton", "first"] = "newton",
) -> np.ndarray:
    """The predicted rise of the mean reference loss when the example is left out.

    Args:
        features: (n, d), the input of the last linear layer.
        labels: (n,) class numbers.
        val_features: (m, d), of the reference examples.
        val_labels: (m,) class numbers.
        l2: above 0, the penalty with which the head is fitted, on the mean loss.
        order: "newton" predicts the change on re-training; "first" is the classical influence function.

    Returns:
        (n,) float32, positive = keeping the example lowers the reference loss.

    Raises:
        OptionError: shapes or labels that do not fit, NaN, l2 not above 0, or too many classes times features.

    >>> x, y = np.array([[2.0], [-2.0], [-2.0]]), np.array([0, 1, 0])  # the last one is labelled wrongly
    >>> (influence(x, y, x[:2], y[:2], l2=0.1) > 0).tolist()
    [True, True, False]
    """
    h, label, val_h, val_label = _opened(features, labels, val_features, val_labels, l2=l2, order=order)
    probabilities, theta = refit_head(h, label, l2=l2, classes=_classes(label, val_label))
    val_probabilities = head_probabilities(val_h, theta)
    return influence_last_layer(h, probabilities, label, val_h, val_probabilities, val_label, l2=l2, order=order)


def _opened(
    features: np.ndarray,
    labels: np.ndarray,
    val_features: np.ndarray,
    val_labels: np.ndarray,
    *,
    l2: float = 1e-3,
    order: Literal["newton", "first"] = "newton",
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The arrays of `influence`; options that it cannot use are refused."""
    h, val_h = as_array("features", features, "n d"), as_array("val_features", val_features, "m d")
    label, val_label = class_numbers("labels", labels, len(h)), class_numbers("val_labels", val_labels, len(val_h))
    check_head(_classes(label, val_label), h.shape[1] + 1, l2=l2, order=order, bias=True)
    return h, label, val_h, val_label


def _classes(label: np.ndarray, val_label: np.ndarray) -> int:
    return int(max(label.max(), val_label.max())) + 1


SPEC = ScorerSpec(
    influence,
    (vectors("features"), class_labels(), vectors("features", "reference"), class_labels("reference")),
    each=True,
    check=_opened,
    reference="Koh and Liang 2017",
)
