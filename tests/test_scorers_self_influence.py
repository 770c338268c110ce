"""TracIn self-influence: the weighted mean of squared gradient norms."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers.self_influence import self_influence


def test_golden() -> None:
    # norms 1 and 3 at learning rates .1 and .3: (.1 * 1 + .3 * 9) / .4 = 7; equal weights (1 + 9) / 2 = 5
    assert self_influence(np.array([[[1.0], [3.0]]]), lr=[0.1, 0.3]).tolist() == [7.0]
    assert self_influence(np.array([[[1.0], [3.0]]])).tolist() == [5.0]


def test_golden_squares_are_averaged_and_not_means_squared() -> None:
    # seeds with norms 0 and 4: (0 + 16) / 2 = 8, while the square of the mean would be 4
    assert self_influence(np.array([[0.0], [4.0]])).tolist() == [8.0]


def test_oracle_the_fall_of_the_own_loss_over_its_own_sgd_steps() -> None:
    # loss_i = (theta - a_i)^2 / 2, gradient theta - a_i: a step eta on example i alone lowers loss_i by eta g_i^2 to
    # first order. TracIn sums eta_t g_i(theta_t)^2 over the checkpoints; here divided by the sum of eta_t.
    a, theta, lr = np.array([0.0, 1.0, -2.0]), np.array([1.0, 0.5, 0.25, 0.2]), np.array([0.4, 0.3, 0.2, 0.1])
    expected = np.zeros(3)
    for t in range(4):
        for i in range(3):
            expected[i] += lr[t] * (theta[t] - a[i]) ** 2
    gradients = np.abs(theta[:, None] - a)[None]
    np.testing.assert_allclose(self_influence(gradients, lr=lr), expected / lr.sum(), rtol=1e-6)
    step = 1e-6
    fall = sum(lr[t] * ((theta[t] - a) ** 2 - (theta[t] - step * (theta[t] - a) - a) ** 2) / 2 for t in range(4))
    np.testing.assert_allclose(self_influence(gradients, lr=lr), fall / step / lr.sum(), rtol=1e-4)


def test_float16_norms_are_squared_in_float64() -> None:
    assert self_influence(np.array([1000.0], dtype=np.float16)).tolist() == [1e6]


def test_bad_input_is_refused() -> None:
    with pytest.raises(OptionError, match="grad_norm has 1 NaN"):
        self_influence(np.array([np.nan, 1.0]))
    with pytest.raises(OptionError, match="at least one seed"):
        self_influence(np.zeros((2, 0, 3)))
    with pytest.raises(OptionError, match="one learning rate per checkpoint"):
        self_influence(np.zeros((1, 2, 3)), lr=[0.1])
