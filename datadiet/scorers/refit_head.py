"""The last linear layer, trained to the optimum that the influence formula assumes.

`influence_last_layer` is exact only where the gradient of (1/n) sum_i loss_i + (l2/2) ||theta||^2 is zero. A head that
was trained with the network by SGD, with augmentation, momentum and another weight decay, is not at that point.
`refit_head` minimises that objective over the recorded features by Newton's method. Each step is found by conjugate
gradients, which need only products with the Hessian, and is halved until the objective falls. The objective is strictly
convex, so there is one answer and the start does not matter.

Deviations: the bias, if there is one, is regularised like the weights; the scorer assumes the same.

Cost: no network. A product with the Hessian takes 4 n C (d + 1) operations; a fit needs hundreds of them, and thousands
if l2 is tiny compared with the squared norm of the features. No matrix except the features and theta.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from datadiet.arrays import class_numbers, numbers
from datadiet.errors import OptionError

__all__ = ["head_inputs", "head_probabilities", "refit_head"]

_CONVERGED = 1e-9  # relative to the gradient at theta = 0
_CLASSES = 1 << 16  # a head has a row of theta for each
_PRODUCTS = 1000  # with the Hessian, for one step


def refit_head(
    features: np.ndarray,
    labels: np.ndarray,
    *,
    l2: float = 1e-3,
    bias: bool = True,
    classes: int | None = None,
    iterations: int = 50,
) -> tuple[np.ndarray, np.ndarray]:
    """The minimum of the regularised cross-entropy of a linear head.

    Args:
        features: (n, d), the input of the last linear layer.
        labels: (n,) class numbers.
        l2: above 0, on the mean loss: (l2/2) ||theta||^2. scikit-learn's C is 1 / (n l2).
        bias: whether to add a bias; it is regularised too.
        classes: C; None = the largest label plus one.
        iterations: the most Newton steps to take.

    Returns:
        probabilities: (n, C) float64, softmax outputs at the minimum.
        theta: (C, d + 1) float64, the bias last; (C, d) without one.

    Raises:
        OptionError: shapes, labels or l2 that do not fit, NaN or infinity, or no convergence within `iterations`.

    >>> p, theta = refit_head(np.array([[1.0], [-1.0]]), np.array([0, 1]), l2=0.1, bias=False)
    >>> np.allclose((p - np.eye(2)).T @ [[1.0], [-1.0]] / 2 + 0.1 * theta, 0)
    True
    """
    if not l2 > 0:
        raise OptionError(f"l2={l2}: the optimum of a softmax head is unique only with l2 above 0.")
    inputs = head_inputs("features", features, bias)
    label = class_numbers("labels", labels, len(inputs), classes)
    target = _one_hot(label, classes or int(label.max()) + 1)
    theta = np.zeros((target.shape[1], inputs.shape[1]))
    start = None
    for _ in range(iterations):
        p = _softmax(inputs @ theta.T)
        gradient = (p - target).T @ inputs / len(inputs) + l2 * theta
        size = float(np.linalg.norm(gradient))
        start = start or size
        if size <= _CONVERGED * start:
            return p, theta
        step = _newton_step(inputs, p, l2, gradient, min(0.1, (size / start) ** 0.5))
        theta = _descend(lambda at: _objective(inputs, label, at, l2), theta, step, float((gradient * step).sum()))
    raise OptionError(
        f"the head did not converge in {iterations} iterations (gradient {size:.1e} of {start:.1e} at the start): "
        "allow more iterations, use a larger l2 or standardise the features."
    )


def head_probabilities(features: np.ndarray, theta: np.ndarray, *, bias: bool = True) -> np.ndarray:
    """(n, C) float64: the softmax outputs of a head on other features, such as those of the reference data.

    >>> head_probabilities(np.array([[1.0]]), np.zeros((2, 2))).tolist()
    [[0.5, 0.5]]
    """
    inputs, weights = head_inputs("features", features, bias), numbers("theta", theta, "classes inputs")
    if weights.shape[1] != inputs.shape[1]:
        raise OptionError(
            f"theta has {weights.shape[1]} columns and the features, with bias={bias}, need {inputs.shape[1]}: give "
            "the theta of a head on these features."
        )
    return _softmax(inputs @ weights.T)


def head_inputs(name: str, features: np.ndarray, bias: bool) -> np.ndarray:
    """(n, d) -> float64 (n, d + 1): a column of ones for the bias comes last; (n, d) without one."""
    values = numbers(name, features, "n d").astype(np.float64, copy=False)
    return np.hstack([values, np.ones((len(values), 1))]) if bias else values


def _one_hot(label: np.ndarray, classes: int) -> np.ndarray:
    if classes > _CLASSES:
        raise OptionError(f"labels has class numbers up to {classes - 1}: number the classes from 0, without gaps.")
    out = np.zeros((len(label), classes))
    out[np.arange(len(label)), label] = 1.0
    return out


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


def _objective(inputs: np.ndarray, label: np.ndarray, theta: np.ndarray, l2: float) -> float:
    logits = inputs @ theta.T
    logits -= logits.max(axis=1, keepdims=True)
    loss = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(label)), label]
    return float(loss.mean() + l2 / 2 * (theta**2).sum())


def _newton_step(inputs: np.ndarray, p: np.ndarray, l2: float, gradient: np.ndarray, accuracy: float) -> np.ndarray:
    """Minus the inverse Hessian times the gradient, to a relative accuracy, by preconditioned conjugate gradients."""
    scale = (p * (1 - p)).T @ inputs**2 / len(inputs) + l2  # the diagonal of the Hessian
    step, residual = np.zeros_like(gradient), -gradient
    direction = residual / scale
    product = (residual * direction).sum()
    enough = accuracy * np.linalg.norm(gradient)
    for _ in range(_PRODUCTS):
        if np.linalg.norm(residual) <= enough:
            break
        moved = inputs @ direction.T
        moved = p * (moved - (p * moved).sum(axis=1, keepdims=True))
        curved = moved.T @ inputs / len(inputs) + l2 * direction
        length = product / (direction * curved).sum()
        step, residual = step + length * direction, residual - length * curved
        product, before = (residual * residual / scale).sum(), product
        direction = residual / scale + product / before * direction
    return step


def _descend(objective: Callable[[np.ndarray], float], theta: np.ndarray, step: np.ndarray, slope: float) -> np.ndarray:
    """theta after the step, which is halved until the objective falls by a share of what its slope promises."""
    before, length = objective(theta), 1.0
    # Near the minimum the fall is lost in the rounding of the objective, hence the last term.
    while objective(theta + length * step) > before + 1e-4 * length * slope + 1e-13 * abs(before):
        length /= 2
    return theta + length * step
