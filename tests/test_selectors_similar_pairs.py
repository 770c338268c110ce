"""What near-duplicate selectors share: pairs above a threshold, the nearest, spanning forests and greedy sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datadiet.geometry import Matrix
from datadiet.selectors import duplicate_rules, similar_pairs
from datadiet.selectors.duplicate_rules import components, connected, forest
from datadiet.selectors.greedy_sizes import changes
from datadiet.selectors.similar_pairs import Vectors, nearest_in, pair_cosines, pairs_above


def dense(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (left, right))
    return a @ b.T


def signs(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Vectors whose pair_cosines are multiples of 2 / d, so that many are equal to each other and to a threshold."""
    return np.random.default_rng(seed).choice([-1.0, 1.0], (n, d))


@pytest.mark.parametrize("block", [1, 5, 16, 64])
@pytest.mark.parametrize("floor", [-2, -1, 0, 0.25, 0.75, 1])
def test_pairs_above_are_those_that_exceed_the_floor(block: int, floor: float) -> None:
    vectors = signs(40, 16)
    found = list(pairs_above(Vectors(Matrix.open(vectors, unit=True), np.arange(40), block), np.float32(floor)))
    later, earlier, similarity = (np.concatenate(column) for column in zip(*(pairs for pairs, _ in found), strict=True))
    expected = np.round(dense(vectors, vectors) * 8) / 8
    pairs = {(j, i) for j in range(40) for i in range(j) if expected[j, i] > floor}
    assert len(later) == len(pairs) and set(zip(later.tolist(), earlier.tolist(), strict=True)) == pairs
    assert similarity.tolist() == expected[later, earlier].tolist()


def test_pairs_of_unwanted_rows_are_left_out_but_for_those_of_the_same_block() -> None:
    vectors, wanted = signs(20, 16), np.arange(20) % 3 == 0
    found = pairs_above(Vectors(Matrix.open(vectors, unit=True), np.arange(20), 4), np.float32(-2), wanted)
    pairs = {(int(j), int(i)) for (later, earlier, _), _ in found for j, i in zip(later, earlier, strict=True)}
    assert pairs == {(j, i) for j in range(20) for i in range(j) if i % 3 == 0 or i // 4 == j // 4}


@pytest.mark.parametrize("block", [1, 7, 100])
def test_the_nearest_of_others(block: int) -> None:
    left, right = signs(30, 8, 1), signs(25, 8, 2)
    opened = (Vectors(Matrix.open(x, unit=True), np.arange(len(x)), block) for x in (left, right))
    who, best = nearest_in(*opened)
    expected = np.round(dense(left, right) * 4) / 4
    assert who.tolist() == expected.argmax(axis=1).tolist() and best.tolist() == expected.max(axis=1).tolist()


def test_cosines_are_exact_where_they_can_be() -> None:
    # A vector with itself has about 1 - 1e-16 in float64; what is below 1e-9 is orthogonal.
    vectors = np.array([[1, 1, 1], [1, 1, -2], [0.1, 0.1, 0.1], [-1, -1, -1], [1, 0, 0], [1e-10, 1, 0]])
    matrix = Matrix.open(vectors, unit=True)
    left, right = np.array([[0, 0], [0, 1], [0, 2], [0, 3], [4, 5]]).T
    assert pair_cosines(matrix, left, right).tolist() == [1, 0, 1, -1, 0]


def kept_at(m: int, edges: list[tuple[int, int]]) -> int:
    removed: set[int] = set()
    for j in range(m):
        if any(i not in removed for later, i in edges if later == j):
            removed.add(j)
    return m - len(removed)


@pytest.mark.parametrize("seed", range(30))
def test_greedy_sizes_follow_every_return_to_its_consequences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m = 14
    later, earlier = np.tril_indices(m, -1)
    similarity = rng.permutation(len(later)).astype(np.float32)
    at, change = changes(m, (later, earlier, similarity))
    assert at == sorted(at, reverse=True)
    for floor in range(len(later) + 1):
        edges = [(j, i) for j, i, s in zip(later, earlier, similarity, strict=True) if s >= floor]
        assert m + sum(c for s, c in zip(at, change, strict=True) if s >= floor) == kept_at(m, edges)


def test_the_lowest_similarity_on_the_way_to_the_hub() -> None:
    # 1 has the neighbours 0, 2 and 4, by .9, .8 and .7; 3 is reached through 2 (.95), 5 through 4 (.6); 6-7 is apart.
    later, earlier = np.array([1, 2, 4, 3, 5, 7]), np.array([0, 1, 1, 2, 4, 6])
    similarity = np.array([0.9, 0.8, 0.7, 0.95, 0.6, 1.0], dtype=np.float32)
    found = duplicate_rules._reached(8, later, earlier, similarity)
    nowhere = -np.inf
    assert found.tolist() == np.array([0.9, np.inf, 0.8, 0.8, 0.7, 0.6, nowhere, nowhere], dtype=np.float32).tolist()


def test_pairs_that_join_nothing_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    found, looked = duplicate_rules.pairs_above, 0

    def counting(*given, **further):
        nonlocal looked
        for pairs, block in found(*given, **further):
            looked += len(pairs[0])
            yield pairs, block

    monkeypatch.setattr(duplicate_rules, "pairs_above", counting)
    monkeypatch.setattr(duplicate_rules, "_BUFFER", -4 * 300)
    alike = Matrix.open(1 + 0.03 * np.random.default_rng(0).normal(size=(300, 4)), unit=True)
    edges = components(Vectors(alike, np.arange(300), 10), np.float32(0.5))
    assert len(edges[0]) == 299 and looked < 0.6 * 300 * 299 / 2


def test_a_forest_takes_edges_in_order() -> None:
    # In the order given: 0-1, 1-2, then 0-2 closes a circle, then 3-4.
    later, earlier = np.array([4, 2, 1, 2]), np.array([3, 0, 0, 1])
    assert forest(5, later, earlier, np.array([2, 3, 1, 0])).tolist() == [2, 3, 0]
    assert connected(5, later, earlier, np.array([9, 7, 8, 1, 2])).tolist() == [1, 1, 1, 3, 3]


def test_products_take_no_more_threads_than_torch_was_told_to_use() -> None:
    from threadpoolctl import threadpool_info

    from datadiet.geometry import workers

    workers._blas.cache_clear()  # another test may have loaded a library since, such as that of faiss
    seen = []

    class Recorded:
        shape, T = (3, 4), None

        def __matmul__(self, other: object) -> np.ndarray:
            seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
            return np.zeros((3, 3), dtype=np.float32)

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        similar_pairs._product(similar_pairs._Block(Recorded()), similar_pairs._Block(Recorded()), triangle=False)
    finally:
        torch.set_num_threads(before)
    assert seen and set(seen) == {1}
