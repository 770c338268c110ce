"""Permutation: a bijection for every n, another one for every key, and uniform over the keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from datadiet.errors import OptionError
from datadiet.sampling import Permutation

SIZES = [*range(1, 40), 61, 97, 101, 127, 128, 129, 255, 256, 257, 1000, 4095, 4096, 4097, 7919, 65535, 65536, 65537]


@pytest.mark.parametrize("n", SIZES)
def test_every_number_is_hit_once(n: int) -> None:
    for seed in range(3):
        image = Permutation(n, seed)(np.arange(n))
        assert image.dtype == np.int64
        assert np.array_equal(np.sort(image), np.arange(n))


@given(n=st.integers(1, 5000), seed=st.integers(0, 2**70), epoch=st.integers(0, 2**63))
@settings(max_examples=60, deadline=None)
def test_is_a_bijection_for_any_key(n: int, seed: int, epoch: int) -> None:
    assert np.array_equal(np.sort(Permutation(n, seed, "order", epoch)(np.arange(n))), np.arange(n))


@given(data=st.data(), n=st.integers(1, 2**62))
@settings(max_examples=60, deadline=None)
def test_large_domains_stay_inside_and_collide_nowhere(data: st.DataObject, n: int) -> None:
    positions = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=50, unique=True))
    image = Permutation(n, 1)(np.array(positions, dtype=np.int64))
    assert image.min() >= 0 and image.max() < n
    assert len(np.unique(image)) == len(positions)


@pytest.mark.parametrize("n", [10**12, 2**62])
def test_large_domains_are_spread_evenly(n: int) -> None:
    image = Permutation(n, 0)(np.arange(64_000))
    assert len(np.unique(image)) == 64_000
    assert chisquare(np.bincount(image // -(-n // 64), minlength=64)).pvalue > 1e-4


def test_other_keys_give_other_orders() -> None:
    keys = [(0,), (1,), (0, "a"), (0, "b"), (0, "a", 0), (0, "a", 1), (0, "a", 10), (10, "a", 0)]
    orders = [tuple(Permutation(50, *key)(np.arange(50)).tolist()) for key in keys]
    assert len(set(orders)) == len(keys)
    assert orders[3] == tuple(Permutation(50, 0, "b")(np.arange(50)).tolist())


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9, 12, 30])
def test_positions_and_pairs_are_uniform_over_the_keys(n: int) -> None:
    images = np.array([Permutation(n, seed, "uniform")(np.arange(n)) for seed in range(6000)])
    for position in range(min(n, 5)):
        assert chisquare(np.bincount(images[:, position], minlength=n)).pvalue > 1e-4
    # 0 and 1 share a half of the Feistel network, 0 and n - 1 do not.
    for other in {1, n - 1} if n > 2 else ():
        pairs = np.bincount(images[:, 0] * n + images[:, other], minlength=n * n).reshape(n, n)
        assert not pairs.diagonal().any()
        assert chisquare(pairs[~np.eye(n, dtype=bool)]).pvalue > 1e-4


@pytest.mark.parametrize("stride", [1, 317, 318, 50_000])
def test_neighbours_go_to_unrelated_places(stride: int) -> None:
    n = 100_000
    counts = np.zeros((8, 8), dtype=np.int64)
    for seed in range(60):
        order = Permutation(n, seed, "neighbours")
        here, there = order(np.arange(2000)), order(np.arange(2000) + stride)
        np.add.at(counts, (here * 8 // n, there * 8 // n), 1)
    assert chisquare(counts.ravel()).pvalue > 1e-4


def test_any_slice_agrees_with_the_whole() -> None:
    order = Permutation(1000, 7)
    whole = order(np.arange(1000))
    assert np.array_equal(order(np.array([999, 3, 3, 500])), whole[[999, 3, 3, 500]])
    assert np.array_equal(order(np.arange(1000)[::-7]), whole[::-7])
    assert order(np.empty(0, dtype=np.int64)).shape == (0,)


@pytest.mark.parametrize("n", [0, -1, 2**62 + 1])
def test_refuses_a_size_out_of_range(n: int) -> None:
    with pytest.raises(OptionError, match=r"give (n from|a whole number of at least) 1"):
        Permutation(n, 0)


@pytest.mark.parametrize("position", [-1, 10])
def test_refuses_positions_out_of_range(position: int) -> None:
    with pytest.raises(OptionError, match=r"outside 0\.\.9"):
        Permutation(10, 0)(np.array([0, position]))
