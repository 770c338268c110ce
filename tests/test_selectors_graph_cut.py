"""Graph cut against brute force and slow restatements."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.selectors.graph_cut import SPEC, graph_cut
from datadiet.selectors.similarities import SCALE
from datadiet.testing import check_selector


def similarity(vectors: np.ndarray) -> np.ndarray:
    unit = Matrix.open(vectors, unit=True).take(slice(None)).astype(np.float64)
    return (1 + unit @ unit.T) / 2


def value(s: np.ndarray, subset: list[int], weight: float) -> float:
    return weight * s[:, subset].sum() - s[np.ix_(subset, subset)].sum()


def slow(s: np.ndarray, k: int, weight: float, draws: np.ndarray) -> list[int]:
    """Greedy by evaluating f for every candidate; what differs by rounding alone is a tie, and goes by draw."""
    taken: list[int] = []
    for _ in range(k):
        left = [j for j in range(len(s)) if j not in taken]
        gains = np.array([value(s, [*taken, j], weight) for j in left])
        taken.append(
            min((j for j, g in zip(left, gains, strict=True) if g > gains.max() - 1e-5), key=lambda j: draws[j])
        )
    return taken


vectors_with_ties = st.integers(2, 10).flatmap(
    lambda n: st.lists(st.sampled_from([(1, 0), (0, 1), (-1, 0), (0, -4), (0, 2)]), min_size=n, max_size=n)
)


@settings(max_examples=100, deadline=None)
@given(points=vectors_with_ties, seed=st.integers(0, 99), weight=st.sampled_from([0.0, 1.0, 2.0]), data=st.data())
def test_greedy_with_ties_and_duplicates(
    points: list[tuple[int, int]], seed: int, weight: float, data: st.DataObject
) -> None:
    # Similarities are 0, 1/2 and 1, so that rounding decides no tie.
    vectors, n = np.array(points, dtype=np.float32), len(points)
    keys, k = Keys(seed, "t", n), data.draw(st.integers(1, n))
    expected = slow(similarity(vectors), k, weight, keys.draw())
    for optimizer in ("lazy", "naive"):
        assert graph_cut(vectors, k, weight=weight, optimizer=optimizer, keys=keys).tolist() == expected


@pytest.mark.parametrize("weight", [0.0, 0.7, 1.0, 2.0, 10.0])
def test_greedy_on_any_vectors(weight: float) -> None:
    vectors = np.random.default_rng(1).normal(size=(40, 5)).astype(np.float32)
    expected = slow(similarity(vectors), 35, weight, Keys(0, "select", 40).draw())
    for options in ({}, {"optimizer": "naive"}, {"neighbours": 39}, {"neighbours": 39, "optimizer": "naive"}):
        assert graph_cut(vectors, 35, weight=weight, **options).tolist() == expected


@pytest.mark.parametrize("m", [1, 3, 12])
def test_sparse_counts_pairs_of_which_one_is_near_the_other(m: int) -> None:
    vectors = np.random.default_rng(m).normal(size=(40, 5)).astype(np.float32)
    s = similarity(vectors)
    near = np.argsort(-s, axis=1)[:, : m + 1]  # itself first
    listed = np.zeros((40, 40), dtype=bool)
    listed[np.arange(40)[:, None], near] = True
    expected = slow(np.where(listed | listed.T, s, 0), 25, 2.0, Keys(0, "select", 40).draw())
    for optimizer in ("lazy", "naive"):
        assert graph_cut(vectors, 25, neighbours=m, weight=2.0, optimizer=optimizer).tolist() == expected


def test_from_weight_2_on_it_is_monotone_and_reaches_the_guaranteed_share() -> None:
    fell = 0
    for seed in range(12):
        vectors = np.random.default_rng(seed).normal(size=(9, 3))
        s = similarity(vectors)
        for weight, k in ((2.0, 3), (2.0, 5), (4.0, 3)):
            chosen = graph_cut(vectors, 9, weight=weight).tolist()
            values = [value(s, chosen[:t], weight) for t in range(10)]
            assert (np.diff(values) >= -1e-9).all()
            best = max(value(s, list(subset), weight) for subset in combinations(range(9), k))
            assert (1 - 1 / np.e) * best <= values[k] <= best + 1e-9
        chosen = graph_cut(vectors, 9, weight=1.0).tolist()
        fell += value(s, chosen, 1.0) < value(s, chosen[:4], 1.0)
    assert fell == 12  # and below 2 it is not monotone


def test_by_hand() -> None:
    # s: ab .8, ac 0, bc .2. lambda 1: a 1.8 - 1, b 2 - 1, c 1.2 - 1. After b: a .8 - 1.6, c .2 - .4.
    vectors = np.array([[1.0, 0.0], [0.6, 0.8], [-1.0, 0.0]])
    assert graph_cut(vectors, 3, weight=1.0).tolist() == [1, 2, 0]


def test_redundancy_costs() -> None:
    # A gain that adds what it should take off, as in a public implementation of a relative, keeps near-copies.
    rng = np.random.default_rng(0)
    centres = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    vectors = centres[rng.integers(0, 4, 200)] + 0.05 * rng.normal(size=(200, 8))
    groups = (vectors @ centres.T).argmax(1)
    assert len(set(groups[graph_cut(vectors, 4, weight=2 * 4 / 200)].tolist())) == 4
    assert len(set(groups[graph_cut(vectors, 4)].tolist())) < 4  # the page says why


def test_options_are_checked() -> None:
    for options, text in (
        ({"weight": -1.0}, "weight=-1.0"),
        ({"weight": np.nan}, "weight=nan"),
        ({"neighbours": 0}, "neighbours=0"),
        ({"optimizer": "x"}, "optimizer"),
    ):
        with pytest.raises(OptionError, match=text):
            graph_cut(np.eye(4), 2, **options)
    assert SCALE == 2**20


def test_it_keeps_the_contract_with_other_parameters_too() -> None:
    check_selector(SPEC, examples=[{"neighbours": 8}])
