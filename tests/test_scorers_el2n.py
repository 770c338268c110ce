"""EL2N: the mean over seeds of the norm of the error."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers import el2n


def test_golden_the_norm_of_the_error_averaged_over_two_seeds() -> None:
    # p = (.8, .1, .1), y = 0: error (-.2, .1, .1), squares .04 + .01 + .01 = .06, norm .244949
    # p = (.2, .2, .6), y = 0: error (-.8, .2, .6), squares .64 + .04 + .36 = 1.04, norm 1.019804
    # p = (0, 1, 0),    y = 0: error (-1, 1, 0), norm sqrt 2, the largest there is
    # The second seed predicts each label with certainty: norms 0, so the means are halves.
    first = np.sqrt([0.06, 1.04, 2.0])
    np.testing.assert_allclose(el2n(np.stack([first, np.zeros(3)])), [0.1224745, 0.509902, 0.7071068], rtol=1e-6)


def test_oracle_probabilities_and_labels_in_loops() -> None:
    rng = np.random.default_rng(0)
    p, y = rng.dirichlet(np.ones(5), size=(3, 20)), rng.integers(0, 5, 20)
    norms = np.linalg.norm(p - np.eye(5)[y], axis=2)
    expected = []
    for i in range(20):
        total = 0.0
        for seed in range(3):
            total += sum((p[seed, i, c] - (c == y[i])) ** 2 for c in range(5)) ** 0.5
        expected.append(total / 3)
    np.testing.assert_allclose(el2n(norms), expected, rtol=1e-6)


def test_epochs_are_averaged_like_seeds() -> None:
    norms = np.random.default_rng(1).uniform(0, 1, (2, 3, 4))
    np.testing.assert_allclose(el2n(norms), norms.reshape(6, 4).mean(axis=0), rtol=1e-6)


def test_one_run_without_a_seed_axis_is_itself() -> None:
    assert el2n(np.array([0.25, 1.0])).tolist() == [0.25, 1.0]


def test_many_float32_seeds_are_summed_without_losing_digits() -> None:
    norms = np.full((4000, 1), 0.1, dtype=np.float32)
    assert el2n(norms)[0] == np.float32(0.1)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 0, 3)])
def test_nothing_to_average_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="at least one seed"):
        el2n(np.zeros(shape))
