"""Last-layer influence: the change of the reference loss if an example were left out and the head re-trained.

Koh, Liang: Understanding Black-box Predictions via Influence Functions, ICML 2017 (arXiv 1703.04730), for the last
linear layer; order="newton" is the approximate leave-one-out of Rahnama Rad, Maleki: A Scalable Estimate of the
Out-of-sample Prediction Error via Approximate Leave-one-out Cross-validation, JRSS B 2020 (arXiv 1801.10243), for the
softmax. With h the input of the head (a 1 appended for the bias), p the softmax, y one-hot, S_i = diag p_i - p_i p_i',
J_i = I_C (x) h_i', objective (1/n) sum_i loss_i + (l2/2) ||theta||^2, its curvature H = (1/n) sum_i J_i' S_i J_i + l2
I, and v and H_v the gradient and the curvature of the mean reference loss,
first:   score_i = (1/n) v' H^-1 J_i' (p_i - y_i)
newton:  score_i = v' t_i + (1/2) t_i' H_v t_i,  t_i = (1/n) H^-1 J_i' [I_C - (1/n) S_i J_i H^-1 J_i']^-1 (p_i - y_i),
where t_i is the change of theta that one Newton step on the data without i gives.

Deviations: the network below the head is held fixed. When an example is left out, (1/n) and l2 stay as they are:
the losses of the others plus n (l2/2) ||theta||^2 are minimised. The bias is regularised. "newton" expands the
reference loss to second order in t_i, where an influence function stops at first order: v is small for a head that
generalises, and the second-order term is then a considerable part of the change.

Cost: one pass of the network for the features. With P = C (d + 1): about n P^2 + P^3 operations for "first"; "newton"
adds 3 n P^2 + 6 P^3. About five P x P matrices in memory; P is at most 8192.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from datadiet.arrays import class_numbers, numbers
from datadiet.errors import OptionError
from datadiet.scorers.projected import solver
from datadiet.scorers.refit_head import head_inputs

__all__ = ["check_head", "influence_last_layer"]

_LARGEST = 8192  # parameters of the head: a matrix takes half a gigabyte
_NUMBERS = 2**23  # in a block of examples: 64 MB


def influence_last_layer(
    features: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    val_features: np.ndarray,
    val_probabilities: np.ndarray,
    val_labels: np.ndarray,
    *,
    l2: float = 1e-3,
    order: Literal["newton", "first"] = "newton",
    bias: bool = True,
) -> np.ndarray:
    """The predicted rise of the mean reference loss when the example is left out.

    Args:
        features: (n, d), the input of the last linear layer.
        probabilities: (n, C), softmax outputs of a head that minimises the objective above: see `refit_head`.
        labels: (n,) class numbers below C.
        val_features: (m, d), of the reference examples.
        val_probabilities: (m, C), of the same head.
        val_labels: (m,) class numbers below C.
        l2: above 0, the value that the head was trained with.
        order: "newton" predicts the change of the loss on re-training; "first" is the classical influence function.
        bias: whether the head has a bias.

    Returns:
        (n,) float32, positive = keeping the example lowers the reference loss.

    Raises:
        OptionError: shapes or labels that do not fit, NaN or infinity, rows that are not probabilities, l2 not above
            0, an unknown order, or C (d + 1) above 8192.

    References:
        Koh and Liang 2017; Rahnama Rad and Maleki 2020.

    >>> h, p, y = np.array([[1.0], [-1.0]]), np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([0, 1])
    >>> l2 = 0.5 / np.log(3)  # for which this p is the optimum
    >>> print(influence_last_layer(h, p, y, h[:1], p[:1], y[:1], l2=l2, order="first", bias=False).round(4))
    [0.0753 0.0753]
    """
    h, p, error = _head("", features, probabilities, labels, bias)
    check_head(p.shape[1], h.shape[1], l2=l2, order=order, bias=bias)
    val_h, val_p, val_error = _head("val_", val_features, val_probabilities, val_labels, bias)
    if val_h.shape[1] != h.shape[1] or val_p.shape[1] != p.shape[1]:
        raise OptionError(
            f"the reference data have {val_h.shape[1] - bias} features and {val_p.shape[1]} classes, the training "
            f"data {h.shape[1] - bias} and {p.shape[1]}: record both with the same network."
        )
    solve = solver(_hessian(h, p, l2), f"l2={l2} is too small for these features, raise it")
    pull = solve((val_error.T @ val_h / len(val_h)).ravel())
    if order == "first":
        change = (h @ pull.reshape(-1, h.shape[1]).T * error).sum(axis=1) / len(h)
    else:
        change = _newton(h, p, error, solve(np.eye(len(pull))), pull, _hessian(val_h, val_p, 0.0))
    return change.astype(np.float32)


def check_head(classes: int, inputs: int, *, l2: float, order: str, bias: bool) -> None:
    """Refuse options that `influence_last_layer` cannot use, whatever the data.

    Args:
        classes: C.
        inputs: d, or d + 1 with a bias.
        l2, order, bias: as for `influence_last_layer`.

    Raises:
        OptionError: an unknown order, l2 not above 0, or more than 8192 parameters.
    """
    if order not in ("newton", "first"):
        raise OptionError(f"order={order!r}: give 'newton' or 'first'.")
    if not (np.isfinite(l2) and l2 > 0):
        raise OptionError(f"l2={l2}: the curvature of a softmax head has an inverse only with l2 above 0.")
    if classes * inputs > _LARGEST:
        room = _LARGEST // classes - bias
        how = (
            f"reduce the features to {room} or fewer (PCA, a random projection) and re-fit the head on them"
            if room > 0
            else "number the classes 0, 1, 2 … without gaps, or choose a scorer that takes so many"
        )
        raise OptionError(
            f"a head of {classes} classes on {inputs} inputs has {classes * inputs} parameters, and the exact inverse "
            f"takes at most {_LARGEST}: {how}."
        )


def _head(
    prefix: str, features: np.ndarray, probabilities: np.ndarray, labels: np.ndarray, bias: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The head's inputs, the probabilities and p - y of one set of examples, checked, float64."""
    h = head_inputs(f"{prefix}features", features, bias)
    p = numbers(f"{prefix}probabilities", probabilities, "n C").astype(np.float64, copy=False)
    if len(p) != len(h):
        raise OptionError(
            f"{prefix}probabilities has {len(p)} rows and {prefix}features {len(h)}: give one row of each per example."
        )
    if p.min() < 0 or np.abs(p.sum(axis=1) - 1).max() > 1e-3:
        raise OptionError(
            f"{prefix}probabilities has entries below 0 or rows that do not sum to 1: give softmax outputs, not logits."
        )
    return h, p, p - np.eye(p.shape[1])[class_numbers(f"{prefix}labels", labels, len(h), p.shape[1])]


def _hessian(h: np.ndarray, p: np.ndarray, l2: float) -> np.ndarray:
    """(1/n) sum_i (diag p_i - p_i p_i') (x) h_i h_i' + l2 I."""
    (n, width), classes = h.shape, p.shape[1]
    matrix = np.zeros((classes * width, classes * width))
    for rows in _blocks(n, width, classes):
        x, q = h[rows], p[rows]
        outer = (q[:, :, None] * x[:, None, :]).reshape(len(x), -1)
        matrix -= outer.T @ outer
        for c in range(classes):
            matrix[c * width : (c + 1) * width, c * width : (c + 1) * width] += (q[:, c, None] * x).T @ x
    matrix /= n
    matrix.flat[:: classes * width + 1] += l2
    return matrix


def _newton(
    h: np.ndarray, p: np.ndarray, error: np.ndarray, inverse: np.ndarray, pull: np.ndarray, val_hessian: np.ndarray
) -> np.ndarray:
    """(n,): v' t_i + (1/2) t_i' H_v t_i, given H^-1 and pull = H^-1 v."""
    (n, width), classes = h.shape, p.shape[1]
    bend, eye = inverse @ val_hessian @ inverse, np.eye(classes)
    change = np.empty(n)
    for rows in _blocks(n, width, classes):
        x, q = h[rows], p[rows]
        reach = np.empty((len(x), classes, classes))  # J_i H^-1 J_i', one symmetric matrix per example
        for c in range(classes):
            lines = inverse[c * width : (c + 1) * width, c * width :]
            reach[:, c, c:] = np.einsum("bcd,bd->bc", (x @ lines).reshape(len(x), -1, width), x)
            reach[:, c:, c] = reach[:, c, c:]
        curvature = q[:, :, None] * (eye - q[:, None, :])
        left_out = np.linalg.solve(eye - curvature @ reach / n, error[rows, :, None])[..., 0]
        push = (left_out[:, :, None] * x[:, None, :]).reshape(len(x), -1) / n  # t_i = H^-1 push_i
        change[rows] = push @ pull + np.einsum("bp,bp->b", push @ bend, push) / 2
    return change


def _blocks(n: int, width: int, classes: int) -> Iterator[slice]:
    rows = max(1, _NUMBERS // (classes * max(width, classes)))
    return (slice(start, start + rows) for start in range(0, n, rows))
