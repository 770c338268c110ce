"""KNN-Shapley: the recursion is the Shapley value."""

from __future__ import annotations

import tracemalloc
from itertools import combinations
from math import comb

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers.knn_shapley import knn_shapley


def worth(members: tuple[int, ...], match: np.ndarray, k: int) -> float:
    """Of examples numbered from near to far: right labels among the min(K, |S|) nearest of the set, over K."""
    return float(match[sorted(members)[:k]].sum()) / k


def brute_force(match: np.ndarray, k: int) -> np.ndarray:
    """The Shapley value by its definition, over all subsets."""
    n = len(match)
    value = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for members in combinations(others, size):
                gain = worth((*members, i), match, k) - worth(members, match, k)
                value[i] += gain / (n * comb(n - 1, size))
    return value


def test_golden() -> None:
    # K = 1, three examples at distances 1, 2, 3; right, wrong, right: m = 1, 0, 1.
    # s_3 = 1 * 1 / 3 = 1/3; s_2 = s_3 + (0 - 1) * 1 / 2 = -1/6; s_1 = s_2 + (1 - 0) * 1 / 1 = 5/6. Sum 1 = v(N).
    got = knn_shapley(np.array([[1.0, 2.0, 3.0]]), np.array([1, 0, 1]), None, np.array([1]), k=1)
    np.testing.assert_allclose(got, [5 / 6, -1 / 6, 1 / 3], rtol=1e-6)


def test_golden_everyone_votes_where_k_is_n_or_more() -> None:
    # K = 4 > n = 3: an example with the right label adds 1/4 to any set, one with the wrong label nothing.
    got = knn_shapley(np.array([[1.0, 2.0, 3.0]]), np.array([1, 0, 1]), None, np.array([1]), k=4)
    assert got.tolist() == [0.25, 0.0, 0.25]


@pytest.mark.parametrize(("n", "k"), [(n, k) for n in (1, 2, 5, 8) for k in range(1, n + 3)])
def test_oracle_all_subsets(n: int, k: int) -> None:
    rng = np.random.default_rng(n)
    distances, labels, asked = rng.random((3, n)), rng.integers(0, 2, n), np.array([0, 1, 1])
    expected, whole = np.zeros(n), 0.0
    for row, q in zip(distances, asked, strict=True):
        order = np.argsort(row)
        match = (labels[order] == q).astype(float)
        expected[order] += brute_force(match, k) / 3
        whole += worth(tuple(range(n)), match, k) / 3
    got = knn_shapley(distances, labels, None, asked, k=k)
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7)
    assert abs(got.sum() - whole) < 1e-6


def test_oracle_all_subsets_of_nine() -> None:
    labels = np.array([0, 1, 0, 0, 1, 1, 0, 1, 0])
    got = knn_shapley(np.arange(9.0)[None], labels, None, np.array([0]), k=3)
    np.testing.assert_allclose(got, brute_force((labels == 0).astype(float), 3), rtol=1e-6, atol=1e-7)


def data(n: int = 60, m: int = 23, d: int = 13, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)), rng.integers(0, 3, n), rng.normal(size=(m, d)), rng.integers(0, 3, m)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_features_give_what_their_distances_give(metric: str) -> None:
    x, y, v, q = data()
    if metric == "euclidean":
        distances = np.sqrt(((v[:, None] - x[None]) ** 2).sum(axis=2))
    else:
        distances = np.array([[1 - a @ b / np.sqrt((a @ a) * (b @ b)) for b in x] for a in v])
    got = knn_shapley(x, y, v, q, metric=metric)  # type: ignore[arg-type]
    np.testing.assert_array_equal(got, knn_shapley(distances, y, None, q))
    assert got.dtype == np.float32 and got.shape == (60,)


def test_the_metrics_differ() -> None:
    x, y, v, q = data()
    assert not np.array_equal(knn_shapley(x * np.arange(1, 61)[:, None], y, v, q), knn_shapley(x, y, v, q))
    np.testing.assert_array_equal(
        knn_shapley(x * np.arange(1, 61)[:, None], y, v, q, metric="cosine"), knn_shapley(x, y, v, q, metric="cosine")
    )


def test_mean_over_validation_examples() -> None:
    x, y, v, q = data()
    each = [knn_shapley(x, y, v[i : i + 1], q[i : i + 1]).astype(np.float64) for i in range(23)]
    np.testing.assert_allclose(knn_shapley(x, y, v, q), np.mean(each, axis=0), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("block", [1, 2, 7, 22, 23, 1000])
def test_the_block_changes_no_bit(metric: str, block: int) -> None:
    x, y, v, q = data(n=101, d=67)
    x[[3, 50, 100]] = x[77]
    y[[3, 50, 77, 100]] = [0, 1, 2, 0]
    given = {"metric": metric, "k": 3}
    expected = knn_shapley(x, y, v, q, **given)  # type: ignore[arg-type]
    assert knn_shapley(x, y, v, q, block=block, **given).tobytes() == expected.tobytes()  # type: ignore[arg-type]
    distances = np.abs(v[:, :1] - x[None, :, 0])
    assert knn_shapley(distances, y, None, q, block=block).tobytes() == knn_shapley(distances, y, None, q).tobytes()


@pytest.mark.parametrize("d", [1, 3, 64, 257])
def test_duplicates_are_ordered_by_position(d: int) -> None:
    # All examples are one point: the order is the position, so the value is that of distances 0, 1, 2 ...
    rng = np.random.default_rng(d)
    x, y = np.repeat(rng.normal(size=(1, d)), 37, axis=0), rng.integers(0, 2, 37)
    v, q = rng.normal(size=(5, d)), rng.integers(0, 2, 5)
    expected = knn_shapley(np.tile(np.arange(37.0), (5, 1)), y, None, q, k=3)
    np.testing.assert_array_equal(knn_shapley(x, y, v, q, k=3), expected)
    np.testing.assert_array_equal(knn_shapley(x, y, v, q, k=3, metric="cosine"), expected)
    np.testing.assert_array_equal(knn_shapley(np.ones((5, 37)), y, None, q, k=3), expected)


def test_twins_of_one_label_next_to_each_other_are_worth_the_same() -> None:
    distances = np.array([[0.3, 0.1, 0.1, 0.1, 0.2]])
    got = knn_shapley(distances, np.array([1, 1, 1, 1, 0]), None, np.array([1]), k=2)
    assert got[1] == got[2] == got[3] > got[0] > got[4]


def test_a_wrong_label_among_right_ones_is_worth_least() -> None:
    rng = np.random.default_rng(5)
    y, q = np.arange(80) % 2, np.arange(40) % 2
    x, v = rng.normal(size=(80, 4)) + 4 * y[:, None], rng.normal(size=(40, 4)) + 4 * q[:, None]
    y[7] = 1 - y[7]
    assert np.argmin(knn_shapley(x, y, v, q)) == 7


def test_memory_does_not_grow_with_the_validation_examples() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2000, 8)), rng.integers(0, 3, 2000)
    peaks = []
    for m in (64, 1024):
        v, q = rng.normal(size=(m, 8)), rng.integers(0, 3, m)
        tracemalloc.start()
        knn_shapley(x, y, v, q)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 8 * 2000 * 16 * 8  # a handful of arrays of n * block numbers; n * m would be eight times that


@pytest.mark.parametrize("option", [{"k": 0}, {"k": 2.0}, {"k": True}, {"block": 0}, {"block": None}])
def test_counts_are_whole_and_positive(option: dict[str, object]) -> None:
    with pytest.raises(OptionError, match=r"give a whole number"):
        knn_shapley(*data(), **option)  # type: ignore[arg-type]


def test_bad_input_is_refused() -> None:
    x, y, v, q = data()
    with pytest.raises(OptionError, match="metric='l1'"):
        knn_shapley(x, y, v, q, metric="l1")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"distances has shape \(60,\)"):
        knn_shapley(x[:, 0], y, None, q)
    with pytest.raises(OptionError, match=r"val_features has shape \(23, 12\)"):
        knn_shapley(x, y, v[:, :12], q)
    with pytest.raises(OptionError, match=r"val_features has shape \(0, 13\)"):
        knn_shapley(x, y, v[:0], q[:0])
    with pytest.raises(OptionError, match="each of the 60 examples"):
        knn_shapley(x, y[:59], v, q)
    with pytest.raises(OptionError, match="each of the 23 examples"):
        knn_shapley(x, y, v, q[:22])
    with pytest.raises(OptionError, match="from -1"):
        knn_shapley(x, y - 1, v, q)
    for at in range(2):
        given = [x.copy(), v.copy()]
        given[at][2, 1] = np.nan
        with pytest.raises(OptionError, match=r"^(val_)?features has 1 NaN"):
            knn_shapley(given[0], y, given[1], q)
        given[at][2] = 0
        with pytest.raises(OptionError, match=r"^(val_)?features has 1 rows of zeros, which have no cosine"):
            knn_shapley(given[0], y, given[1], q, metric="cosine")
    with pytest.raises(OptionError, match=r"^distances has 1 NaN"):
        knn_shapley(np.array([[np.nan, 1.0]]), np.array([0, 1]), None, np.array([0]))
