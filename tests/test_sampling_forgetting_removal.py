"""Forgetting removal: what counts as forgotten, what is removed, and when."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.sampling import ForgettingRemovalSampler


def lengths(n: int, epochs: int, **options: float) -> list[int]:
    sampler, rng, found = ForgettingRemovalSampler(n, epochs=epochs, **options), np.random.default_rng(0), []
    for epoch in range(epochs):
        found.append(sampler.begin(epoch))
        order = sampler.order(epoch)(np.arange(found[-1]))
        sampler.update(order, rng.random(len(order)) < 0.7)
    return found


def test_the_defaults_are_those_of_the_authors_for_50_epochs_of_10_000() -> None:
    """750 after each 5 epochs up to epoch 20, 3000 in all."""
    wanted = [10_000] * 5 + [9250] * 5 + [8500] * 5 + [7750] * 5 + [7000] * 30
    assert lengths(10_000, 50) == wanted


@pytest.mark.parametrize(
    ("n", "epochs", "options", "wanted"),
    [
        (10, 4, {}, [10, 8, 7, 7]),  # every 0.4 epochs: 2 removals are due at epoch 1, all 4 at epoch 2
        (10, 10, {"remove": 0.5, "interval": 0.5, "until": 1.0}, [10] * 5 + [7] * 5),  # 2.5, half up, after epoch 5
        (10, 4, {"remove": 0.0}, [10] * 4),
        (10, 4, {"until": 0.0}, [10] * 4),
        (1, 4, {"remove": 0.9}, [1] * 4),
        (2, 4, {"remove": 0.99}, [2, 1, 1, 1]),
    ],
)
def test_when_how_many_are_left(n: int, epochs: int, options: dict[str, float], wanted: list[int]) -> None:
    assert lengths(n, epochs, **options) == wanted


def removed_after(correct: list[list[int]], remove: float) -> list[int]:
    """What is removed after some epochs, in which each example was classified so."""
    n, epochs = len(correct[0]), len(correct)
    sampler = ForgettingRemovalSampler(n, epochs=2 * epochs, remove=remove, interval=0.5, until=0.5)
    for epoch, row in enumerate(correct):
        sampler.begin(epoch)
        sampler.update(np.arange(n), np.array(row, dtype=bool))
    sampler.begin(epochs)
    return sorted(set(range(n)) - set(sampler.order(epochs)(np.arange(len(sampler))).tolist()))


def test_golden() -> None:
    """Forgettings 0, 1, 2, and never learned: the first goes before the second, and the last is kept."""
    correct = [[1, 1, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]
    assert removed_after(correct, 0.25) == [0]
    assert removed_after(correct, 0.5) == [0, 1]
    assert removed_after(correct, 0.75) == [0, 1, 2]


def test_the_counts_begin_anew_after_a_removal() -> None:
    """Forgettings before epoch 4: 2, never learned, 0, so 2 goes. After it: 0 and 1, so 0 goes, whatever it was."""
    sampler = ForgettingRemovalSampler(3, epochs=8, remove=0.67, interval=0.5, until=1.0)
    rows = [[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1], [1, 1, 1]]
    lengths = []
    for epoch, row in enumerate(rows):
        lengths.append(sampler.begin(epoch))
        sampler.update(np.arange(3), np.array(row))
    lengths.append(sampler.begin(8))
    assert lengths == [3] * 4 + [2] * 4 + [1]
    assert sampler.order(8)(np.arange(1)).tolist() == [1]


def test_nothing_is_removed_by_what_is_not_known() -> None:
    sampler = ForgettingRemovalSampler(10, epochs=4)
    assert [sampler.begin(epoch) for epoch in (0, 1, 3, 0)] == [10] * 4
    sampler.update(np.arange(5), np.ones(5))
    assert sampler.begin(3) == 7
    left = set(sampler.order(3)(np.arange(7)).tolist())
    assert {5, 6, 7, 8, 9} <= left  # those that were not presented


def test_ties_are_broken_at_random() -> None:
    sampler = ForgettingRemovalSampler(1000, epochs=2, remove=0.5, interval=0.5, until=0.5)
    sampler.update(np.arange(1000), np.ones(1000))
    length = sampler.begin(1)
    left = sampler.order(1)(np.arange(length))
    assert length == 500
    assert 200 < np.count_nonzero(left < 500) < 300


def test_refusals() -> None:
    for options, message in (
        ({"remove": 1.0}, "remove=1.0"),
        ({"interval": 0.0}, "interval=0.0"),
        ({"until": 2.0}, "until"),
    ):
        with pytest.raises(OptionError, match=message):
            ForgettingRemovalSampler(9, epochs=3, **options)
