"""Divergence of two networks: the mean over seeds, and the class that the scored ones predict."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers.divergence import SPEC, divergence


def test_golden() -> None:
    # Two seeds: (0.2 + 0.4) / 2 and (0 + ln 2) / 2. They disagree on the second class: the lower of 3 and 5.
    found = divergence(np.array([[0.2, 0.0], [0.4, np.log(2)]]), np.array([[7, 5], [7, 3]]))
    np.testing.assert_allclose(found[""], [0.3, np.log(2) / 2], rtol=1e-6)
    assert found["predicted"].tolist() == [7, 3]
    assert SPEC.sign() == 1 and SPEC.sign("predicted") == 0


def test_oracle_the_most_frequent_class() -> None:
    classes = np.random.default_rng(0).integers(0, 4, (7, 200))
    found = divergence(np.zeros((7, 200)), classes)["predicted"]
    assert found.tolist() == [int(np.bincount(column).argmax()) for column in classes.T]


def test_signals_of_different_shapes_are_refused() -> None:
    with pytest.raises(OptionError, match=r"divergence has shape \(3,\) and predicted \(2,\)"):
        divergence(np.zeros(3), np.zeros(2))
    with pytest.raises(OptionError, match=r"divergence .*from 0 to 0.69315"):
        divergence(np.array([0.7]), np.array([0]))
