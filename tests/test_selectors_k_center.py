"""k-center greedy against exact restatements."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.randomness import Keys
from datadiet.selectors.k_center import k_center


def slow(points: list[list[int]], k: int, draws: list[int], taken: list[int]) -> list[int]:
    """Farthest first in whole numbers, ties by draw; the new ones."""
    taken, given = list(taken), len(taken)
    while len(taken) - given < k:
        left = [i for i in range(len(points)) if i not in taken]

        def away(i: int) -> int:
            return min((sum((a - b) ** 2 for a, b in zip(points[i], points[j], strict=True)) for j in taken), default=0)

        taken.append(min(left, key=lambda i: (-away(i), draws[i])))
    return taken[given:]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), n=st.integers(1, 14), d=st.integers(1, 3))
def test_farthest_first_with_ties_and_duplicates(data: st.DataObject, n: int, d: int) -> None:
    number = st.integers(-3, 3)
    points = data.draw(st.lists(st.lists(number, min_size=d, max_size=d), min_size=n, max_size=n))
    keys = Keys(data.draw(st.integers(0, 99)), "t", n)
    already = data.draw(st.lists(st.integers(0, n - 1), max_size=n - 1, unique=True))
    k = data.draw(st.integers(1, n - len(already)))
    start = data.draw(st.sampled_from([None, *(i for i in range(n) if i not in already)]))
    taken = [*already, *([start] if start is not None else [])]
    draws = keys.draw().tolist()
    expected = ([start] if start is not None else []) + slow(points, k - (start is not None), draws, taken)
    scale = data.draw(st.sampled_from([1.0, 0.25, 1024.0]))
    got = k_center(np.array(points) * scale, k, start=start, already=already, keys=keys)
    assert got.tolist() == expected


def test_the_cosine_orders_by_angle_and_not_by_length() -> None:
    # Angles 0, 10, 90, 170 degrees; lengths hide that. From the first row: 170, then 90 (80 from it), then 10.
    angles, lengths = np.deg2rad([0, 10, 90, 170]), np.array([1, 9, 0.1, 2])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1) * lengths[:, None]
    assert k_center(vectors, 4, metric="cosine", start=0).tolist() == [0, 3, 2, 1]
    assert k_center(vectors, 4, start=0).tolist() == [0, 1, 3, 2]


def test_the_largest_distance_is_at_most_twice_the_smallest_possible() -> None:
    for seed in range(20):
        vectors = np.random.default_rng(seed).normal(size=(9, 2))
        away = np.linalg.norm(vectors[:, None] - vectors, axis=2)
        best = min(away[:, list(subset)].min(1).max() for subset in combinations(range(9), 3))
        chosen = k_center(vectors, 3, keys=Keys(seed, "t", 9))
        assert best <= away[:, chosen].min(1).max() <= 2 * best


def test_the_witness_is_the_nearest_kept() -> None:
    vectors = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32) + 3
    found = k_center.explain(vectors, 10, already=[5, 6])
    kept = np.array([5, 6, *found.chosen])
    left = np.setdiff1d(np.arange(60), kept)
    away = np.linalg.norm(vectors[left, None] - vectors[kept], axis=2)
    assert found.witness[left].tolist() == kept[away.argmin(1)].tolist()
    assert (found.witness[kept] == -1).all()


def test_near_duplicates_far_from_the_origin_are_told_apart() -> None:
    # 1e-3 apart at 1e3 from the origin: squared distances are 1e-12 of the squared lengths.
    line = np.array([[1000.0, 0.0], [1000.0, 0.001], [1000.0, 0.003], [1000.0, 0.007]])
    assert k_center(line, 4, start=0).tolist() == [0, 3, 2, 1]


def test_options_are_checked() -> None:
    vectors = np.eye(4)
    for options, text in (
        ({"metric": "l1"}, "metric='l1'"),
        ({"start": 4}, "start=4"),
        ({"start": -1}, "start=-1"),
        ({"start": 1, "already": [1]}, "start=1"),
        ({"already": [4]}, "already"),
        ({"already": [-1]}, "already"),
        ({"already": [0.5]}, "already"),
        ({"already": [0, 1, 2]}, "k=2 of 4 examples, 3 of which are kept already: give at most 1"),
    ):
        with pytest.raises(OptionError, match=text):
            k_center(vectors, 2, **options)


def test_of_equally_near_kept_rows_the_first_is_the_witness_and_of_those_given_the_one_with_the_smallest_key() -> None:
    line = np.array([[0.0], [2.0], [1.0]])
    assert k_center.explain(line, 2, start=0).witness.tolist() == [-1, -1, 0]
    assert k_center.explain(line, 2, start=1).witness.tolist() == [-1, -1, 1]
    for seed in range(6):
        keys = Keys(seed, "t", 4)
        found = k_center.explain(np.array([[0.0], [2.0], [1.0], [9.0]]), 1, already=[0, 1], keys=keys)
        assert found.chosen.tolist() == [3] and found.witness[2] == keys.draw()[:2].argmin()


def test_what_is_equally_far_but_for_rounding_goes_by_key() -> None:
    # Rows with the same coordinates in another order are equally long, but sums of squares round differently.
    rng = np.random.default_rng(0)
    rows = rng.permuted(np.tile(rng.normal(size=40), (50, 1)), axis=1).astype(np.float32)
    assert len(set(np.einsum("nd,nd->n", rows, rows, dtype=np.float64).tolist())) > 1
    for seed in range(5):
        keys = Keys(seed, "t", 51)
        chosen = k_center(np.concatenate([np.zeros((1, 40), dtype=np.float32), rows]), 2, start=0, keys=keys)
        assert chosen[1] == 1 + keys.draw()[1:].argmin()
