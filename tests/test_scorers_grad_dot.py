"""Grad-Dot: the sign, the weights, and what a step on an example does to the validation loss."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers.grad_dot import grad_dot


def test_golden() -> None:
    # (.3 * 2 + .1 * -2) / .4 = 1; equal weights 0
    assert grad_dot(np.array([[[2.0], [-2.0]]]), lr=[0.3, 0.1]).tolist() == [1.0]
    assert grad_dot(np.array([[[2.0], [-2.0]]])).tolist() == [0.0]


def test_oracle_a_step_on_an_example_lowers_the_mean_validation_loss_by_that_much() -> None:
    rng = np.random.default_rng(0)
    x, y, vx, vy = rng.normal(size=(9, 4)), rng.normal(size=9), rng.normal(size=(5, 4)), rng.normal(size=5)
    thetas, lr = rng.normal(size=(3, 4)), np.array([0.5, 0.2, 0.1])

    def val_loss(theta: np.ndarray) -> float:
        return float(((vx @ theta - vy) ** 2).mean() / 2)

    dots, fall, step = np.zeros((3, 9)), np.zeros(9), 1e-6
    for t, theta in enumerate(thetas):
        pull = ((vx @ theta - vy)[:, None] * vx).mean(axis=0)
        for i in range(9):
            gradient = (x[i] @ theta - y[i]) * x[i]
            dots[t, i] = gradient @ pull
            fall[i] += lr[t] * (val_loss(theta) - val_loss(theta - step * gradient)) / step
    np.testing.assert_allclose(grad_dot(dots[None], lr=lr), fall / lr.sum(), rtol=1e-3, atol=1e-4)


def test_the_mean_reference_gradient_gives_the_mean_of_the_pairwise_scores() -> None:
    rng = np.random.default_rng(1)
    g, v = rng.normal(size=(6, 4)), rng.normal(size=(5, 4))
    np.testing.assert_allclose(grad_dot(g @ v.mean(axis=0)), (g @ v.T).mean(axis=1), rtol=1e-5)


def test_bad_input_is_refused() -> None:
    with pytest.raises(OptionError, match="grad_dot has 1 NaN"):
        grad_dot(np.array([np.inf, 1.0]))
    with pytest.raises(OptionError, match="at least one seed"):
        grad_dot(np.zeros((0, 2, 3)))
    with pytest.raises(OptionError, match="not all of them 0"):
        grad_dot(np.zeros((1, 1, 3)), lr=[0.0])
