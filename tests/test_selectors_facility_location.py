"""Facility location against brute force and slow restatements."""

from __future__ import annotations

import sys
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.selectors.facility_location import SPEC, facility_location
from datadiet.selectors.similarities import SCALE
from datadiet.testing import check_selector


def similarity(vectors: np.ndarray, metric: str = "cosine") -> np.ndarray:
    """(n, n) whole numbers of 2^-20."""
    unit = Matrix.open(vectors, unit=metric == "cosine").take(slice(None)).astype(np.float64)
    if metric == "cosine":
        return np.rint((1 + unit @ unit.T) / 2 * SCALE).astype(int)
    away = np.linalg.norm(unit[:, None] - unit, axis=2)
    return np.rint((1 - away / (away.max() or 1)) * SCALE).astype(int)


def value(s: np.ndarray, subset: tuple[int, ...] | list[int]) -> int:
    return int(s[:, list(subset)].max(axis=1).sum()) if len(subset) else 0


def slow(s: np.ndarray, k: int, draws: np.ndarray) -> list[int]:
    """Greedy by evaluating f for every candidate, ties by draw."""
    taken: list[int] = []
    for _ in range(k):
        left = [j for j in range(len(s)) if j not in taken]
        taken.append(min(left, key=lambda j: (-value(s, [*taken, j]), draws[j])))
    return taken


vectors_with_ties = st.integers(2, 12).flatmap(
    lambda n: st.lists(st.tuples(*[st.integers(-2, 2)] * 2).filter(any), min_size=n, max_size=n)
)


@settings(max_examples=100, deadline=None)
@given(points=vectors_with_ties, seed=st.integers(0, 99), data=st.data())
def test_greedy_with_ties_and_duplicates(points: list[tuple[int, int]], seed: int, data: st.DataObject) -> None:
    vectors, n = np.array(points, dtype=np.float32), len(points)
    keys, k = Keys(seed, "t", n), data.draw(st.integers(1, n))
    for metric in ("cosine", "euclidean"):
        expected = slow(similarity(vectors, metric), k, keys.draw())
        for optimizer in ("lazy", "naive"):
            got = facility_location(vectors, k, metric=metric, optimizer=optimizer, keys=keys)
            assert got.tolist() == expected
        assert facility_location(vectors, k, neighbours=n - 1, metric=metric, keys=keys).tolist() == expected


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("m", [1, 4, 20, 39])
def test_sparse_is_greedy_with_nothing_outside_the_lists(metric: str, m: int) -> None:
    vectors = np.random.default_rng(m).normal(size=(40, 5)).astype(np.float32)
    away = np.linalg.norm(vectors[:, None].astype(float) - vectors, axis=2)
    if metric == "cosine":
        away = 1 - similarity(vectors) / SCALE
    np.fill_diagonal(away, -1)
    listed = np.argsort(away, axis=1)[:, : m + 1]
    s = np.zeros((40, 40), dtype=int)
    for i in range(40):
        far = np.sort(away, axis=1)[:, m].max()
        exact = similarity(vectors) if metric == "cosine" else np.rint((1 - away / far) * SCALE).astype(int)
        s[i, listed[i]] = exact[i, listed[i]]
        s[i, i] = SCALE
    expected = slow(s, 40, Keys(5, "t", 40).draw())
    for optimizer in ("lazy", "naive"):
        options = {"neighbours": m, "metric": metric, "optimizer": optimizer}
        assert facility_location(vectors, 40, keys=Keys(5, "t", 40), **options).tolist() == expected


def test_at_least_the_guaranteed_share_of_the_best_subset() -> None:
    for seed in range(15):
        vectors = np.random.default_rng(seed).normal(size=(10, 3))
        s = similarity(vectors)
        for k in (2, 3):
            best = max(value(s, subset) for subset in combinations(range(10), k))
            got = value(s, facility_location(vectors, k).tolist())
            assert (1 - 1 / np.e) * best <= got <= best


def test_by_hand() -> None:
    # s: ab .8, ac 0, bc .2. Sums: a 1.8, b 2.0, c 1.2. After b: a adds .2, c .8.
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    assert facility_location(vectors, 3).tolist() == [1, 2, 0]
    found = facility_location.explain(vectors, 1)
    assert found.witness.tolist() == [1, -1, 1]
    np.testing.assert_allclose(found.similarity, [0.6, np.nan, -0.6], atol=1e-6)


def test_when_all_is_represented_the_rest_goes_by_key() -> None:
    vectors = np.repeat(np.eye(3, 4), 5, axis=0) + 0.0
    keys = Keys(7, "t", 15)
    for options in ({}, {"neighbours": 14}):
        chosen = facility_location(vectors, 15, keys=keys, **options)
        assert sorted(chosen[:3] // 5) == [0, 1, 2]
        assert (np.diff(keys.draw()[chosen[3:]].astype(np.int64)) > 0).all()


def test_the_witness_is_the_most_similar_kept_also_outside_the_lists() -> None:
    vectors = np.random.default_rng(3).normal(size=(80, 6))
    s = similarity(vectors)
    for options in ({}, {"neighbours": 2}):
        found = facility_location.explain(vectors, 6, **options)
        left = np.setdiff1d(np.arange(80), found.chosen)
        assert (s[left, found.witness[left]] == s[left][:, found.chosen].max(1)).all()


def test_stochastic_comes_close_and_differs_by_seed() -> None:
    vectors = np.random.default_rng(0).normal(size=(300, 4))
    s = similarity(vectors)
    best = value(s, facility_location(vectors, 20).tolist())
    rng = np.random.default_rng(1)
    drawn = [value(s, rng.permutation(300)[:20].tolist()) for _ in range(200)]
    found = set()
    for seed in range(5):
        keys = Keys(seed, "t", 300)
        got = facility_location(vectors, 20, optimizer="stochastic", epsilon=0.05, keys=keys)
        found.add(tuple(got.tolist()))
        assert value(s, got.tolist()) - max(drawn) > (best - max(drawn)) / 2
    assert len(found) == 5


def test_above_the_limit_only_the_nearest_count(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4))
    file = sys.modules["datadiet.selectors.facility_location"]
    expected = facility_location(vectors, 10, neighbours=6).tolist()
    assert facility_location(vectors, 10).tolist() != expected
    monkeypatch.setattr(file, "DENSE", 49)
    monkeypatch.setattr(file, "NEIGHBOURS", 6)
    assert facility_location(vectors, 10).tolist() == expected


def test_options_are_checked() -> None:
    for options, text in (
        ({"neighbours": 0}, "neighbours=0: give a whole number of at least 1"),
        ({"neighbours": 2.5}, "neighbours=2.5"),
        ({"metric": "dot"}, "metric='dot'"),
        ({"optimizer": "fast"}, "'lazy', 'naive' or 'stochastic'"),
    ):
        with pytest.raises(OptionError, match=text):
            facility_location(np.eye(4), 2, **options)


def test_it_keeps_the_contract_with_other_parameters_too() -> None:
    check_selector(SPEC, examples=[{"neighbours": 8}])
