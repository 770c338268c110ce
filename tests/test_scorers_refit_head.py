"""Re-fitting the last layer: the minimum of the regularised cross-entropy."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from datadiet.errors import OptionError
from datadiet.scorers.refit_head import head_inputs, head_probabilities, refit_head


def data(n: int = 150, d: int = 6, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    return x, (x @ rng.normal(size=(d, classes)) + 2 * rng.normal(size=(n, classes))).argmax(axis=1)


def gradient(x: np.ndarray, y: np.ndarray, p: np.ndarray, theta: np.ndarray, l2: float) -> np.ndarray:
    return (p - np.eye(p.shape[1])[y]).T @ x / len(x) + l2 * theta


def test_golden_two_points() -> None:
    # h = 1 of class 0 and h = -1 of class 1, no bias. By symmetry theta = (t, -t) and p_true = sigmoid(2 t); the
    # gradient of the first row is -(1 - p) + l2 t = 0. With p = 3/4: 2 t = log 3, so l2 = (1/4) / (log(3) / 2).
    p, theta = refit_head(np.array([[1.0], [-1.0]]), np.array([0, 1]), l2=0.5 / np.log(3), bias=False)
    np.testing.assert_allclose(p, [[0.75, 0.25], [0.25, 0.75]], rtol=1e-7)
    np.testing.assert_allclose(theta, [[np.log(3) / 2], [-np.log(3) / 2]], rtol=1e-7)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("l2", [1.0, 1e-2, 1e-5])
def test_the_gradient_is_zero(bias: bool, l2: float) -> None:
    x, y = data()
    p, theta = refit_head(x, y, l2=l2, bias=bias)
    h = np.hstack([x, np.ones((150, 1))]) if bias else x
    assert p.shape == (150, 3) and theta.shape == (3, 6 + bias) and p.dtype == theta.dtype == np.float64
    assert np.abs(gradient(h, y, p, theta, l2)).max() < 1e-8
    np.testing.assert_allclose(p, head_probabilities(x, theta, bias=bias), rtol=1e-12)


def test_oracle_scikit_learn() -> None:
    x, y = data()
    p, _ = refit_head(x, y, l2=0.01, bias=False)
    other = LogisticRegression(C=1 / (150 * 0.01), fit_intercept=False, tol=1e-10, max_iter=5000).fit(x, y)
    np.testing.assert_allclose(p, other.predict_proba(x), atol=1e-6)


def test_features_of_very_different_scales_and_separable_classes_converge() -> None:
    x, y = data()
    x = x * 10.0 ** np.arange(-3, 3)
    x[:, 5] += 100 * y
    p, theta = refit_head(x, y, l2=1e-6)
    start = gradient(head_inputs("", x, True), y, np.full((150, 3), 1 / 3), theta, 0.0)
    assert np.abs(gradient(head_inputs("", x, True), y, p, theta, 1e-6)).max() < 1e-8 * np.abs(start).max()


def test_classes_that_do_not_occur_have_a_column() -> None:
    x, y = data()
    p, theta = refit_head(x, y, l2=0.1, classes=5)
    assert p.shape == (150, 5) and theta.shape == (5, 7) and p[:, 3:].max() < 1 / 3


def test_bad_input_is_refused() -> None:
    x, y = data()
    for l2 in (0.0, -1.0, float("nan")):
        with pytest.raises(OptionError, match="unique only with l2 above 0"):
            refit_head(x, y, l2=l2)
    with pytest.raises(OptionError, match="did not converge in 2 iterations"):
        refit_head(x, y, l2=1e-3, iterations=2)
    with pytest.raises(OptionError, match=r"features has shape \(150,\)"):
        refit_head(x[:, 0], y)
    with pytest.raises(OptionError, match="features has 1 NaN"):
        refit_head(np.array([[np.nan]]), np.array([0]))
    with pytest.raises(OptionError, match="from 0 to 1"):
        refit_head(x, y, classes=2)
    with pytest.raises(OptionError, match="each of the 150 examples"):
        refit_head(x, y[:-1])
    with pytest.raises(OptionError, match="theta has 6 columns"):
        head_probabilities(x, np.zeros((3, 6)))
