"""Epsilon-greedy: the running loss, the greedy part and the random one."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.sampling import EpsilonGreedySampler


def presented(sampler: EpsilonGreedySampler) -> list[int]:
    return sorted(sampler.order(sampler.epoch)(np.arange(len(sampler))).tolist())


def test_golden_running_mean() -> None:
    """alpha = 1/4: 4, then 3/4 * 4 + 1/4 * 0 = 3 for example 0; 2, then 3/4 * 2 + 1/4 * 10 = 4 for example 1."""
    sampler = EpsilonGreedySampler(2, keep=1, epsilon=0.0, alpha=0.25)
    chosen = []
    for epoch, losses in enumerate([[4.0, 2.0], [0.0, 10.0]], 1):
        sampler.update(np.arange(2), np.array(losses))
        sampler.begin(epoch)
        chosen.append(presented(sampler))
    assert chosen == [[0], [1]]
    assert sampler.state_dict()["learned"]["mean"].tolist() == [3.0, 4.0]


def test_the_rest_is_random_among_the_others() -> None:
    """k = 10 of 100, 3 of them at random: the 7 highest always, 3 others, each about equally often."""
    counts = np.zeros(100)
    for seed in range(300):
        sampler = EpsilonGreedySampler(100, keep=10, epsilon=0.3, seed=seed)
        sampler.update(np.arange(100), np.arange(100.0))
        sampler.begin(1)
        chosen = presented(sampler)
        assert len(chosen) == len(set(chosen)) == 10 and set(range(93, 100)) <= set(chosen)
        counts[chosen] += 1
    # 300 * 3/93 = 9.7 with a standard deviation of 3.1
    assert counts[:93].min() >= 0 and counts[:93].max() < 26 and abs(counts[:93].mean() - 9.68) < 0.01


def test_examples_that_were_never_seen_come_first() -> None:
    sampler = EpsilonGreedySampler(10, keep=4, epsilon=0.0)
    seen: set[int] = set()
    for epoch in range(3):
        sampler.begin(epoch)
        chosen = presented(sampler)
        assert len(set(chosen) - seen) == [4, 4, 2][epoch]
        seen |= set(chosen)
        sampler.update(np.array(chosen), np.full(4, 100.0 + epoch))
    assert seen == set(range(10))


def test_ties_are_broken_at_random_not_by_position() -> None:
    sampler = EpsilonGreedySampler(1000, keep=500, epsilon=0.0)
    sampler.update(np.arange(1000), np.ones(1000))
    sampler.begin(1)
    assert 200 < np.count_nonzero(np.array(presented(sampler)) < 500) < 300


@pytest.mark.parametrize(("epsilon", "greedy"), [(0.0, 5), (1.0, 0), (0.5, 2)])
def test_epsilon_is_rounded_half_up(epsilon: float, greedy: int) -> None:
    always = set(range(1000))
    for seed in range(20):
        sampler = EpsilonGreedySampler(1000, keep=5, epsilon=epsilon, seed=seed)
        sampler.update(np.arange(1000), np.arange(1000.0))
        sampler.begin(1)
        always &= set(presented(sampler))
    assert always == set(range(1000 - greedy, 1000))


def test_refusals() -> None:
    for options, message in (({"epsilon": 1.1}, "epsilon=1.1"), ({"alpha": 0.0}, "alpha=0.0: give a share above 0")):
        with pytest.raises(OptionError, match=message):
            EpsilonGreedySampler(9, keep=3, **options)
