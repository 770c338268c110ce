"""SeTa: groups of losses, the window that slides over them, the random part."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.sampling import SeTaSampler
from datadiet.sampling.seta import group_edges

LEVELS = np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 4)  # five groups of four


def epochs_of(losses, count, **options) -> list[list[int]]:
    """What is presented in each of some epochs, in all of which the examples keep their losses."""
    sampler = SeTaSampler(len(losses), **{"epochs": 100, "ratio": 0.0, **options})
    found = []
    for epoch in range(count):
        length = sampler.begin(epoch)
        order = sampler.order(epoch)(np.arange(length))
        found.append(sorted(order.tolist()))
        sampler.update(order, losses[order])
    return found


def test_golden_window() -> None:
    """g = 5, w = round(3.0) = 3, g - w + 1 = 3 places: groups 1-3 in epoch 1, 2-4 in 2, 0-2 in 3; all in epoch 0."""
    found = epochs_of(LEVELS, 6, groups=5, window=0.6)
    groups = [sorted({i // 4 for i in epoch}) for epoch in found]
    assert groups == [[0, 1, 2, 3, 4], [1, 2, 3], [2, 3, 4], [0, 1, 2], [1, 2, 3], [2, 3, 4]]
    assert all(len(epoch) == 4 * len(part) for epoch, part in zip(found, groups, strict=True))


def test_the_defaults_are_those_of_the_script_for_cifar() -> None:
    """round(0.9 * 5) is 4 in Python: all but the easiest and all but the hardest group in turn."""
    found = epochs_of(LEVELS, 4)
    assert [sorted({i // 4 for i in epoch}) for epoch in found[1:]] == [[1, 2, 3, 4], [0, 1, 2, 3], [1, 2, 3, 4]]


def test_a_random_part_is_left_out_anew_each_epoch_and_alone_at_the_end() -> None:
    found = epochs_of(LEVELS, 40, ratio=0.3, window=1.0, epochs=40)
    assert all(len(epoch) == 14 for epoch in found) and len(set(map(tuple, found))) > 30
    annealed = epochs_of(LEVELS, 8, ratio=0.3, window=0.4, epochs=8, anneal=0.5)
    assert [len(epoch) == 14 for epoch in annealed] == [True] + [False] * 3 + [True] * 4
    assert all(len({i // 4 for i in epoch}) > 2 for epoch in annealed[4:])


def test_examples_that_were_never_seen_are_presented() -> None:
    sampler = SeTaSampler(20, epochs=10, ratio=0.0, groups=5, window=0.2)
    sampler.begin(0)
    sampler.update(np.arange(16), LEVELS[:16])
    length = sampler.begin(1)
    order = sampler.order(1)(np.arange(length))
    assert {16, 17, 18, 19} <= set(order.tolist()) and len(order) == 8


@pytest.mark.parametrize("losses", [np.full(20, 3.0), np.repeat([1.0, 2.0], 10)])
def test_fewer_losses_than_groups_make_fewer_groups(losses: np.ndarray) -> None:
    for epoch in epochs_of(losses, 6, groups=5, window=0.5):
        assert len(epoch) in (10, 20)


@given(values=st.lists(st.integers(0, 12), min_size=1, max_size=30), groups=st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_groups_are_a_fixed_point_of_k_means(values: list[int], groups: int) -> None:
    """Each value is at least as near to the mean of its group as to any other, to rounding; equal ones are together."""
    ordered = np.sort(np.array(values, dtype=np.float64))
    edges = group_edges(ordered, groups)
    assert edges[0] == 0 and edges[-1] == len(ordered) and (np.diff(edges) > 0).all() and len(edges) <= groups + 1
    centres = np.array([part.mean() for part in np.split(ordered, edges[1:-1])])
    own = np.repeat(centres, np.diff(edges))
    assert (np.abs(ordered - own) <= np.abs(ordered[:, None] - centres).min(axis=1) + 1e-9).all()
    assert all(ordered[edge - 1] < ordered[edge] for edge in edges[1:-1])


def test_k_means_finds_separate_groups() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.normal(centre, 0.1, size) for centre, size in ((0, 500), (5, 40), (9, 300))]
    edges = group_edges(np.sort(np.concatenate(parts)), 3)
    assert edges.tolist() == [0, 500, 540, 840]


def test_k_means_finds_separate_groups_of_unequal_sizes() -> None:
    """Two groups have more than a fifth of the numbers each, so quantiles would begin within both."""
    sizes = [400, 250, 150, 120, 80]
    parts = [np.linspace(number, number + 0.2, size) for number, size in enumerate(sizes)]
    assert group_edges(np.concatenate(parts), 5).tolist() == np.cumsum([0, *sizes]).tolist()


@pytest.mark.parametrize("spread", [0.5, 2.0])
def test_k_means_ends_near_the_optimum(spread: float) -> None:
    """The optimum of 300 numbers in 4 groups, by all divisions: a table of the best of each start, from the end."""
    ordered = np.sort(np.exp(np.random.default_rng(0).normal(0, spread, 300)))

    def within(part: np.ndarray) -> float:
        return float(np.square(part - part.mean()).sum())

    best = {start: within(ordered[start:]) for start in range(300)}
    for _ in range(3):
        best = {
            start: min(within(ordered[start:end]) + best[end] for end in range(start + 1, 300) if end in best)
            for start in range(max(best))
        }
    found = sum(within(part) for part in np.split(ordered, group_edges(ordered, 4)[1:-1]))
    assert found <= 1.01 * best[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"groups": 0}, "groups=0: give a whole number"),
        ({"window": 0.0}, "window=0.0: give a share above 0 to 1"),
        ({"ratio": 1.0}, "ratio=1.0: give a share from 0 and below 1"),
    ],
)
def test_refusals(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        SeTaSampler(9, epochs=3, **options)
