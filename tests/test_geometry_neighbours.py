"""Nearest neighbours: by hand, against all distances at once, and what must hold whatever the vectors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datadiet.errors import BadVector, DataError, OptionError
from datadiet.geometry import Matrix, nearest
from datadiet.geometry.exact import search_again

module = sys.modules["datadiet.geometry.neighbours"]
METRICS = pytest.mark.parametrize("metric", ["cosine", "euclidean"])


def restated(points, k, metric="cosine", among=None, within=None):
    """All distances, from differences in float64; the k smallest by (distance, row)."""
    left = Matrix.open(points, unit=metric == "cosine").take(slice(None)).astype(float)
    right = left if among is None else Matrix.open(among, unit=metric == "cosine").take(slice(None)).astype(float)
    square = np.array([((right - x) ** 2).sum(1) for x in left])
    away = np.minimum(square / 2, 2) if metric == "cosine" else np.sqrt(square)
    if among is None:
        np.fill_diagonal(away, np.inf)
    if within is not None:
        away[within[:, None] != within] = np.inf
    rows = np.argsort(away, axis=1, kind="stable")[:, :k]
    return rows, np.take_along_axis(away, rows, 1).astype(np.float32)


def check(points, k, metric="cosine", **options):
    """The same rows and distances as the restatement."""
    found, want = nearest(points, k, metric=metric, **options), restated(points, k, metric, **options)
    np.testing.assert_array_equal(found[0], want[0])
    np.testing.assert_allclose(found[1], want[1], rtol=1e-6, atol=1e-12)
    assert found[0].dtype == np.int64 and found[1].dtype == np.float32
    return found


def test_on_a_line_by_hand():
    # 0, 10, 11, 13 and 10 again: 0 has 10 (row 1) before its copy (row 4); 13 has 11, then 10.
    rows, distance = nearest(np.array([[0.0], [10.0], [11.0], [13.0], [10.0]]), 2, metric="euclidean")
    assert rows.tolist() == [[1, 4], [4, 2], [1, 4], [2, 1], [1, 2]]
    assert distance.tolist() == [[10, 10], [0, 1], [1, 1], [2, 3], [0, 1]]


def test_directions_by_hand():
    # 0, 90, 45 and 180 degrees, of any length: 1 - cos is 0.29 at 45, 1 at 90 and 2 at 180 degrees.
    rows, distance = nearest(np.array([[9.0, 0.0], [0.0, 0.1], [2.0, 2.0], [-1.0, 0.0]]), 3)
    assert rows.tolist() == [[2, 1, 3], [2, 0, 3], [0, 1, 3], [1, 2, 0]]
    half = 1 - np.sqrt(0.5)
    np.testing.assert_allclose(distance[0], [half, 1, 2], rtol=1e-6)
    np.testing.assert_allclose(distance[3], [1, 2 - half, 2], rtol=1e-6)


@METRICS
def test_all_distances_at_once_agree_over_several_tiles(metric):
    rng = np.random.default_rng(0)
    points = rng.standard_normal((2300, 6)).astype(np.float32)
    check(points, 7, metric)
    check(points[:1100], 30, metric, among=points[900:])


@METRICS
def test_neighbours_within_groups(metric):
    rng = np.random.default_rng(0)
    points, group = rng.standard_normal((1500, 4)), rng.integers(-1, 3, size=1500)
    rows, _ = check(points, 5, metric, within=group)
    assert (group[rows] == group[:, None]).all()


SMALL = hnp.arrays(np.float32, st.tuples(st.integers(2, 40), st.integers(1, 3)), elements=st.integers(-2, 2).map(float))


@METRICS
@settings(max_examples=60, deadline=None)
@given(SMALL, st.integers(1, 40))
def test_copies_and_ties(metric, points, k):
    if metric == "cosine":
        points = points[(points != 0).any(1)]
    if len(points) < 2:
        return
    check(points, min(k, len(points) - 1), metric)


@METRICS
def test_many_copies_are_at_exactly_zero_and_in_the_order_of_rows(metric):
    points = np.repeat(np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32), 100, axis=0)
    rows, distance = check(points[np.random.default_rng(1).permutation(1200)], 8, metric)
    assert (distance == 0).all() and (np.diff(rows, axis=1) > 0).all()


@METRICS
def test_vectors_that_float32_products_cannot_distinguish(metric, monkeypatch):
    rng = np.random.default_rng(0)
    points = (1 + 2.0**-20 * rng.integers(-8, 9, size=(1200, 16))).astype(np.float32)
    seen = []
    monkeypatch.setattr(module, "search_again", lambda *a: seen.append(len(a[0])) or search_again(*a))
    check(points, 5, metric)
    assert (sum(seen) > 1000) == (metric == "cosine")  # Euclidean products are of coordinates around the centre
    far = points + np.where(np.arange(1200) < 3, 10_000, 0).astype(np.float32)[:, None]  # no centre helps here
    check(far, 5, metric)


def test_ties_go_by_given_numbers_by_hand():
    # 0 and 2 are as near to 1, and so is the other 0: the last row has the smallest number, then the second.
    points = np.array([[1.0], [0.0], [2.0], [0.0]])
    assert nearest(points, 3, metric="euclidean", ties=[9, 5, 7, 1])[0][0].tolist() == [3, 1, 2]
    assert nearest(points, 3, metric="euclidean")[0][0].tolist() == [1, 2, 3]


@METRICS
def test_permuted_rows_that_carry_their_numbers_keep_their_neighbours_also_among_copies(metric):
    points = np.repeat(np.random.default_rng(0).standard_normal((40, 3)), 30, axis=0)
    order, ties = np.random.default_rng(1).permutation(1200), np.random.default_rng(2).permutation(1200)
    group = np.arange(1200) % 3
    for options in ({}, {"within": group}):
        rows, distance = nearest(points, 6, metric=metric, ties=ties, **options)
        moved = {name: values[order] for name, values in options.items()}
        permuted, away = nearest(points[order], 6, metric=metric, ties=ties[order], **moved)
        np.testing.assert_array_equal(order[permuted], rows[order])
        np.testing.assert_array_equal(away, distance[order])
        assert (np.diff(ties[rows]) > 0).all() and (distance == 0).all()


@METRICS
@pytest.mark.parametrize("scale", [2e-4, 1e-3, 4e-3])
def test_gaps_about_as_large_as_rounding(metric, scale):
    rng = np.random.default_rng(0)
    points = (rng.standard_normal(40) + scale * rng.standard_normal((1500, 40))).astype(np.float32)
    points[:2] *= 20_000  # so that no centre helps
    check(points, 5, metric)


def test_where_all_are_candidates_nothing_is_searched_again(monkeypatch):
    monkeypatch.setattr(module, "search_again", None)
    check(np.ones((9, 2)), 3)


@METRICS
def test_spread_vectors_need_no_second_search(metric, monkeypatch):
    seen = []
    monkeypatch.setattr(module, "search_again", lambda *a: seen.append(len(a[0])) or search_again(*a))
    check(np.random.default_rng(0).standard_normal((1500, 32)), 5, metric)
    assert sum(seen) == 0


def test_vectors_far_from_the_origin_keep_their_digits():
    rng = np.random.default_rng(0)
    points = (rng.integers(0, 40, size=(1100, 3)) / 64 + 30_000).astype(np.float32)
    check(points, 6, "euclidean")


@METRICS
def test_the_chunk_changes_no_bit(metric):
    points = np.random.default_rng(0).standard_normal((3500, 5))
    points[::7] = points[0]
    found = [nearest(points, 6, metric=metric, chunk=chunk) for chunk in (1, 2048, 10_000)]
    for other in found[1:]:
        np.testing.assert_array_equal(found[0][0], other[0])
        np.testing.assert_array_equal(found[0][1], other[1])


@METRICS
def test_permuted_rows_have_the_same_neighbours(metric):
    points = np.random.default_rng(0).standard_normal((1300, 5))
    order = np.random.default_rng(1).permutation(1300)
    rows, distance = nearest(points, 4, metric=metric)
    permuted, away = nearest(points[order], 4, metric=metric)
    np.testing.assert_array_equal(order[permuted], rows[order])
    np.testing.assert_array_equal(away, distance[order])


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_file_gives_what_the_array_gives(dtype, tmp_path):
    points = np.random.default_rng(0).standard_normal((1500, 4)).astype(dtype)
    np.save(tmp_path / "v.npy", points)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    for metric in ("cosine", "euclidean"):
        for one, other in zip(nearest(mapped, 3, metric=metric), nearest(points, 3, metric=metric), strict=True):
            np.testing.assert_array_equal(one, other)


def test_two_vectors_and_as_many_as_there_are():
    assert nearest([[1.0, 0.0], [0.0, 1.0]], 1)[0].tolist() == [[1], [0]]
    assert nearest([[1.0]], 1, among=[[2.0]])[0].tolist() == [[0]]
    check(np.random.default_rng(0).standard_normal((50, 3)), 49)


def test_the_bar_counts_vectors(monkeypatch):
    seen = []

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def update(self, m):
            seen.append(m)

    monkeypatch.setattr(module, "progress_bar", lambda *asked: seen.append(asked) or Bar())
    nearest(np.random.default_rng(0).standard_normal((1500, 2)), 1, chunk=1024, progress=True)
    assert seen == [("neighbours", 1500, True), 1024, 476]


@pytest.mark.parametrize(
    ("k", "options", "message"),
    [
        (4, {}, "4 neighbours among 4 vectors: give a smaller k"),
        (3, {"among": np.eye(4)[:2]}, "3 neighbours among 2 vectors"),
        (2, {"within": np.array([1, 1, 7, 1])}, "2 neighbours among 1 vectors of group 7"),
        (0, {}, "k=0: give a whole number"),
        (1.0, {}, "k=1.0: give a whole number"),
        (1, {"chunk": 0}, "chunk=0"),
        (1, {"metric": "dot"}, "metric='dot': give 'cosine' or 'euclidean'"),
        (1, {"within": np.zeros(3, int)}, r"within has shape \(3,\)"),
        (1, {"within": np.zeros(4)}, r"type float64: give one whole number for each of 4 vectors"),
        (1, {"within": np.zeros(4, int), "among": np.eye(4)}, "among and within were both given"),
        (1, {"ties": np.arange(3)}, r"ties of shape \(3,\): give one number for each of 4 vectors"),
        (1, {"device": "nonsense"}, "device='nonsense' cannot be used here"),
    ],
)
def test_invalid_arguments_are_refused(k, options, message):
    with pytest.raises(OptionError, match=message):
        nearest(np.eye(4), k, **options)


def test_invalid_vectors_are_refused():
    with pytest.raises(DataError, match="vectors of 4 dimensions among vectors of 3"):
        nearest(np.eye(4), 1, among=np.eye(3))
    with pytest.raises(BadVector, match="row 1 is all zeros"):
        nearest([[1.0], [0.0]], 1)
    with pytest.raises(BadVector, match="row 1 is not finite"):
        nearest([[1.0], [2.0]], 1, among=[[1.0], [np.nan]])
