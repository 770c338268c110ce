"""k-means: by hand, against ten slow lines, and what must hold whatever the vectors."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datadiet.errors import BadVector, DataError, OptionError
from datadiet.geometry import Clusters, Matrix, assign, kmeans, nearest_centroid
from datadiet.geometry.cluster_sums import _unit_of, mean
from datadiet.geometry.device import Device
from datadiet.geometry.starts import plus_plus
from datadiet.randomness import Keys

CPU = Device.named("cpu")
module = sys.modules["datadiet.geometry.kmeans"]  # the name in the package is the function


def blobs(n, d, groups, seed=0, spread=0.1):
    """n vectors around `groups` centres, far apart against the spread."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((groups, d)) * 3
    return (centres[rng.integers(groups, size=n)] + spread * rng.standard_normal((n, d))).astype(np.float32)


def check_same(a: Clusters, b: Clusters) -> None:
    """Equal to the last bit."""
    for name in ("centroids", "labels", "distance"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    assert a.objective == b.objective


def started_with(monkeypatch, first):
    """Make the first centroids these."""
    monkeypatch.setattr(module, "random_start", lambda matrix, k, keys: np.asarray(first, dtype=np.float32))


# Golden


def test_euclidean_rounds_by_hand(monkeypatch):
    # 0, 1, 2, 9 from centroids 0 and 1: {0}, {1, 2, 9}; squares 0, 0, 1, 64, mean 16.25. Means 0 and 4.
    # Then {0, 1, 2} (2 is as near to 0 as to 4: the first), {9}; squares 0, 1, 4, 25, mean 7.5. Means 1 and 9: squares
    # 1, 0, 1, 0, mean 0.5. Nothing moves any more.
    started_with(monkeypatch, [[0.0], [1.0]])
    found = kmeans(np.array([[0.0], [1.0], [2.0], [9.0]]), 2, spherical=False)
    assert found.centroids.tolist() == [[1.0], [9.0]]
    assert found.labels.tolist() == [0, 0, 0, 1]
    assert found.distance.tolist() == [1.0, 0.0, 1.0, 0.0]
    assert found.objective == (16.25, 7.5, 0.5, 0.5)
    assert found.sizes.tolist() == [3, 1]


def test_spherical_rounds_by_hand(monkeypatch):
    # Directions at 0, 90 and 90 degrees, of any length; from centroids at 0 and 45. 0 goes to the first, the others to
    # the second, at 1 - cos 45. Then the second is at 90.
    started_with(monkeypatch, [[1.0, 0.0], [1.0, 1.0]])
    found = kmeans(np.array([[7.0, 0.0], [0.0, 2.0], [0.0, 0.5]]), 2)
    assert found.labels.tolist() == [0, 1, 1]
    np.testing.assert_allclose(found.centroids, [[1, 0], [0, 1]], atol=1e-7)
    assert found.objective[0] == pytest.approx(2 * (1 - np.sqrt(0.5)) / 3, rel=1e-6)
    assert found.distance.tolist() == [0, 0, 0] and found.objective[-1] == 0


def test_an_empty_cluster_takes_the_farthest_vector(monkeypatch):
    # From centroids 0, 50, 60: 50 and 60 get nothing. 10 is the farthest from 0, then 4; squares 0, 1, 16, 100. The
    # means are then 15/4, 10, 4; 0 and 1 stay with the first, 4 and 10 go to the new ones.
    started_with(monkeypatch, [[0.0], [50.0], [60.0]])
    found = kmeans(np.array([[0.0], [1.0], [4.0], [10.0]]), 3, spherical=False, iterations=1)
    assert found.centroids.tolist() == [[3.75], [10.0], [4.0]]
    assert found.labels.tolist() == [0, 0, 2, 1]


def test_the_only_vector_of_a_cluster_is_not_moved(monkeypatch):
    # 11 is the farthest from its centroid 8, but alone there: the third cluster takes 2 from the first.
    started_with(monkeypatch, [[0.0], [8.0], [50.0]])
    found = kmeans(np.array([[0.0], [1.0], [2.0], [11.0]]), 3, spherical=False, iterations=1)
    assert found.centroids.tolist() == [[1.0], [11.0], [2.0]]
    assert len(found.objective) == 2  # nothing was left to fill after the one round


def test_of_copies_only_one_becomes_a_centroid(monkeypatch):
    # Not 7 twice, but 7 and 5; the mean of 0, 5 and 7, ten times each, is 4.
    started_with(monkeypatch, [[0.0], [50.0], [60.0]])
    found = kmeans(np.repeat([[0.0], [5.0], [7.0]], 10, axis=0), 3, spherical=False, iterations=1)
    assert found.centroids.tolist() == [[4.0], [7.0], [5.0]]


def test_of_equally_far_vectors_the_one_with_the_smallest_key_is_moved(monkeypatch):
    started_with(monkeypatch, [[0.0], [50.0]])
    for seed in range(8):
        keys = Keys(seed, "kmeans", 3)
        found = kmeans(np.array([[3.0], [0.0], [-3.0]]), 2, spherical=False, iterations=1, keys=keys)
        first, _, last = keys.draw()
        assert found.centroids[1].tolist() == [3.0 if first < last else -3.0]


def test_clusters_give_their_members():
    found = Clusters(np.zeros((3, 1)), np.array([2, 0, 2, 0, 0], dtype=np.int32), np.zeros(5), True)
    order, starts = found.members()
    assert order.tolist() == [1, 3, 4, 0, 2] and starts.tolist() == [0, 3, 3, 5]


# Oracle


def lloyd(points, centroids, spherical, rounds):
    """Lloyd's algorithm in float64."""
    points = points.astype(float)
    if spherical:
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    for _ in range(rounds):
        away = ((points[:, None] - centroids) ** 2).sum(2)
        labels = away.argmin(1)
        centroids = np.array([points[labels == j].mean(0) for j in range(len(centroids))])
        if spherical:
            centroids = centroids / np.linalg.norm(centroids, axis=1, keepdims=True)
    away = ((points[:, None] - centroids) ** 2).sum(2)
    far = away.min(1)
    return centroids, away.argmin(1), far / 2 if spherical else np.sqrt(far)


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_a_slow_restatement_agrees(spherical, start):
    points = blobs(1500, 6, 12, spread=1.0)
    options = {"spherical": spherical, "start": start, "seed": 3, "tolerance": 0}
    first = kmeans(points, 12, iterations=0, **options)
    found = kmeans(points, 12, iterations=8, **options)
    centroids, labels, distance = lloyd(points, first.centroids.astype(float), spherical, 8)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_allclose(found.centroids, centroids, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found.distance, distance, rtol=1e-4, atol=1e-6)
    assert found.objective[-1] == pytest.approx(np.mean(distance if spherical else distance**2), rel=1e-5)


@pytest.mark.parametrize("spherical", [True, False])
def test_assign_finds_the_nearest_among_more_centroids_than_one_product_takes(spherical):
    rng = np.random.default_rng(1)
    points, centroids = rng.standard_normal((300, 5)), rng.standard_normal((2500, 5))
    labels, distance = assign(points, centroids, spherical=spherical)
    if spherical:
        points, centroids = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (points, centroids))
    away = np.linalg.norm(points[:, None] - centroids, axis=2)
    np.testing.assert_array_equal(labels, away.argmin(1))
    np.testing.assert_allclose(distance, away.min(1) ** 2 / 2 if spherical else away.min(1), rtol=1e-4, atol=1e-7)


# Properties


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_the_chunk_changes_no_bit(spherical, start):
    points = blobs(5000, 7, 30, spread=2.0)
    found = [kmeans(points, 40, spherical=spherical, start=start, chunk=c) for c in (1, 2048, 3000, 100_000)]
    for other in found[1:]:
        check_same(found[0], other)


@pytest.mark.parametrize("spherical", [True, False])
def test_permuted_rows_that_carry_their_keys_give_the_same_clusters(spherical):
    points = blobs(3000, 8, 20)
    points[100:110] = points[100]  # ties
    order = np.random.default_rng(5).permutation(len(points))
    keys = Keys(9, "kmeans", len(points))
    for start in ("random", "k-means++"):
        one = kmeans(points, 25, spherical=spherical, start=start, keys=keys)
        other = kmeans(points[order], 25, spherical=spherical, start=start, keys=keys.of(order))
        assert (one.labels[order] == other.labels).all() and (one.distance[order] == other.distance).all()
        assert (one.centroids == other.centroids).all() and one.objective == other.objective


@pytest.mark.parametrize("spherical", [True, False])
def test_many_rounds_on_vectors_without_clusters_do_not_depend_on_order(spherical):
    points = np.random.default_rng(1).standard_normal((20_000, 12)).astype("f4")
    order = np.random.default_rng(2).permutation(20_000)
    keys = Keys(0, "kmeans", 20_000)
    one, other = (
        kmeans(p, 140, spherical=spherical, keys=k) for p, k in ((points, keys), (points[order], keys.of(order)))
    )
    assert (one.labels[order] == other.labels).all() and (one.centroids == other.centroids).all()


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("k", [30, 700, 2500])
def test_the_nearest_centroid_matches_float64(spherical, k):
    rng = np.random.default_rng(k)
    points, centroids = rng.standard_normal((3000, 20)).astype("f4"), rng.standard_normal((k, 20)).astype("f4")
    centroids[k // 2] = centroids[0]  # equal ones, and one that differs in the last bits
    centroids[-1] = np.nextafter(centroids[0], np.float32(9))
    if spherical:
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    labels, _ = assign(points, centroids, spherical=spherical)
    from datadiet.geometry import Matrix
    from datadiet.geometry.kmeans import _unit

    used = _unit(centroids) if spherical else centroids
    rows = Matrix.open(points, unit=spherical).take(slice(None)).astype(float)
    square = np.stack([np.square(rows - c.astype(float)).sum(1) for c in used], 1)
    near = np.sort(square, 1)
    sure = near[:, 1] - near[:, 0] > 1e-12
    assert (labels[sure] == square.argmin(1)[sure]).all() and sure.mean() > 0.4
    assert (labels != k // 2).all(), "of equal centroids the first is taken"


def test_the_mean_and_the_sums_do_not_depend_on_order():
    values = np.random.default_rng(0).random(9999).astype("f4") ** 9
    one, other = (mean(torch.from_numpy(v), CPU) for v in (values, values[::-1].copy()))
    assert one == other == pytest.approx(float(values.mean(dtype=float)), rel=1e-12)
    assert mean(torch.zeros(3), CPU) == 0 and _unit_of(0.0, 4) > 0


MATRICES = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 24), st.integers(1, 3)), elements=st.integers(-3, 3).map(float)
)


@settings(max_examples=150, deadline=None)
@given(MATRICES, st.integers(1, 24), st.booleans(), st.sampled_from(["random", "k-means++"]), st.integers(0, 5))
def test_objective_never_rises_no_cluster_is_empty_and_labels_match_assign(points, k, spherical, start, iterations):
    if spherical:
        points = points[(points != 0).any(1)]
    k = min(k, len(points))
    if k == 0:
        return
    found = kmeans(points, k, spherical=spherical, start=start, iterations=iterations, tolerance=0)
    assert (np.diff(found.objective) <= 0).all()
    cost = found.distance if spherical else found.distance.astype(float) ** 2
    assert found.objective[-1] == pytest.approx(cost.mean(dtype=float), abs=1e-12)
    labels, distance = assign(points, found.centroids, spherical=spherical)
    np.testing.assert_array_equal(labels, found.labels)
    np.testing.assert_array_equal(distance, found.distance)
    seen = points / np.linalg.norm(points, axis=1, keepdims=True).round(6) if spherical else points
    different = len(np.unique(seen.round(5) + 0.0, axis=0))
    assert (found.sizes > 0).sum() == min(k, different)


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_as_many_clusters_as_vectors(spherical, start):
    points = np.random.default_rng(0).standard_normal((200, 4))
    found = kmeans(points, 200, spherical=spherical, start=start)
    assert (found.sizes == 1).all() and found.distance.max() < 1e-7


def test_few_different_vectors_among_many_copies():
    points = np.repeat(np.random.default_rng(0).standard_normal((30, 4)), 200, axis=0)
    for spherical in (True, False):
        found = kmeans(points, 30, spherical=spherical, iterations=2)
        assert (found.sizes == 200).all()
        fewer = kmeans(points, 100, spherical=spherical)  # more than there are different ones
        assert (fewer.sizes > 0).sum() == 30 and fewer.objective[-1] < 1e-10


def test_one_vector_and_one_cluster():
    found = kmeans([[3.0, 4.0]], 1)
    np.testing.assert_allclose(found.centroids, [[0.6, 0.8]], rtol=1e-6)
    assert found.labels.tolist() == [0] and found.distance.tolist() == [0]
    assert kmeans(np.arange(10.0)[:, None], 1, spherical=False).centroids.tolist() == [[4.5]]


def test_a_cluster_whose_vectors_cancel_keeps_its_centroid(monkeypatch):
    started_with(monkeypatch, [[0.0, 1.0]])
    found = kmeans(np.array([[1.0, 0.0], [-1.0, 0.0]]), 1)
    assert found.centroids.tolist() == [[0, 1]] and found.distance == pytest.approx([1, 1])


def test_of_equal_centroids_and_of_equally_near_ones_the_first_is_taken():
    rng = np.random.default_rng(0)
    centroids = rng.standard_normal((1999, 3)).astype(np.float32)
    labels, _ = assign(rng.standard_normal((500, 3)), np.concatenate([centroids, centroids]))
    assert labels.max() < 1999
    grid = np.array([[100.0], [102.0], [105.0]])
    assert assign(np.array([[101.0], [104.0]]), grid, spherical=False)[0].tolist() == [0, 2]
    assert assign(np.array([[101.0]]), grid[::-1].copy(), spherical=False)[0].tolist() == [1]


def test_the_first_is_taken_also_across_products():
    # Centroids at the even numbers, in two products of 1024; every odd number lies in the middle of two.
    centroids = 2 * np.arange(2048.0)[:, None]
    labels, _ = assign(np.arange(1.0, 4095, 2)[:, None], centroids, spherical=False)
    np.testing.assert_array_equal(labels, np.arange(2047))


def test_equal_centroids_are_one_whatever_the_kernels_make_of_them(monkeypatch):
    found = nearest_centroid._two_largest

    def last(product, wide):
        column, value, second = found(product.flip(1).contiguous(), wide)
        return product.shape[1] - 1 - column, value, second

    monkeypatch.setattr(nearest_centroid, "_two_largest", last)
    centroids = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -0.0], [0.0, 1.0]])
    assert assign(np.eye(2), centroids)[0].tolist() == [0, 1]


def test_opposite_vectors_are_no_farther_than_two():
    points = np.random.default_rng(0).standard_normal((1000, 3))  # a few are so in float32 without a bound
    assert max(assign(point[None], -3.3 * point[None])[1][0] for point in points) == 2


def test_sums_of_many_vectors_keep_their_digits():
    points = 1000 + np.random.default_rng(0).random((300_000, 1), dtype=np.float32)  # in float32 off by 1e-3
    want = points.mean(dtype=float)
    np.testing.assert_allclose(kmeans(points, 1, spherical=False).centroids, [[want]], rtol=1e-6)


def test_vectors_far_from_the_origin_keep_their_digits():
    rng = np.random.default_rng(0)
    points = (rng.integers(0, 9, size=(400, 3)) / 64 + 30_000).astype(np.float32)  # all exact in float32
    centroids = points[:20] + np.float32(0)
    labels, distance = assign(points, centroids, spherical=False)
    away = np.linalg.norm(points[:, None].astype(float) - centroids, axis=2)
    np.testing.assert_array_equal(labels, away.argmin(1))
    np.testing.assert_allclose(distance, away.min(1), rtol=1e-6)


def test_only_the_directions_of_given_centroids_count():
    points, centroids = np.random.default_rng(0).standard_normal((2, 50, 4))
    one, other = assign(points, centroids), assign(points, centroids * np.linspace(0.1, 9, 50)[:, None])
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_allclose(one[1], other[1], atol=1e-6)


def test_seeds_and_keys_make_the_start():
    points = blobs(300, 4, 300)
    starts = {kmeans(points, 5, seed=seed, iterations=0).centroids.tobytes() for seed in range(5)}
    assert len(starts) == 5
    check_same(kmeans(points, 5, seed=1), kmeans(points, 5, keys=Keys(1, "kmeans", 300)))


def test_global_random_states_and_precision_are_left_alone(monkeypatch):
    points = blobs(300, 4, 5)
    want = kmeans(points, 5, start="k-means++")
    seen, product = set(), torch.mm
    monkeypatch.setattr(torch, "mm", lambda *a, **o: seen.add(torch.get_float32_matmul_precision()) or product(*a, **o))
    torch.set_float32_matmul_precision("medium")
    numpy_state, torch_state = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    check_same(kmeans(points, 5, start="k-means++"), want)
    assert torch.get_float32_matmul_precision() == "medium" and seen == {"highest"}
    torch.set_float32_matmul_precision("highest")
    assert (np.random.get_state()[1] == numpy_state).all() and torch.equal(torch.get_rng_state(), torch_state)  # noqa: NPY002


# k-means++


def test_k_means_plus_plus_draws_by_squared_distance():
    # 0, 1 and 3: after 0 (one in three) the squares are 1 and 9, after 1 they are 1 and 4, after 3 they are 9 and 4.
    points, draws = Matrix.open(np.array([[0.0], [1.0], [3.0]])), 3000
    pairs = [plus_plus(points, 2, Keys(seed, "kmeans", 3), "cpu")[:, 0] for seed in range(draws)]
    for pair, share in (((0, 1), 1 / 10), ((0, 3), 9 / 10), ((1, 0), 1 / 5), ((1, 3), 4 / 5), ((3, 0), 9 / 13)):
        seen = np.mean([tuple(p) == pair for p in pairs])
        assert seen == pytest.approx(share / 3, abs=4 * np.sqrt(share / 3 / draws))


def test_k_means_plus_plus_finds_the_one_vector_that_differs_and_never_a_copy():
    points = np.zeros((3000, 2))
    points[1234], points[77] = (5, 0), (0, 1e-4)
    for seed in range(10):
        found = kmeans(points, 3, spherical=False, start="k-means++", iterations=0, seed=seed)
        assert sorted(found.sizes.tolist()) == [1, 1, 2998]


@pytest.mark.parametrize("draw", [0.0, 1.0])
def test_k_means_plus_plus_with_draws_at_the_edge(draw, monkeypatch):
    class Constant:
        def random(self, k):
            return np.full(k, draw)

    monkeypatch.setattr("datadiet.geometry.starts.generator", lambda *path: Constant())
    points = Matrix.open(np.array([[0.0], [0.0], [4.0], [4.0], [9.0], [9.0]]))
    for seed in range(20):
        assert sorted(plus_plus(points, 3, Keys(seed, "kmeans", 6), "cpu")[:, 0]) == [0, 4, 9]


def test_k_means_plus_plus_draws_from_a_sample(monkeypatch):
    monkeypatch.setattr("datadiet.geometry.starts.SAMPLE", 50)
    points = blobs(500, 3, 500)
    keys = Keys(0, "kmeans", 500)
    sample = points[np.argsort(keys.draw())[:50]]
    for k in (10, 50):
        first = kmeans(points, k, spherical=False, start="k-means++", iterations=0, keys=keys).centroids
        assert all((sample == row).all(1).any() for row in first) and len(np.unique(first, axis=0)) == k
    with pytest.raises(OptionError, match="51 clusters: it draws from 50 vectors"):
        kmeans(points, 51, start="k-means++")


# Reading and refusals


class Counted:
    """Rows that record how many were read at once."""

    def __init__(self, array):
        self.array, self.shape, self.dtype, self.most = array, array.shape, array.dtype, 0

    def __getitem__(self, rows):
        part = self.array[rows]
        self.most = max(self.most, len(part))
        return part


@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_no_more_than_a_chunk_is_read_at_once(start, monkeypatch):
    monkeypatch.setattr("datadiet.geometry.starts.SAMPLE", 600)
    monkeypatch.setattr("datadiet.geometry.matrix._CHECKED_AT_ONCE", 3000)
    rows = Counted(blobs(9000, 3, 9))
    kmeans(rows, 9, start=start, chunk=2000)  # a whole number of tiles of 1024
    assert rows.most == 1024


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_file_gives_what_the_array_gives(dtype, tmp_path):
    points = blobs(2500, 5, 10).astype(dtype)
    np.save(tmp_path / "v.npy", points)
    for spherical in (True, False):
        mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
        check_same(kmeans(mapped, 10, spherical=spherical), kmeans(points, 10, spherical=spherical))


def test_a_part_of_a_matrix_is_clustered_like_the_rows_themselves():
    points, rows = blobs(2000, 5, 10), np.arange(5, 1900, 3)
    check_same(kmeans(Matrix.open(points, unit=True).part(rows), 10), kmeans(points[rows], 10))


def test_the_bar_shows_vectors_and_the_objective(monkeypatch):
    seen = {"done": 0, "values": []}

    class Bar:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            return None

        def update(self, m):
            seen["done"] += m

        def set_postfix(self, objective):
            seen["values"].append(float(objective))

    def bar(title, total, show):
        seen["asked"] = (title, total, show)
        return Bar()

    monkeypatch.setattr(module, "progress_bar", bar)
    found = kmeans(blobs(3000, 4, 3), 8, iterations=4, tolerance=0, progress=True)
    assert seen["asked"] == ("k-means", 15_000, True)
    assert seen["done"] == 3000 * len(seen["values"])
    np.testing.assert_allclose(seen["values"], found.objective, rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 4}, "4 clusters of 3 vectors: give a number of clusters between 1 and 3"),
        ({"k": 0}, "k=0: give a whole number of at least 1"),
        ({"k": 2.0}, "k=2.0: give a whole number"),
        ({"k": True}, "k=True"),
        ({"iterations": -1}, "iterations=-1"),
        ({"chunk": 0}, "chunk=0"),
        ({"tolerance": 1.0}, "tolerance=1.0"),
        ({"tolerance": float("nan")}, "tolerance=nan"),
        ({"start": "kmeans++"}, "start='kmeans\\+\\+': give 'random' or 'k-means\\+\\+'"),
        ({"engine": "sklearn"}, "engine='sklearn': give 'auto', 'torch' or 'faiss'"),
        ({"device": "nonsense"}, "device='nonsense' cannot be used here"),
        ({"keys": Keys(0, "x", 4)}, "4 keys for 3 vectors"),
    ],
)
def test_invalid_arguments_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        kmeans(np.eye(3), **{"k": 2, **options})


def test_invalid_vectors_are_refused():
    with pytest.raises(BadVector, match="row 1 is all zeros"):
        kmeans([[1.0, 0.0], [0.0, 0.0]], 1)
    assert kmeans([[1.0, 0.0], [0.0, 0.0]], 1, spherical=False).centroids.tolist() == [[0.5, 0]]
    with pytest.raises(BadVector, match="row 0 is not finite"):
        kmeans([[np.nan, 0.0], [0.0, 0.0]], 1, spherical=False)
    with pytest.raises(DataError, match="centroids have 3 dimensions and vectors 2"):
        assign(np.eye(2), np.eye(3))
    with pytest.raises(BadVector, match="centroid 1 is all zeros"):
        assign(np.eye(2), np.array([[1.0, 0.0], [0.0, 0.0]]))
