"""The accelerator's way of working, on the CPU: wide tiles, resident or streamed vectors, decisions on the device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from datadiet.geometry import Matrix, assign, kmeans, nearest, neighbours
from datadiet.geometry.assignment import assignment_step
from datadiet.geometry.cluster_sums import ClusterSums
from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.kmeans import _unit
from datadiet.geometry.nearest_centroid import NearestCentroid
from datadiet.geometry.top_products import TopProducts, _largest
from datadiet.geometry.workers import Workers

pytestmark = pytest.mark.usefixtures("one_thread")

CHUNKS = (1, 3000, 1 << 20)
every_metric = pytest.mark.parametrize("metric", ["cosine", "euclidean"])


@pytest.fixture(params=["resident", "streamed"])
def accelerator(request, monkeypatch):
    """A function that makes the CPU pass for an accelerator, with room for all vectors or for none; and the request."""

    def start(at_once=1 << 18):
        monkeypatch.setattr("datadiet.geometry.device.is_processor", lambda on: False)
        monkeypatch.setattr("datadiet.geometry.device.working_set", lambda device: at_once)
        monkeypatch.setattr(
            "datadiet.geometry.device_vectors.free_memory", lambda on: 1 << 50 if request.param == "resident" else 0
        )

    return start


def vectors(n=4000, d=24, dtype=np.float32, seed=0):
    """Bunches, with exact copies and with copies that differ in the last bits."""
    rng = np.random.default_rng(seed)
    points = 2 * rng.standard_normal((40, d))[rng.integers(40, size=n)] + rng.standard_normal((n, d))
    points[::9] = points[0]
    points[1::9] = points[1] * (1 + 1e-6 * rng.standard_normal((len(points[1::9]), d)))
    return points.astype(dtype)


def centroids_of(points, k, seed=1):
    """Some of the points, a copy of one, and one that differs in the last bits."""
    chosen = points[np.random.default_rng(seed).permutation(len(points))[:k]].astype(np.float32)
    chosen[k // 2], chosen[-1] = chosen[0], np.nextafter(chosen[0], np.float32(9))
    return chosen


def distances(points, others, spherical):
    """(n, k) in float64: squared, of what the library reads."""
    rows, centres = Matrix.open(points, unit=spherical).take(slice(None)).astype(float), others
    if spherical:
        centres = rows if others is points else _unit(others)
    return np.stack([np.square(rows - centre.astype(float)).sum(1) for centre in centres], 1)


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int8])
def test_rounds_are_those_of_the_processor_for_any_chunk(accelerator, spherical, dtype):
    points = vectors(dtype=dtype) if dtype != np.int8 else (8 * vectors()).clip(-127, 127).astype(np.int8)
    if dtype == np.int8:
        points[(points == 0).all(1)] = 1
    options = {"spherical": spherical, "iterations": 6, "tolerance": 0}
    here = kmeans(points, 90, **options)
    accelerator()
    for chunk in CHUNKS:
        there = kmeans(points, 90, chunk=chunk, **options)
        np.testing.assert_array_equal(there.labels, here.labels)
        np.testing.assert_array_equal(there.centroids, here.centroids)  # sums of whole numbers
        np.testing.assert_allclose(there.distance, here.distance, rtol=1e-6, atol=1e-7)
        assert there.labels.dtype == np.int32 and there.distance.dtype == np.float32


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("k", [30, 700])
def test_the_nearest_centroid_is_that_of_brute_force(accelerator, spherical, k):
    points = vectors(3000)
    centres = centroids_of(points, k)
    here = assign(points, centres, spherical=spherical)
    accelerator(1 << 14)  # several products side by side
    square = distances(points, centres, spherical)
    least = square.min(1, keepdims=True)
    for chunk in CHUNKS:
        labels, distance = assign(points, centres, spherical=spherical, chunk=chunk)
        np.testing.assert_array_equal(labels, here[0])
        assert (square[np.arange(len(points)), labels] <= least[:, 0] + 1e-13).all()
        exact = least[:, 0] / 2 if spherical else np.sqrt(least[:, 0])
        np.testing.assert_allclose(distance, exact, rtol=1e-4, atol=1e-6)
    assert (labels != k // 2).all(), "of equal centroids the first is taken"


@every_metric
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_neighbours_are_those_of_the_processor_for_any_chunk(accelerator, metric, dtype):
    points, ties = vectors(1500, dtype=dtype), np.random.default_rng(1).permutation(1500)
    options = [{"ties": ties}, {"within": np.arange(1500) % 3}, {"among": points[200:1300]}]
    here = [nearest(points, 9, metric=metric, **each) for each in options]
    accelerator(1 << 20)
    for chunk in (1, 1 << 20):
        for each, (rows, distance) in zip(options, here, strict=True):
            found = nearest(points, 9, metric=metric, chunk=chunk, **each)
            np.testing.assert_array_equal(found[0], rows)
            np.testing.assert_array_equal(found[1], distance)
            assert found[0].dtype == np.int64 and found[1].dtype == np.float32


@every_metric
def test_neighbours_are_those_of_brute_force(accelerator, metric):
    points = vectors(1500, 6)
    accelerator()
    rows, _ = nearest(points, 12, metric=metric)
    square = distances(points, points, metric == "cosine")
    np.fill_diagonal(square, np.inf)
    kth = np.sort(square, 1)[:, 11:12]
    found = np.take_along_axis(square, rows, 1)
    assert (found <= kth + 1e-13).all() and (np.diff(found, axis=1) >= -1e-13).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_file_gives_what_the_array_gives(accelerator, dtype, tmp_path):
    points = vectors(1200, 5, dtype)
    np.save(tmp_path / "v.npy", points)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    accelerator()
    for spherical in (True, False):
        one, other = (kmeans(v, 10, spherical=spherical, chunk=1024) for v in (mapped, points))
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.distance, other.distance)
    part = np.random.default_rng(0).permutation(1200)[:900]
    opened = Matrix.open(mapped, unit=True).part(part)
    np.testing.assert_array_equal(kmeans(opened, 9).labels, kmeans(points[part], 9).labels)
    for one, other in zip(nearest(mapped, 4), nearest(points, 4), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_tiles_are_the_rows_of_the_matrix_to_the_bit(accelerator, unit, dtype):
    points = np.abs(vectors(5000, 5)).clip(1, 200).astype(dtype)
    matrix = Matrix.open(points, unit=unit)
    accelerator(1 << 13)
    placed = DeviceVectors(matrix, Device.named("cpu"), 1024)
    for step in (1, 3000, 10_000):
        done = 0
        for block in placed.blocks(1024, step):  # each is valid until the next
            assert block.span.start == done and done % 1024 == 0 and len(block) <= max(1024, step)
            np.testing.assert_array_equal(torch.cat(list(block.tiles(1024))).numpy(), matrix.take(block.span))
            done = block.span.stop
        assert done == 5000
    rows = torch.tensor([4000, 3, 3, 4999])
    np.testing.assert_array_equal(placed.take(rows).numpy(), matrix.take(rows.numpy()))
    last = next(iter(placed.blocks(1024)))
    np.testing.assert_array_equal(last.take(rows[1:3]).numpy(), matrix.take(np.array([3, 3])))


def test_an_error_while_the_next_block_is_read_comes_through(accelerator, request):
    if "streamed" not in request.node.name:
        pytest.skip("resident vectors are read before the first block")

    class Failing:
        shape, dtype, array = (9000, 4), np.dtype("f4"), vectors(9000, 4)

        def __getitem__(self, rows):
            if isinstance(rows, slice) and (rows.start or 0) > 6000 and self.armed:
                raise OSError("the disk is gone")
            return self.array[rows]

    rows = Failing()
    rows.armed = False
    matrix = Matrix.open(rows)
    rows.armed = True
    accelerator(1 << 12)
    with pytest.raises(OSError, match="the disk is gone"):
        assign(matrix, rows.array[:5], spherical=False, chunk=1024)


@pytest.mark.parametrize("count", [1, 3, 26, 100])
@pytest.mark.parametrize("width", [100, 1000, 4099])
def test_the_largest_of_a_row_are_found(count, width):
    product = torch.randn(50, width, generator=torch.Generator().manual_seed(0)).mul(4).round() / 4  # with ties
    values, columns = _largest(product, count)
    np.testing.assert_array_equal(values.sort(1, descending=True).values, product.topk(count, 1).values)
    np.testing.assert_array_equal(product.gather(1, columns), values)
    assert all(len(set(row)) == count for row in columns.tolist())


def test_empty_clusters_are_filled_as_on_the_processor(accelerator):
    points = np.repeat(np.random.default_rng(0).standard_normal((60, 4)).astype("f4"), 60, axis=0)
    points[:200] += 1e-3 * np.random.default_rng(1).standard_normal((200, 4)).astype("f4")
    here = [kmeans(points, k, spherical=s, iterations=3) for k in (60, 300) for s in (True, False)]
    accelerator()
    there = [kmeans(points, k, spherical=s, iterations=3) for k in (60, 300) for s in (True, False)]
    for one, other in zip(here, there, strict=True):
        np.testing.assert_array_equal(one.labels, other.labels)
        np.testing.assert_array_equal(one.centroids, other.centroids)


class Waits(TorchDispatchMode):
    """Counts what would wait for a device: values, counts and copies that the program needs to go on."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.name().split(".")[0] in {"aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select",
                                         "aten::unique_consecutive", "aten::bincount", "aten::equal"}:  # fmt: skip
            self.seen.append(func.name())
        return func(*args, **(kwargs or {}))


def test_where_nothing_says_that_a_copy_is_done_it_is_waited_for(accelerator, monkeypatch):
    """The host's memory is filled again for the next rows: an accelerator without CUDA's events would get those."""
    copies, copy = [], torch.Tensor.copy_
    monkeypatch.setattr(
        torch.Tensor, "copy_", lambda self, of, non_blocking=False: copies.append(non_blocking) or copy(self, of)
    )
    accelerator()
    kmeans(vectors(), 5, iterations=1, chunk=1024)
    assert len(copies) > 2 and not any(copies)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_what_all_blocks_share_is_computed_once_and_lengths_only_where_they_count(accelerator, metric, monkeypatch):
    ranked, certain, lengths = [], neighbours._certain, []
    ranks = neighbours._ranks
    monkeypatch.setattr(neighbours, "_ranks", lambda *given: ranked.append(1) or ranks(*given))
    monkeypatch.setattr(neighbours, "_certain", lambda *given: lengths.append(given[-1]) or certain(*given))
    accelerator(1 << 14)
    nearest(vectors(), 5, ties=np.arange(4000)[::-1], metric=metric)
    assert len(ranked) == 1 and len(lengths) > 1
    assert all((length is None) == (metric == "cosine") for length in lengths)


def test_a_pass_waits_for_the_device_once_or_twice_for_each_block_not_for_each_tile(monkeypatch):
    monkeypatch.setattr("datadiet.geometry.device.is_processor", lambda on: False)
    monkeypatch.setattr("datadiet.geometry.device.working_set", lambda device: 1 << 16)
    monkeypatch.setattr("datadiet.geometry.device_vectors.free_memory", lambda on: 1 << 50)
    points = np.random.default_rng(0).standard_normal((20_000, 16)).astype("f4")
    matrix, device = Matrix.open(points, unit=True), Device.named("cpu")
    vectors = DeviceVectors(matrix, device, 1024)
    (block,) = vectors.blocks(1024, 1 << 16)
    nearest = NearestCentroid(matrix.take(slice(0, 60)), True, Workers(device))
    with Waits() as waits:
        assert sum(len(nearest.look(tile)[0]) for tile in block.tiles(1024)) == 20_000  # 20 tiles
        TopProducts(vectors, 20, True, True, 1024).of(next(iter(vectors.blocks(1024, 2048))))
    assert waits.seen == []
    with Waits() as waits:
        assignment_step(vectors, matrix.take(slice(0, 60)), True, sums=ClusterSums((60, 16), matrix, device))
    assert 0 < len(waits.seen) < 10
