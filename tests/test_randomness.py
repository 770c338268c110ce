"""Draws: stable for ever, distinct, uniform, and independent of order and number."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datadiet.randomness import Keys, derive, generator, mix64, uniform

SEEDS = [0, 1, 7, 2**31, 2**80, 123456789]

# What every selection ever written depends on: a change here needs another format version.
PINNED = {
    "derive": [4246866556266386882, 3513961828248191150, 684355215182275471, 5486038029339273987],
    "mix64": [11593216774497304466, 12434613523046490333, 5301472532904041523],
    "draw": [3603333377, 2049573550, 1824840001, 3882017320],
    "draw at": [106640483, 1108246784],
    "uniform": [0.37380873874356746, 0.7270286663154492, 0.1887046998857017],
    "generator": [936510658, 102054003, 984566670],
}


def test_pinned_values_that_users_files_depend_on() -> None:
    paths = [(0,), (0, "select"), (1, "select"), (0, "order", 3)]
    assert PINNED["derive"] == [derive(*path) for path in paths]
    assert PINNED["mix64"] == mix64(0, "tie", np.array([0, 1, 2**40])).tolist()
    assert PINNED["draw"] == Keys(0, "select", 4).draw().tolist()
    assert PINNED["draw at"] == Keys(7, "select.ccs", 2, np.array([5, 2**32 - 1])).draw().tolist()
    assert PINNED["uniform"] == Keys(0, "select.beta", 3).uniform().tolist()
    assert PINNED["generator"] == generator(0, "shuffle", 1).integers(0, 10**9, 3).tolist()


def test_derive_tells_seeds_purposes_and_epochs_apart() -> None:
    paths = [(), ("a",), ("b",), ("a", 0), ("a", 1), ("a", 10), ("a", "b")]
    seeds = {derive(seed, *path) for seed in SEEDS for path in paths}
    assert len(seeds) == len(SEEDS) * len(paths) and min(seeds) >= 0 and max(seeds) < 2**63


def test_generators_are_the_same_for_the_same_purpose_only() -> None:
    draws = [generator(*path).random() for path in [(0, "a"), (0, "a"), (0, "b"), (1, "a")]]
    assert draws[0] == draws[1] and len(set(draws)) == 3


@pytest.mark.parametrize("seed", SEEDS)
def test_mix64_never_collides_and_does_not_depend_on_order(seed: int) -> None:
    index = np.concatenate([np.arange(100_000), 2**62 + np.arange(1000)])
    draws = mix64(seed, "t", index)
    assert draws.dtype == np.uint64 and len(np.unique(draws)) == len(index)
    assert mix64(seed, "t", index[::-1][:10]).tolist() == draws[::-1][:10].tolist()


def test_mix64_leaves_its_argument_alone() -> None:
    index = np.arange(5, dtype=np.uint64)
    mix64(0, "t", index)
    assert index.tolist() == list(range(5))


def test_mix64_is_splitmix64() -> None:
    mask = 2**64 - 1
    for i in (0, 1, 77, 2**63):
        z = (i + derive(3, "s")) * 0x9E3779B97F4A7C15 & mask
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & mask
        z = (z ^ z >> 27) * 0x94D049BB133111EB & mask
        assert mix64(3, "s", np.array([i], dtype=np.uint64))[0] == z ^ z >> 31


@pytest.mark.parametrize("draws", [mix64(0, "u", np.arange(64_000)), mix64(1, "u", 1000 * np.arange(64_000))])
def test_uniform_draws_are_uniform_and_unrelated_to_their_neighbours(draws: np.ndarray) -> None:
    u = uniform(draws)
    assert stats.chisquare(np.bincount((u * 64).astype(int), minlength=64)).pvalue > 1e-3
    pairs = (u[:-1] * 8).astype(int)[::2] * 8 + (u[1:] * 8).astype(int)[::2]
    assert stats.chisquare(np.bincount(pairs, minlength=64)).pvalue > 1e-3
    for bit in (0, 11, 31, 63):
        assert abs(((draws >> np.uint64(bit)) & np.uint64(1)).mean() - 0.5) < 0.01


def test_uniform_never_reaches_the_ends() -> None:
    # 0.5 / 2**52 and 1 - 0.5 / 2**52: log and log(-log) are finite at both.
    ends = uniform(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert ends.tolist() == [2.0**-53, 1 - 2.0**-53] and np.isfinite(np.log(-np.log(ends))).all()


def test_uniform_keys_belong_to_positions_not_rows() -> None:
    index = np.array([9, 4, 2])
    assert Keys(3, "t", 3, index).uniform().tolist() == Keys(3, "t", 10).uniform()[index].tolist()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**70), positions=st.lists(st.integers(0, 2**32 - 1), min_size=1, unique=True))
def test_keys_are_a_bijection_that_gives_positions_back(seed: int, positions: list[int]) -> None:
    index = np.array(positions)
    keys = Keys(seed, "t", len(index), index)
    draws = keys.draw()
    assert draws.dtype == np.uint32 and len(set(draws.tolist())) == len(index)
    assert keys.positions(draws.copy()).tolist() == positions


@pytest.mark.parametrize("n", [1, 2**15 - 1, 2**15, 2**15 + 1, 100_000])
def test_keys_of_whole_blocks_and_rests(n: int) -> None:
    keys = Keys(1, "t", n)
    draws = keys.draw()
    assert len(np.unique(draws)) == n
    assert np.array_equal(keys.positions(draws.copy()), np.arange(n))
    rows = np.arange(n)[::-3].copy()
    assert np.array_equal(keys.draw(rows), draws[rows])


def test_keys_depend_on_the_position_alone() -> None:
    small, large = Keys(2, "t", 10).draw(), Keys(2, "t", 1000).draw()
    assert large[:10].tolist() == small.tolist()
    index = np.array([999, 3, 500])
    assert Keys(2, "t", 3, index).draw().tolist() == large[index].tolist()


def test_the_keys_of_some_rows_are_those_rows_keys() -> None:
    keys = Keys(2, "t", 50, np.arange(50) * 7)
    rows = np.array([30, 2, 49])
    assert keys.of(rows).draw().tolist() == keys.draw()[rows].tolist() and keys.of(rows).n == 3
    assert Keys(2, "t", 50).of(rows).draw().tolist() == Keys(2, "t", 50).draw()[rows].tolist()


def test_keys_from_a_generator_use_it_up() -> None:
    rng = np.random.default_rng(0)
    first, second = Keys.from_rng(5, rng), Keys.from_rng(5, rng)
    assert first != second and first.n == 5 and first == Keys.from_rng(5, np.random.default_rng(0))


def test_every_order_comes_up_equally_often() -> None:
    zeros = np.zeros(4, dtype=np.uint32)
    counts = Counter(tuple(Keys(seed, "order", 4).sort(zeros).tolist()) for seed in range(4800))
    assert stats.chisquare([counts[order] for order in permutations(range(4))]).pvalue > 1e-3


def test_neighbours_are_drawn_independently() -> None:
    zeros = np.zeros(1000, dtype=np.uint32)
    both = [len({0, 1} & set(Keys(seed, "n", 1000).sort(zeros)[:500].tolist())) for seed in range(2000)]
    assert stats.chisquare(np.bincount(both, minlength=3), [500, 1000, 500]).pvalue > 1e-3


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(0, 40), moved=st.booleans())
def test_oracle_sort_is_by_code_then_key(data: st.DataObject, n: int, moved: bool) -> None:
    rng = np.random.default_rng(n)
    index = rng.choice(2**32, n, replace=False) if moved else None
    keys, code = Keys(data.draw(st.integers(0, 9)), "t", n, index), rng.choice([0, 1, 5, 2**32 - 1], n)
    assert keys.sort(code).tolist() == np.lexsort((keys.draw(), code)).tolist()
    rows = rng.permutation(n)[: n // 2]
    expected = rows[np.lexsort((keys.draw()[rows], code[: len(rows)]))]
    assert keys.sort(code[: len(rows)], rows).tolist() == expected.tolist()


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(0, 40), moved=st.booleans(), groups=st.integers(1, 6))
def test_oracle_draw_groups_takes_the_smallest_keys_of_each(
    data: st.DataObject, n: int, moved: bool, groups: int
) -> None:
    rng = np.random.default_rng(n)
    index = rng.permutation(n) * 3 if moved else None
    keys, group = Keys(data.draw(st.integers(0, 9)), "t", n, index), rng.integers(0, groups, n)
    sizes = np.bincount(group, minlength=groups)
    share = np.array([data.draw(st.integers(0, int(size))) for size in sizes])

    def shares(given: np.ndarray) -> np.ndarray:
        assert given.tolist() == sizes.tolist()
        return share

    draws = keys.draw()
    expected = [sorted(np.flatnonzero(group == g).tolist(), key=lambda i: draws[i])[: share[g]] for g in range(groups)]
    assert [drawn.tolist() for drawn in keys.draw_groups(group, groups, shares)] == expected


@pytest.mark.parametrize("moved", [False, True])
@pytest.mark.parametrize("kind", ["at random", "by key"])
def test_oracle_draw_groups_of_many_rows(moved: bool, kind: str) -> None:
    # Grouped by key, the rows to draw from the second half have no small keys at all.
    n = 2**16 + 5
    keys = Keys(5, "t", n, np.random.default_rng(0).permutation(n) * 9 if moved else None)
    draws = keys.draw()
    group = np.random.default_rng(1).integers(0, 3, n) if kind == "at random" else (draws >> np.uint32(31)).astype(int)
    share = np.array([7, 0, 3000]) if kind == "at random" else np.array([5, 40, 0])
    order = np.lexsort((draws, group))
    expected = [order[group[order] == g][: share[g]].tolist() for g in range(3)]
    assert [drawn.tolist() for drawn in keys.draw_groups(group, 3, lambda sizes: share)] == expected
