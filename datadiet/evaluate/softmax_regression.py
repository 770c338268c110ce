"""Many softmax regressions on weighted copies of one data set, solved to convergence together.

Model s minimises  F_s(theta) = sum_i w_is loss(theta; x_i, y_i) + l2/2 ||theta||^2  over theta of shape (d, classes),
where loss is the cross-entropy of softmax(x theta). The penalty makes F_s strictly convex although softmax has one
redundant class, so the solution is unique, whatever the start.

Method: Newton's method, each step solved by conjugate gradients that are preconditioned by the inverse Hessian of the
average model, with step halving (Nocedal, Wright: Numerical Optimization, line-search Newton-CG).

Deviations: all models advance together, so each product with the data is a single matrix product.

Cost: a product with a Hessian is 4 n d classes operations per model; a leave-one-out fit that starts at the full-data
solution takes about a dozen.
"""

from __future__ import annotations

import numpy as np

from datadiet.errors import OptionError

__all__ = ["fit_softmax", "hessian", "softmax"]

_BLOCK = 100  # models at a time, so that their probabilities stay within a few megabytes
_STEPS = 100


def softmax(logits: np.ndarray) -> np.ndarray:
    """(…, classes) -> probabilities over the last axis, float64."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float64)
    return shifted / shifted.sum(axis=-1, keepdims=True)


def hessian(features: np.ndarray, probabilities: np.ndarray, weights: np.ndarray, l2: float) -> np.ndarray:
    """The Hessian of one model: sum_i w_i x_i x_i' (x) (diag p_i - p_i p_i') + l2 I.

    Args:
        features: (n, d).
        probabilities: (n, classes).
        weights: (n,).
        l2: the penalty.

    Returns:
        (d·classes, d·classes) float64, for theta (d, classes) in row-major order.

    >>> hessian(np.array([[1.0]]), np.array([[0.5, 0.5]]), np.array([4.0]), 1.0).tolist()
    [[2.0, -1.0], [-1.0, 2.0]]
    """
    (_, d), classes = features.shape, probabilities.shape[1]
    out = np.empty((d, classes, d, classes))
    for a in range(classes):
        for b in range(a, classes):
            spread = weights * probabilities[:, a] * ((a == b) - probabilities[:, b])
            out[:, a, :, b] = out[:, b, :, a] = features.T @ (spread[:, None] * features)
    return out.reshape(d * classes, d * classes) + l2 * np.eye(d * classes)


def fit_softmax(
    features: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    start: np.ndarray,
    *,
    l2: float,
    tolerance: float = 1e-10,
) -> np.ndarray:
    """The solutions of all models.

    Args:
        features: (n, d), with a column of ones for a bias.
        labels: (n,) classes 0..classes-1.
        weights: (models, n), at least 0.
        start: (d, classes), where all models start.
        l2: the penalty, above 0.
        tolerance: on the largest entry of the gradient.

    Returns:
        (models, d, classes) float64.

    Raises:
        OptionError: no convergence, because the features are badly scaled, or l2 or the tolerance is very small.
    """
    x = np.asarray(features, dtype=np.float64)
    truth = np.eye(start.shape[1])[labels]
    try:
        inverse = np.linalg.inv(hessian(x, softmax(x @ start), weights.mean(axis=0), l2))
    except np.linalg.LinAlgError:
        raise _no_solution(l2) from None
    out = np.empty((len(weights), *start.shape))
    for lo in range(0, len(weights), _BLOCK):
        part = weights[lo : lo + _BLOCK]
        theta = _Batch(x, truth, part, l2, inverse).solve(np.repeat(start[None], len(part), axis=0), tolerance)
        if theta is None:
            raise _no_solution(l2)
        out[lo : lo + _BLOCK] = theta
    return out


def _no_solution(l2: float) -> OptionError:
    return OptionError(
        f"softmax regression with l2={l2} did not converge: scale the features to about 1, or give a larger l2."
    )


class _Batch:
    """Models that advance together; their parameters have shape (models, d, classes)."""

    def __init__(self, x: np.ndarray, truth: np.ndarray, weights: np.ndarray, l2: float, inverse: np.ndarray) -> None:
        self.x, self.truth, self.weights, self.l2, self.inverse = x, truth[:, None], weights.T[:, :, None], l2, inverse

    def solve(self, theta: np.ndarray, tolerance: float) -> np.ndarray | None:
        """The minimisers, or None without convergence."""
        value, p = self.evaluate(theta)
        for _ in range(_STEPS):
            gradient = self.backward(self.weights * (p - self.truth)) + self.l2 * theta
            if np.abs(gradient).max() <= tolerance:
                return theta
            step = self.newton_step(gradient, p)
            size = np.ones(len(theta))
            for _ in range(40):
                found, moved = self.evaluate(theta + size[:, None, None] * step)
                worse = found > value + 1e-12 * np.abs(value)  # near the solution, all differences are rounding
                if not worse.any():
                    break
                size[worse] /= 2
            theta, value, p = theta + size[:, None, None] * step, found, moved
        return None

    def evaluate(self, theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """F of each model, and the probabilities (n, models, classes)."""
        z = self.forward(theta)
        z -= z.max(axis=-1, keepdims=True)
        p = np.exp(z)
        total = p.sum(axis=-1, keepdims=True)
        loss = np.log(total) - (z * self.truth).sum(axis=-1, keepdims=True)
        p /= total
        return (self.weights * loss).sum(axis=(0, 2)) + self.l2 / 2 * _dot(theta, theta), p

    def newton_step(self, gradient: np.ndarray, p: np.ndarray) -> np.ndarray:
        """Solve H step = -gradient by conjugate gradients, to a thousandth of the gradient."""
        step, rest = np.zeros_like(gradient), -gradient
        direction = preconditioned = self.precondition(rest)
        size = _dot(rest, preconditioned)
        goal = 1e-6 * size
        for _ in range(gradient[0].size):
            active = size > goal
            if not active.any():
                break
            curved = self.curvature(direction, p)
            rate = np.where(active, size, 0) / np.where(active, _dot(direction, curved), 1)
            step += rate[:, None, None] * direction
            rest = rest - rate[:, None, None] * curved
            preconditioned = self.precondition(rest)
            before, size = size, np.where(active, _dot(rest, preconditioned), size)
            direction = (
                preconditioned + np.where(active, size / np.where(active, before, 1), 0)[:, None, None] * direction
            )
        return step

    def curvature(self, direction: np.ndarray, p: np.ndarray) -> np.ndarray:
        """The Hessian of each model times its direction."""
        u = self.forward(direction)
        u -= (p * u).sum(axis=-1, keepdims=True)
        return self.backward(self.weights * p * u) + self.l2 * direction

    def forward(self, theta: np.ndarray) -> np.ndarray:
        """(models, d, classes) -> (n, models, classes), as one matrix product."""
        models, d, classes = theta.shape
        return (self.x @ theta.transpose(1, 0, 2).reshape(d, -1)).reshape(-1, models, classes)

    def backward(self, errors: np.ndarray) -> np.ndarray:
        """(n, models, classes) -> (models, d, classes)."""
        n, models, classes = errors.shape
        return (self.x.T @ errors.reshape(n, -1)).reshape(-1, models, classes).transpose(1, 0, 2)

    def precondition(self, rest: np.ndarray) -> np.ndarray:
        """The inverse Hessian of the average model times each residual."""
        return (rest.reshape(len(rest), -1) @ self.inverse).reshape(rest.shape)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("mdc,mdc->m", a, b)
