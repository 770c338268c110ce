"""UCB: the running mean and variance, and the bound that they make."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.sampling import UCBSampler


def presented(sampler: UCBSampler) -> list[int]:
    return sorted(sampler.order(sampler.epoch)(np.arange(len(sampler))).tolist())


def test_golden() -> None:
    """alpha = 1/2, losses 2 then 4 then 0: v = 0, 1/2 * 4 = 2, 1/2 * 2 + 1/2 * 9 = 5.5; m = 2, 3, 1.5."""
    sampler = UCBSampler(1, keep=1, alpha=0.5)
    for epoch, loss in enumerate([2.0, 4.0, 0.0], 1):
        sampler.update(np.array([0]), np.array([loss]))
        sampler.begin(epoch)
    learned = sampler.state_dict()["learned"]
    assert learned["mean"].tolist() == [1.5] and learned["variance"].tolist() == [5.5]


@pytest.mark.parametrize(("confidence", "first"), [(0.0, 0), (0.9, 0), (1.1, 1)])
def test_the_variance_counts_as_much_as_the_confidence_says(confidence: float, first: int) -> None:
    """alpha = 1/2: losses 4, 4 have m = 4 and v = 0, losses 1, 3 have m = 2 and v = 2."""
    sampler = UCBSampler(2, keep=1, confidence=confidence, alpha=0.5)
    for epoch, losses in enumerate([[4.0, 1.0], [4.0, 3.0]], 1):
        sampler.update(np.arange(2), np.array(losses))
        sampler.begin(epoch)
    assert presented(sampler) == [first]


def test_it_is_the_formula_in_slow_lines() -> None:
    rng, alpha, n = np.random.default_rng(0), 0.3, 30
    sampler = UCBSampler(n, keep=12, alpha=alpha, confidence=0.7)
    mean, variance = [float("inf")] * n, [0.0] * n
    for epoch in range(12):
        sampler.begin(epoch)
        chosen = presented(sampler)
        bound = [m + 0.7 * v for m, v in zip(mean, variance, strict=True)]
        assert min(bound[i] for i in chosen) >= max(b for i, b in enumerate(bound) if i not in chosen) - 1e-5
        losses = rng.exponential(1, len(chosen)).astype(np.float32)
        sampler.update(np.array(chosen), losses)
        for i, loss in zip(chosen, losses.tolist(), strict=True):
            before = loss if mean[i] == float("inf") else mean[i]
            variance[i] = (1 - alpha) * variance[i] + alpha * (loss - before) ** 2
            mean[i] = (1 - alpha) * before + alpha * loss


def test_refusals() -> None:
    for options, message in (({"confidence": -1.0}, "confidence=-1.0"), ({"alpha": 1.5}, "alpha=1.5")):
        with pytest.raises(OptionError, match=message):
            UCBSampler(9, keep=3, **options)
