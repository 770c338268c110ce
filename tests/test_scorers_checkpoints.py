"""The mean over checkpoints that the gradient scorers share."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers.checkpoints import mean_over_checkpoints


def test_golden_weights_within_a_run_then_the_mean_over_runs() -> None:
    # run 0: (3 * 1 + 1 * 5) / 4 = 2; run 1: (3 * 0 + 1 * 8) / 4 = 2; another weighting would not give 2
    signal = np.array([[[1.0], [5.0]], [[0.0], [8.0]]])
    assert mean_over_checkpoints("x", signal, [3, 1]).tolist() == [2.0]
    # equal weights: (1 + 5) / 2 = 3 and 4: 3.5
    assert mean_over_checkpoints("x", signal).tolist() == [3.5]


def test_oracle_ten_slow_lines() -> None:
    rng = np.random.default_rng(0)
    signal, lr = rng.normal(size=(3, 4, 7)), rng.random(4)
    expected = np.zeros(7)
    for s in range(3):
        for t in range(4):
            expected += lr[t] / sum(lr) * signal[s, t] / 3
    np.testing.assert_allclose(mean_over_checkpoints("x", signal, lr), expected, rtol=1e-12)


def test_one_checkpoint_and_one_run_need_no_axis() -> None:
    signal = np.random.default_rng(1).normal(size=5)
    for given in (signal, signal[None], signal[None, None]):
        assert mean_over_checkpoints("x", given).tolist() == signal.tolist()
        np.testing.assert_allclose(mean_over_checkpoints("x", given, [0.1]), signal, rtol=1e-15)


def test_a_learning_rate_of_zero_leaves_its_checkpoint_out_and_scale_does_not_matter() -> None:
    signal = np.array([[[1.0], [5.0]]])
    assert mean_over_checkpoints("x", signal, [0.0, 0.2]).tolist() == [5.0]
    assert mean_over_checkpoints("x", signal, [2.0, 2.0]).tolist() == [3.0]


def test_float16_is_summed_in_float64() -> None:
    assert mean_over_checkpoints("x", np.full((1, 3, 1), 60000, dtype=np.float16)).tolist() == [60000 // 32 * 32]


def test_an_empty_shard_is_empty() -> None:
    assert mean_over_checkpoints("x", np.empty((2, 3, 0)), [1, 2, 3]).shape == (0,)


@pytest.mark.parametrize("shape", [(), (0, 4), (2, 0, 4), (0, 2, 4), (1, 1, 1, 1)])
def test_shapes_without_a_seed_or_epoch_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match="at least one seed and epoch"):
        mean_over_checkpoints("x", np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_refused(bad: float) -> None:
    with pytest.raises(OptionError, match="grad_norm has 1 NaN or infinite"):
        mean_over_checkpoints("grad_norm", np.array([1.0, bad]))


@pytest.mark.parametrize("lr", [[1.0], [1.0, 1.0, 1.0], 1.0, [[1.0, 1.0]]])
def test_one_learning_rate_per_checkpoint(lr: object) -> None:
    with pytest.raises(OptionError, match="2 checkpoints: give one learning rate per checkpoint"):
        mean_over_checkpoints("x", np.zeros((1, 2, 3)), np.array(lr))


def test_learning_rates_over_runs_of_one_checkpoint_are_refused() -> None:
    with pytest.raises(OptionError, match="1 checkpoint: "):
        mean_over_checkpoints("x", np.zeros((3, 5)), [0.1, 0.1, 0.1])


@pytest.mark.parametrize("lr", [[0.0, 0.0], [-1.0, 2.0], [np.nan, 1.0], [np.inf, 1.0]])
def test_learning_rates_that_cannot_be_weights_are_refused(lr: list[float]) -> None:
    with pytest.raises(OptionError, match="at least 0, not all of them 0"):
        mean_over_checkpoints("x", np.zeros((1, 2, 3)), lr)
