"""Gradient-norm sampling: the distribution, the draws, and the weights that make up for it."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.sampling import GradientNormSampler


def taught(norms, epoch=1, epochs=2, **options) -> GradientNormSampler:
    sampler = GradientNormSampler(len(norms), epochs=epochs, **options)
    known = np.flatnonzero(~np.isnan(norms))
    sampler.update(known, np.asarray(norms, dtype=np.float32)[known])
    sampler.begin(epoch)
    return sampler


def draws(sampler: GradientNormSampler) -> np.ndarray:
    return sampler.order(sampler.epoch)(np.arange(len(sampler)))


def test_golden() -> None:
    """Norms 1, 0, 3 and tau = 1/2: p = 1/2 (1/4, 0, 3/4) + 1/6; weights 1 / (3 p)."""
    sampler = taught([1.0, 0.0, 3.0], unbiased=True)
    p = np.array([1 / 8 + 1 / 6, 1 / 6, 3 / 8 + 1 / 6])
    assert np.allclose(sampler.probabilities(1), p)
    found = draws(sampler)
    assert np.allclose(sampler.weights(found).numpy(), 1 / (3 * p[found]))


@pytest.mark.parametrize(("epoch", "tau"), [(0, 0.0), (1, 0.25), (3, 0.75), (9, 1.0)])
def test_tau_grows_with_the_epochs(epoch: int, tau: float) -> None:
    sampler = taught([0.2, 0.6, 1.2], epoch=1, epochs=4)
    assert np.allclose(sampler.probabilities(epoch), tau * np.array([0.1, 0.3, 0.6]) + (1 - tau) / 3)


def test_draws_follow_the_distribution_with_replacement() -> None:
    """20,000 draws: within 5 standard deviations of n p."""
    norms = np.concatenate([np.full(1000, 0.1), np.full(1000, 1.3)])
    found = np.concatenate([draws(taught(norms, epoch=3, epochs=4, seed=seed)) for seed in range(10)])
    p = taught(norms, epochs=4).probabilities(3)
    hard = np.count_nonzero(found >= 1000)
    assert abs(hard - 20_000 * p[1000:].sum()) < 5 * np.sqrt(20_000 * p[1000:].sum() * p[:1000].sum())
    assert len(np.unique(found[:2000])) < 1700  # some come twice, some never


def test_importance_weights_give_the_mean_of_all_examples() -> None:
    """The weighted mean of any values over the draws estimates their mean over the data."""
    rng = np.random.default_rng(0)
    norms, values = rng.uniform(0, 1.4, 50), rng.normal(3, 1, 50)
    means = []
    for seed in range(400):
        sampler = taught(norms, epoch=3, epochs=4, unbiased=True, seed=seed)
        found = draws(sampler)
        means.append((sampler.weights(found).numpy() * values[found]).mean())
    assert abs(np.mean(means) - values.mean()) < 5 * np.std(means) / 20


@pytest.mark.parametrize(("keep", "k"), [(1.0, 40), ("50%", 20), (7, 7)])
def test_keep_is_the_number_of_draws(keep: float | str, k: int) -> None:
    assert len(taught(np.linspace(0.1, 1, 40), keep=keep)) == k


def test_unknown_norms_are_the_mean_of_the_others_and_no_norms_are_uniform() -> None:
    assert np.allclose(taught([1.0, np.nan, 3.0]).probabilities(1), [1 / 12 + 1 / 6, 1 / 3, 3 / 12 + 1 / 6])
    for norms in ([0.0, 0.0], [np.nan, np.nan]):
        assert taught(norms).probabilities(1).tolist() == [0.5, 0.5]


def test_an_example_that_cannot_be_drawn_never_is() -> None:
    """At tau = 1 a norm of 0 has the probability 0, also at both ends of the cumulative sum."""
    for seed in range(50):
        assert set(draws(taught([0.0, 0.4, 0.0, 0.4, 0.0], epoch=2, seed=seed)).tolist()) <= {1, 3}


def test_a_negative_norm_is_refused_when_the_next_epoch_begins() -> None:
    with pytest.raises(OptionError, match=r"an error norm of -1.0 was given for example 1: norms are at least 0"):
        taught([1.0, -1.0])


def test_more_draws_than_examples_are_refused() -> None:
    with pytest.raises(OptionError, match="asks for 12 of 9 examples"):
        GradientNormSampler(9, epochs=2, keep=12)
