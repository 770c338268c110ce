"""Last-layer GraNd: the norm of the loss gradient of the classifier's last linear layer, in closed form.

Paul, Ganguli, Dziugaite: Deep Learning on a Data Diet, NeurIPS 2021 (arXiv 2107.07075), Definition 2.1, restricted to
the last layer. For cross-entropy and a head z = W h + b, the gradient of the loss is (p - y) h^T for W and p - y for b,
so its norm is ||p - y||_2 sqrt(||h||^2 + 1) exactly, and ||p - y||_2 ||h|| without a bias.

Deviations: the definition takes the gradient with respect to all parameters; most published "GraNd" baselines are this
last-layer form, some of them divided by the batch size. Here nothing depends on the batch.

Cost: one evaluation pass per seed, no backward pass.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import checked
from datadiet.scorers.presentations import outputs_of
from datadiet.scorers.spec import ScorerSpec, outputs

__all__ = ["SPEC", "grand_last"]


@checked
def grand_last(error_norm: np.ndarray, feature_norm: np.ndarray, *, bias: bool = True) -> np.ndarray:
    """The mean last-layer gradient norm over seeds.

    Args:
        error_norm: (seeds, n) or (n,), ||p - y||_2.
        feature_norm: the same shape, ||h||_2 of the input of the last linear layer.
        bias: whether that layer has a bias.

    Returns:
        (n,) float32, non-negative, higher = harder.

    Raises:
        OptionError: shapes that differ, or a norm that is not finite or out of range.

    >>> grand_last(np.array([[0.5]]), np.array([[np.sqrt(3.0)]])).tolist()
    [1.0]
    """
    error, norm = outputs_of(error_norm, "error_norm"), outputs_of(feature_norm, "feature_norm")
    if error.shape != norm.shape:
        raise OptionError(f"error_norm has shape {error.shape} and feature_norm {norm.shape}: they must be the same.")
    product = np.square(norm, dtype=np.float64)
    product += bool(bias)
    np.sqrt(product, out=product)
    product *= error
    return product.mean(axis=tuple(range(product.ndim - 1))).astype(np.float32)


SPEC = ScorerSpec(
    grand_last,
    outputs("error_norm", "feature_norm", at="early"),
    facts={"bias": "head_bias"},
    reference="Paul et al. 2021",
)
