"""InfoBatch: which examples an epoch keeps, their weights, and when it stops dropping."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.sampling import InfoBatchSampler


def taught(losses, epoch=1, **options) -> InfoBatchSampler:
    """A sampler that was given these losses in epoch 0 and is in another one now."""
    losses = np.asarray(losses, dtype=np.float32)
    sampler = InfoBatchSampler(len(losses), **{"epochs": 100, **options})
    seen = np.flatnonzero(~np.isnan(losses))
    sampler.begin(0)
    sampler.update(seen, losses[seen])
    sampler.begin(epoch)
    return sampler


def presented(sampler: InfoBatchSampler) -> list[int]:
    return sorted(sampler.order(sampler.epoch)(np.arange(len(sampler))).tolist())


def test_golden() -> None:
    """Losses 1, 2, 3, 10: the mean is 4, so 0, 1 and 2 are low. Half of 3, rounded half up, are 2, of weight 3/2."""
    sampler = taught([1, 2, 3, 10])
    kept = presented(sampler)
    assert len(sampler) == len(kept) == 3 and 3 in kept
    weights = sampler.weights(np.arange(4)).tolist()
    assert weights[3] == 1 and sorted(weights[:3]) == [0, 1.5, 1.5]
    assert [weights[i] > 0 for i in range(4)] == [i in kept for i in range(4)]


@given(
    losses=st.lists(st.floats(0, 100, width=32), min_size=1, max_size=40),
    ratio=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 0.999]),
    seed=st.integers(0, 20),
)
@settings(max_examples=80, deadline=None)
def test_it_is_the_paper_in_slow_lines(losses: list[float], ratio: float, seed: int) -> None:
    sampler = taught(losses, ratio=ratio, seed=seed)
    mean = sum(map(float, np.float32(losses).tolist())) / len(losses)
    low = {i for i, loss in enumerate(np.float32(losses).tolist()) if loss < mean * (1 - 1e-6)}
    kept, weights = set(presented(sampler)), sampler.weights(np.arange(len(losses)))
    weights = np.ones(len(losses)) if weights is None else weights.numpy().astype(np.float64)
    assert kept >= set(range(len(losses))) - low
    exact = (1 - ratio) * len(low)
    k = len(kept & low)
    assert abs(k - exact) <= 0.5 + 1e-9 or (k == 1 and exact < 0.5 and low)
    for i in range(len(losses)):
        expected = 1 if i not in low else len(low) / k if i in kept else 0
        assert weights[i] == pytest.approx(expected, rel=1e-6)
    assert weights.sum() == pytest.approx(len(losses), rel=1e-6)


@pytest.mark.parametrize("epochs", [30, 90, 100, 300])
def test_the_weights_sum_to_n_and_the_last_eighth_presents_all(epochs: int) -> None:
    """From epoch ceil(0.875 E) on, counted from 0."""
    n, first = 97, {30: 27, 90: 79, 100: 88, 300: 263}[epochs]
    sampler, rng = InfoBatchSampler(n, epochs=epochs, seed=epochs), np.random.default_rng(0)
    losses = rng.exponential(1, n)
    for epoch in range(epochs):
        length = sampler.begin(epoch)
        order = sampler.order(epoch)(np.arange(length))
        weights = sampler.weights(order)
        assert (1.0 * length if weights is None else weights.double().sum().item()) == pytest.approx(n, rel=1e-6)
        assert (length == n and weights is None) == (epoch == 0 or epoch >= first), epoch
        losses = losses * 0.95 + rng.exponential(0.05, n)
        sampler.update(order, losses[order])


@pytest.mark.parametrize("epochs", [30, 90, 100, 300])
@pytest.mark.parametrize("loss", [0.0, 0.1, 2.3025851, 1e-30, 1e30])
def test_equal_losses_drop_nothing_in_any_epoch(epochs: int, loss: float) -> None:
    sampler = InfoBatchSampler(1001, epochs=epochs)
    for epoch in range(epochs):
        assert sampler.begin(epoch) == 1001 and sampler.weights(np.arange(3)) is None
        if epoch % 10 == 0:
            sampler.update(np.arange(1001), np.full(1001, loss, dtype=np.float32))


def test_the_expected_weight_of_each_example_is_one() -> None:
    """Over 4000 seeds; k of |L| is 5 of 9, so the weight is 1.8 or 0 with a standard deviation of 0.9."""
    losses = [1.0] * 9 + [5.0] * 6
    mean = np.zeros(15)
    for seed in range(4000):
        mean += taught(losses, seed=seed).weights(np.arange(15)).numpy().astype(np.float64) / 4000
    assert np.abs(mean - 1).max() < 5 * 0.9 / np.sqrt(4000)


def test_losses_that_differ_by_rounding_are_equal() -> None:
    """2.3 and the next float32 above it, half of each: the mean is between them."""
    losses = np.full(100, 2.3, dtype=np.float32)
    losses[::2] = np.nextafter(losses[0], np.float32(9))
    assert len(taught(losses)) == 100 and len(taught(losses * np.float32(1 + 1e-3) ** np.arange(100))) < 100


@pytest.mark.parametrize(("anneal", "epochs", "first"), [(0.07, 100, 7), (0.57, 100, 57), (0.29, 100, 29), (0.0, 5, 0)])
def test_the_end_of_dropping_is_exact_for_decimals(anneal: float, epochs: int, first: int) -> None:
    """0.07 * 100 is 7.000000000000001 in floats."""
    lengths = [len(taught([1, 1, 9], epoch=e, epochs=epochs, anneal=anneal)) for e in range(1, epochs)]
    assert lengths == [3 if e >= first else 2 for e in range(1, epochs)]


def test_examples_that_were_never_seen_are_kept_and_are_not_in_the_mean() -> None:
    """Known losses 1, 3: the mean is 2, so only example 0 is low, and it is the 1 of 1 that is kept."""
    nan = float("nan")
    sampler = taught([1, nan, 3, nan])
    assert presented(sampler) == [0, 1, 2, 3] and sampler.weights(np.arange(4)).tolist() == [1, 1, 1, 1]
    sampler = taught([1, 1, nan, 7])
    assert len(sampler) == 3 and sampler.weights(np.array([2, 3])).tolist() == [1, 1]


def test_dropped_examples_keep_their_latest_loss() -> None:
    sampler = taught([1, 1, 1, 1, 9])
    first = presented(sampler)
    sampler.update(np.array(first), np.full(len(first), 9, dtype=np.float32))
    sampler.begin(2)  # those dropped in epoch 1 still have a loss of 1, the only low ones: 1 of 2 is kept
    assert len(sampler) == 4 and set(first) <= set(presented(sampler))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n=0: give a whole number of at least 1"),
        ({"epochs": 0}, "epochs=0: give a whole number of at least 1"),
        ({"ratio": 1.0}, "ratio=1.0: give a share from 0 and below 1"),
        ({"ratio": -0.1}, "ratio=-0.1: give a share from 0"),
        ({"ratio": "half"}, "InfoBatchSampler: ratio='half': give a float"),
        ({"anneal": 1.5}, "anneal=1.5: give a share from 0 to 1"),
        ({"seed": -1}, "seed=-1"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        InfoBatchSampler(**{"n": 9, "epochs": 3, **options})
