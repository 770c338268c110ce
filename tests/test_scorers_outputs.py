"""entropy, margin, least_confidence, loss: the mean over seeds of a number of the final model's output."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from datadiet.scorers import entropy, least_confidence, loss, margin

# Three classes, label 0, two seeds each: a sure and a wrong example.
P = np.array([[[0.5, 0.25, 0.25], [0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [0.25, 0.5, 0.25]]])


def test_golden_entropy() -> None:
    # H(.5, .25, .25) = .5 log 2 + 2 * .25 log 4 = 1.5 log 2; H of certainty = 0: each mean is .75 log 2
    h = np.array([[1.5 * log(2), 0.0], [0.0, 1.5 * log(2)]])
    np.testing.assert_allclose(-(P * np.log(np.maximum(P, 1e-300))).sum(axis=2), h)
    np.testing.assert_allclose(entropy(h), [0.75 * log(2)] * 2, rtol=1e-6)


def test_golden_margin() -> None:
    # .5 - .25 = .25 and 1 - 0 = 1: mean .625, whatever the label
    top = np.sort(P, axis=2)
    assert margin(top[..., -1] - top[..., -2]).tolist() == [0.625, 0.625]


def test_golden_least_confidence() -> None:
    # 1 - .5 = .5 and 1 - 1 = 0: mean .25
    assert least_confidence(1 - P.max(axis=2)).tolist() == [0.25, 0.25]


def test_golden_loss() -> None:
    # -log .5 = .693147 and -log 1 = 0, mean .346574; losses of 700 and -log .25 = 1.386294, mean 350.693147
    np.testing.assert_allclose(loss(np.array([[log(2), 700.0], [0.0, log(4)]])), [0.3465736, 350.6931472], rtol=1e-6)


@pytest.mark.parametrize("fn", [entropy, margin, least_confidence, loss])
def test_oracle_a_plain_mean_over_seeds_and_epochs(fn) -> None:
    values = np.random.default_rng(0).uniform(0, 1, (4, 3, 10))
    expected = [sum(values[s, t, i] for s in range(4) for t in range(3)) / 12 for i in range(10)]
    np.testing.assert_allclose(fn(values), expected, rtol=1e-6)
    np.testing.assert_allclose(fn(values[0, 0]), values[0, 0], rtol=1e-6)
