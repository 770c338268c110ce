"""Herding against exact restatements."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.randomness import Keys
from datadiet.selectors.herding import herding


def slow(points: list[list[int]], draws: list[int]) -> list[int]:
    """argmin |(t + 1) mu - S - x|^2 in exact fractions, ties by draw."""
    n, d = len(points), len(points[0])
    mean = [Fraction(sum(p[a] for p in points), n) for a in range(d)]
    taken: list[int] = []
    while len(taken) < n:
        aim = [(len(taken) + 1) * mean[a] - sum(points[i][a] for i in taken) for a in range(d)]
        off = [sum((aim[a] - points[i][a]) ** 2 for a in range(d)) for i in range(n)]
        taken.append(min((off[i], draws[i], i) for i in range(n) if i not in taken)[2])
    return taken


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.sampled_from([1, 2, 4, 8, 16]), d=st.integers(1, 3))
def test_the_definition_with_ties_and_duplicates(data: st.DataObject, n: int, d: int) -> None:
    # n is a power of two, so that the mean is exact and rounding decides no tie.
    points = data.draw(st.lists(st.lists(st.integers(-4, 4), min_size=d, max_size=d), min_size=n, max_size=n))
    keys = Keys(data.draw(st.integers(0, 99)), "t", n)
    assert herding(np.array(points), n, normalise=False, keys=keys).tolist() == slow(points, keys.draw().tolist())


def test_vectors_of_length_one_take_the_largest_inner_product_with_the_weights() -> None:
    # Welling: w <- w + mu - x, from w = mu.
    vectors = np.random.default_rng(0).normal(size=(50, 6)) + 0.2
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    weight, taken = unit.mean(0), []
    for _ in range(50):
        value = unit @ weight
        value[taken] = -np.inf
        taken.append(int(value.argmax()))
        weight = weight + unit.mean(0) - unit[taken[-1]]
    assert herding(vectors, 50).tolist() == taken
    assert herding(vectors * np.arange(1, 51)[:, None], 50).tolist() == taken


@pytest.mark.parametrize("normalise", [True, False])
def test_the_mean_of_the_kept_is_near_the_mean_of_all(normalise: bool) -> None:
    # What an argmax of the distance, as in a public implementation, fails by far: it takes the outliers.
    vectors = np.random.default_rng(1).normal(size=(400, 5)) + 1
    if normalise:
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mean = vectors.mean(0)
    off = np.linalg.norm(vectors[herding(vectors, 20, normalise=normalise)].mean(0) - mean)
    rng = np.random.default_rng(2)
    drawn = [np.linalg.norm(vectors[rng.permutation(400)[:20]].mean(0) - mean) for _ in range(300)]
    assert off < min(drawn)
    farthest = np.linalg.norm(vectors - mean, axis=1).argsort()[-20:]
    assert not np.isin(herding(vectors, 20, normalise=normalise)[:5], farthest).any()


def test_by_hand() -> None:
    # Mean 3. First: nearest to 3 is 3. Then nearest to 6 - 3 = 3: 2. Then nearest to 9 - 5 = 4: 7. Then 0.
    assert herding(np.array([[0.0], [2.0], [3.0], [7.0]]), 4, normalise=False).tolist() == [2, 1, 3, 0]


def test_what_single_precision_cannot_tell_apart() -> None:
    # Products are near 2^24, where float32 counts in steps of 2; the differences that decide are 2^-8 and less.
    rng = np.random.default_rng(3)
    points = 4096 + rng.integers(-64, 64, (16, 2)) / 256
    keys = Keys(0, "t", 16)
    scaled = [[int(256 * number) for number in point] for point in points]
    assert herding(points, 16, normalise=False, keys=keys).tolist() == slow(scaled, keys.draw().tolist())


@pytest.mark.parametrize("normalise", [True, False])
def test_what_matches_equally_well_but_for_rounding_goes_by_key(normalise: bool) -> None:
    # The coordinates in every cyclic order: the mean has all coordinates equal, and all rows the same product with it.
    first = np.random.default_rng(0).normal(size=37) + 1
    rows = np.stack([np.roll(first, shift) for shift in range(37)]).astype(np.float32)
    for seed in range(5):
        keys = Keys(seed, "t", 37)
        assert herding(rows, 1, normalise=normalise, keys=keys)[0] == keys.draw().argmin()
