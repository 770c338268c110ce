"""Vectors on a CUDA device: `pytest -m gpu` on a machine that has one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datadiet.geometry import Matrix, assign, device_vectors, kmeans, nearest
from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.geometry.nearest_centroid import NearestCentroid
from datadiet.geometry.top_products import TopProducts
from datadiet.geometry.workers import Workers
from datadiet.selectors.semdedup import semdedup

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return (rng.standard_normal((30, 16))[rng.integers(30, size=20_000)] + rng.standard_normal((20_000, 16))).astype(
        "f4"
    )


@pytest.fixture(params=["resident", "streamed"])
def room(request, monkeypatch):
    """With room for the vectors on the device, and with none."""
    if request.param == "streamed":
        monkeypatch.setattr(device_vectors, "free_memory", lambda on: 0)


@pytest.fixture
def no_waiting():
    """A function to call when nothing may wait for the device from now on."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_k_means_is_reproducible_and_agrees_with_the_cpu(points, spherical, start, room):
    options = {"spherical": spherical, "start": start, "iterations": 4, "tolerance": 0}
    first = kmeans(points, 30, device="cuda", **options)
    again = kmeans(points, 30, device="cuda", chunk=3000, **options)
    for name in ("centroids", "labels", "distance"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    here = kmeans(points, 30, device="cpu", **options)
    assert (here.labels == first.labels).mean() > 0.999
    np.testing.assert_allclose(here.objective, first.objective, rtol=1e-5)


def test_training_precision_does_not_reach_the_products(points):
    want = assign(points, points[:2000], device="cuda")
    torch.set_float32_matmul_precision("high")
    try:
        for one, other in zip(assign(points, points[:2000], device="cuda"), want, strict=True):
            np.testing.assert_array_equal(one, other)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_neighbours_match_the_cpu(points, metric, room):
    points[::11] = points[0]
    here, there = (nearest(points[:6000], 9, metric=metric, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_array_equal(here[1], there[1])


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_the_nearest_centroid_is_that_of_the_cpu_also_among_copies(points, spherical, dtype, room):
    points = points.astype(dtype)
    centroids = points[:3000].astype(np.float32)
    centroids[1500], centroids[-1] = centroids[0], np.nextafter(centroids[0], np.float32(9))
    here = assign(points, centroids, spherical=spherical, device="cpu")
    for chunk in (1, 8192, 1 << 20):
        labels, distance = assign(points, centroids, spherical=spherical, device="cuda", chunk=chunk)
        np.testing.assert_array_equal(labels, here[0])
        np.testing.assert_allclose(distance, here[1], rtol=1e-5, atol=1e-6)


def test_where_vectors_are_kept_changes_no_bit(points, monkeypatch):
    halves, found = points.astype(np.float16), []
    for room in (device_vectors.free_memory, lambda on: 0):
        monkeypatch.setattr(device_vectors, "free_memory", room)
        for chunk in (1024, 100_000):
            clusters = kmeans(halves, 50, device="cuda", chunk=chunk)
            found.append((clusters.labels, clusters.distance, clusters.centroids, *nearest(halves[:5000], 5)))
    for other in found[1:]:
        for one, two in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("limit", [{"epsilon": 0.02}, {"k": 9000}])
@pytest.mark.parametrize("mode", ["chain", "greedy", "components"])
def test_semdedup_keeps_what_the_cpu_keeps(points, mode, limit, room, monkeypatch):
    points[::11] = points[0]
    points[1::11] = points[1] + 1e-3 * points[1::11]
    clusters = kmeans(points, 40, device="cpu", iterations=3)
    options = {"clusters": clusters, "hardness": np.arange(len(points)) % 100, "mode": mode, **limit}
    there = semdedup.explain(points, **options)
    monkeypatch.setattr(Device, "accelerator", classmethod(lambda cls: None))
    here = semdedup.explain(points, **options)
    for name in ("chosen", "stratum", "witness", "similarity"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))


def test_nothing_waits_for_the_device_between_tiles(points, no_waiting):
    matrix, device = Matrix.open(points, unit=True), Device.named("cuda")
    vectors, height = DeviceVectors(matrix, device, 8192), 1024
    nearest_one = NearestCentroid(matrix.take(slice(0, 500)), True, Workers(device))
    search = TopProducts(vectors, 26, True, True, 8192)
    block = next(iter(vectors.blocks(height, 1 << 20)))
    with torch.inference_mode():
        nearest_one.look(next(iter(block.tiles(height))))  # loads the kernels
        search.of(block)
        torch.cuda.synchronize()
        no_waiting()
        found = [nearest_one.look(tile)[0] for tile in block.tiles(height)]
        rows, _ = search.of(block)
    torch.cuda.set_sync_debug_mode("default")
    assert len(torch.cat(found)) == len(rows) == len(points)
