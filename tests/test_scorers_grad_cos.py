"""Grad-Cos: the weighted mean of cosines."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers.grad_cos import grad_cos


def test_golden() -> None:
    # (.3 * 1 + .1 * -1) / .4 = .5; equal weights 0
    assert grad_cos(np.array([[[1.0], [-1.0]]]), lr=[0.3, 0.1]).tolist() == [0.5]
    assert grad_cos(np.array([[[1.0], [-1.0]]])).tolist() == [0.0]


def test_oracle_the_cosine_of_each_checkpoint_and_not_of_the_sum() -> None:
    rng = np.random.default_rng(0)
    g, v, lr = rng.normal(size=(2, 3, 8, 5)), rng.normal(size=(2, 3, 5)), np.array([0.4, 0.2, 0.1])
    cosines, expected = np.zeros((2, 3, 8)), np.zeros(8)
    for s in range(2):
        for t in range(3):
            for i in range(8):
                one, other = g[s, t, i], v[s, t]
                cosines[s, t, i] = one @ other / np.sqrt((one @ one) * (other @ other))
                expected[i] += lr[t] / 0.7 * cosines[s, t, i] / 2
    np.testing.assert_allclose(grad_cos(cosines, lr=lr), expected, rtol=1e-6)
    assert np.abs(grad_cos(cosines, lr=lr)).max() <= 1


def test_bad_input_is_refused() -> None:
    with pytest.raises(OptionError, match="grad_cos has 1 NaN"):
        grad_cos(np.array([np.nan, 1.0]))
    with pytest.raises(OptionError, match="at least one seed"):
        grad_cos(np.zeros((0, 2, 3)))
    with pytest.raises(OptionError, match="one learning rate per checkpoint"):
        grad_cos(np.zeros((1, 2, 3)), lr=[0.1])
