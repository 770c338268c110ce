"""The three optimisers on set functions whose gains are known, and what feeds them."""

from __future__ import annotations

from collections import Counter
from math import ceil, log

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.selectors import columns
from datadiet.selectors.columns import Columns
from datadiet.selectors.greedy import largest, maximise
from datadiet.selectors.similarities import SCALE, Graph, dense, lists, witness_cosines


class Coverage:
    """f(S) = how many different things the sets in S hold; it notes what it was asked."""

    def __init__(self, sets: list[set[int]]) -> None:
        self.sets, self.covered, self.taken, self.asked = sets, set(), [], []

    def gain(self, rows: np.ndarray) -> np.ndarray:
        self.asked.append(rows.tolist())
        assert not set(self.taken) & set(rows.tolist())
        return np.array([len(self.sets[row] - self.covered) for row in rows.tolist()], dtype=np.int64)

    def add(self, row: int) -> None:
        self.taken.append(row)
        self.covered |= self.sets[row]


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n=st.integers(1, 12))
def test_lazy_and_naive_take_the_same_and_ties_go_by_key(data: st.DataObject, n: int) -> None:
    sets = data.draw(st.lists(st.sets(st.integers(0, 9), max_size=5), min_size=n, max_size=n))
    keys, k = Keys(data.draw(st.integers(0, 99)), "t", n), data.draw(st.integers(1, n))
    draws, covered, expected = keys.draw().tolist(), set(), []
    for _ in range(k):
        left = [i for i in range(n) if i not in expected]
        expected.append(min(left, key=lambda i: (-len(sets[i] - covered), draws[i])))
        covered |= sets[expected[-1]]
    for optimizer in ("lazy", "naive"):
        objective = Coverage(sets)
        assert maximise(objective, k, keys, optimizer=optimizer).tolist() == expected == objective.taken
    assert maximise(Coverage(sets), k, keys, optimizer="stochastic", epsilon=1e-9).tolist() == expected


def test_lazy_asks_less() -> None:
    rng = np.random.default_rng(0)
    sets = [set(rng.integers(0, 400, rng.integers(1, 60)).tolist()) for _ in range(300)]
    objective = Coverage(sets)
    maximise(objective, 20, Keys(0, "t", 300), optimizer="lazy")
    assert sum(map(len, objective.asked)) < 300 * 20 / 4


def test_stochastic_asks_a_fresh_uniform_sample_of_the_rows_that_are_left() -> None:
    n, k, epsilon, seeds = 30, 10, 0.1, 2000
    size = ceil(n / k * log(1 / epsilon))
    asked: Counter[int] = Counter()
    second: Counter[int] = Counter()
    for seed in range(seeds):
        objective = Coverage([set()] * n)
        chosen = maximise(objective, k, Keys(seed, "t", n), optimizer="stochastic", epsilon=epsilon)
        assert [len(rows) for rows in objective.asked] == [min(size, n - t) for t in range(k)]
        assert all(len(set(rows)) == len(rows) for rows in objective.asked)
        asked.update(objective.asked[0])
        second.update(set(objective.asked[0]) & set(objective.asked[1]))
        assert len(set(chosen.tolist())) == k
    deviation = np.sqrt(seeds * size / n * (1 - size / n))
    assert max(abs(asked[row] - seeds * size / n) for row in range(n)) < 4.5 * deviation
    # The second sample shares with the first what two independent ones do, (size - 1) size / (n - 1) on average.
    assert sum(second.values()) / seeds == pytest.approx((size - 1) * size / (n - 1), rel=0.03)


def test_options_are_checked() -> None:
    for options, text in (
        ({"optimizer": "lazyy"}, "did you mean 'lazy'"),
        ({"epsilon": 0.0}, "epsilon=0.0"),
        ({"epsilon": 1.0}, "epsilon=1.0"),
    ):
        with pytest.raises(OptionError, match=text):
            maximise(Coverage([set()]), 1, Keys(0, "t", 1), **options)


def test_the_largest_and_of_several_the_smallest_draw() -> None:
    assert largest(np.array([1.0, 3.0, 3.0, 2.0]), np.array([0, 9, 5, 1], dtype=np.uint32)) == 2
    assert largest(np.full(3, -np.inf), np.array([4, 2, 3], dtype=np.uint32)) == 1


@pytest.mark.parametrize(("most", "kept"), [(1, 0), (5, 0), (64, 1 << 29)])
def test_columns_are_those_of_the_gram_matrix(most: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "_MOST", most)
    monkeypatch.setattr(columns, "_KEPT", kept)
    monkeypatch.setattr(columns, "_BLOCK", 16)
    rng = np.random.default_rng(0)
    vectors = (rng.normal(size=(70, 6)) * 5).astype(np.float32)
    gram, found = vectors.astype(np.float64) @ vectors.T.astype(np.float64), Columns(Matrix.open(vectors))
    np.testing.assert_allclose(found.square, np.diag(gram))
    assert found.scale / 2 <= found.square.max() <= found.scale and np.log2(found.scale) % 1 == 0
    for row in rng.permutation(70):
        # What is asked for is sometimes what was likely and sometimes not; and the caller may overwrite it.
        column = found.of(int(row), rng.normal(size=70) + 3 * (np.arange(70) == row))
        np.testing.assert_allclose(column, gram[row], atol=1e-9)
        column[:] = np.nan


def test_columns_are_computed_ahead_while_the_guesses_are_right() -> None:
    passes: list[int] = []

    class Counting(Columns):
        def _products(self, vectors: np.ndarray) -> np.ndarray:
            passes.append(len(vectors))
            return super()._products(vectors)

    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(300, 3))
    right = Counting(Matrix.open(vectors))
    for row in range(300):
        right.of(row, np.where(np.arange(300) < row, -np.inf, -np.arange(300.0)))
    assert len(passes) < 30
    changed = Counting(Matrix.open(vectors))
    for row in range(150):
        changed.of(row, np.where(np.arange(300) < row, -np.inf, -np.arange(300.0)))
    passes.clear()
    for row in range(150, 300):
        changed.of(row, rng.normal(size=300))
    assert sum(passes) < 5 * 150


def test_similarities_by_hand_and_on_the_grid() -> None:
    # cos 0.6 and -1: (1 + cos) / 2 = 0.8 and 0.
    vectors = np.array([[1.0, 0.0], [3.0, 4.0], [-2.0, 0.0], [6.0, 8.0]], dtype=np.float32)
    unit = Matrix.open(vectors, unit=True)
    expected = np.array([[1, 0.8, 0, 0.8], [0.8, 1, 0.2, 1], [0, 0.2, 1, 0.2], [0.8, 1, 0.2, 1]])
    assert dense(unit, "cosine").tolist() == np.rint(expected * SCALE).tolist()
    rows, value = lists(unit, 2, "cosine")
    assert rows[:, 0].tolist() == [0, 1, 2, 3] and (value[:, 0] == SCALE).all()
    assert value[1].tolist() == [SCALE, SCALE, round(0.8 * SCALE)] and rows[1].tolist() == [1, 3, 0]
    line = Matrix.open(np.array([[0.0], [1.0], [4.0]]))  # D = 4
    assert (
        dense(line, "euclidean").tolist() == np.rint(np.array([[4, 3, 0], [3, 4, 1], [0, 1, 4]]) * SCALE / 4).tolist()
    )
    assert lists(line, 1, "euclidean")[1].tolist() == np.rint(np.array([[3, 2], [3, 2], [3, 0]]) * SCALE / 3).tolist()
    assert (dense(Matrix.open(np.ones((3, 2))), "euclidean") == SCALE).all()
    assert lists(Matrix.open(np.ones((1, 2))), 5, "euclidean")[0].tolist() == [[0]]


def test_duplicates_have_similarity_one_and_equal_rows_wherever_they_stand() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 384)).astype(np.float32)
    value = dense(Matrix.open(np.concatenate([vectors, vectors]), unit=True), "cosine")
    assert (np.diag(value[:40, 40:]) == SCALE).all() and (value[:40] == value[40:]).all() and (value == value.T).all()


def test_graphs() -> None:
    # 0 -> 1 (5), 0 -> 2 (7), 1 -> 0 (6), 2 -> 1 (8)
    graph = Graph(np.array([0, 2, 3, 4]), np.array([1, 2, 0, 1], dtype=np.int32), np.array([5, 7, 6, 8]))

    def edges(g: Graph) -> list[dict[int, int]]:
        return [dict(zip(*map(np.ndarray.tolist, g.edges(row)), strict=True)) for row in range(3)]

    assert edges(graph) == [{1: 5, 2: 7}, {0: 6}, {1: 8}]
    assert edges(graph.reversed()) == [{1: 6}, {0: 5, 2: 8}, {0: 7}]
    assert edges(graph.undirected()) == [{1: 6, 2: 7}, {0: 6, 2: 8}, {0: 7, 1: 8}]
    assert graph.sums(graph.value).tolist() == [12, 6, 8]
    assert edges(Graph.of_lists(np.array([[1], [2], [0]]), np.array([[1], [2], [3]]))) == [{1: 1}, {2: 2}, {0: 3}]


def test_cosines_with_witnesses() -> None:
    vectors = np.array([[2.0, 0.0], [3.0, 4.0], [0.0, 0.0], [0.0, 5.0]])
    found = witness_cosines(Matrix.open(vectors), np.array([-1, 0, 0, 1]))
    np.testing.assert_allclose(found, [np.nan, 0.6, np.nan, 0.8], rtol=1e-6)
