"""faiss as the engine of k-means."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from datadiet.errors import MissingExtra, OptionError
from datadiet.geometry import Matrix, assign, kmeans
from datadiet.geometry.by_faiss import faiss_centroids


@pytest.fixture
def faiss():
    return pytest.importorskip("faiss", reason="faiss is not installed: pip install 'datadiet[faiss]'")


def blobs(n, d, groups, spread):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((groups, d))
    return (centres[rng.integers(groups, size=n)] + spread * rng.standard_normal((n, d))).astype(np.float32)


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_engines_go_the_same_way_from_the_same_start(faiss, spherical, start):
    points = blobs(4000, 8, 10, 0.5)
    ours, theirs = (
        kmeans(points, 10, spherical=spherical, start=start, engine=engine, iterations=6, tolerance=0)
        for engine in ("torch", "faiss")
    )
    assert (ours.labels == theirs.labels).mean() > 0.999
    np.testing.assert_allclose(ours.centroids, theirs.centroids, rtol=1e-3, atol=1e-4)
    # All points were used: 256 for each of 10 centroids would have been 2560.
    np.testing.assert_allclose(theirs.objective, ours.objective, rtol=1e-4)


@pytest.mark.parametrize("spherical", [True, False])
def test_labels_match_assign_and_no_cluster_is_empty(faiss, spherical):
    points = np.repeat(blobs(40, 3, 40, 0.1), 25, axis=0)
    found = kmeans(points, 40, spherical=spherical, engine="faiss", iterations=3)
    labels, distance = assign(points, found.centroids, spherical=spherical)
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(found.distance, distance)
    assert found.sizes.min() > 0


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("d", [3, 37, 200])
def test_assign_finds_what_a_flat_index_of_faiss_finds(faiss, spherical, d):
    rng = np.random.default_rng(d)
    points = (rng.standard_normal((8000, d)) * rng.uniform(0.5, 2, (8000, 1))).astype(np.float32)
    centroids = rng.standard_normal((150, d)).astype(np.float32)
    ours, distance = assign(points, centroids, spherical=spherical)
    index = faiss.IndexFlatIP(d) if spherical else faiss.IndexFlatL2(d)
    if spherical:
        points, centroids = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (points, centroids))
    index.add(centroids)
    far, theirs = (found[:, 0] for found in index.search(points, 1))
    differ = np.flatnonzero(ours != theirs)
    assert len(differ) < 8
    x, one, other = (
        part.astype(np.float64) for part in (points[differ], centroids[ours[differ]], centroids[theirs[differ]])
    )
    lengths = [np.square(x - centre).sum(axis=1) for centre in (one, other)]  # on the sphere twice the distance
    np.testing.assert_allclose(*(lengths if spherical else np.sqrt(lengths)), rtol=0, atol=1e-5)
    np.testing.assert_allclose(distance, 1 - far if spherical else np.sqrt(far), rtol=0, atol=1e-5)


def test_zero_rounds_give_the_start(faiss):
    points = blobs(300, 4, 5, 0.5)
    one, other = (kmeans(points, 5, engine=engine, iterations=0) for engine in ("torch", "faiss"))
    np.testing.assert_array_equal(one.centroids, other.centroids)
    assert one.objective == other.objective


def test_the_default_engine_is_our_own():
    points = blobs(300, 4, 5, 0.5)
    np.testing.assert_array_equal(kmeans(points, 5).centroids, kmeans(points, 5, engine="torch").centroids)


def test_without_faiss_one_sentence_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "faiss", None)  # what makes `import faiss` fail
    with pytest.raises(MissingExtra, match=r"pip install 'datadiet\[faiss\]'"):
        kmeans(np.eye(3), 2, engine="faiss")


def test_vectors_on_disk_stay_with_torch(faiss, tmp_path):
    np.save(tmp_path / "v.npy", np.eye(4, dtype=np.float32))
    with pytest.raises(OptionError, match="engine='faiss' holds all vectors in memory"):
        kmeans(np.load(tmp_path / "v.npy", mmap_mode="r"), 2, engine="faiss")


@pytest.mark.parametrize(
    ("device", "gpus", "asked"), [("cuda:1", 2, [1]), ("cuda", 1, [0]), ("cuda", 0, None), ("cpu", 2, None)]
)
def test_the_gpu_is_used_if_faiss_was_built_for_one(faiss, monkeypatch, device, gpus, asked):
    seen = []
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: gpus)
    monkeypatch.setattr(faiss, "index_cpu_to_gpus_list", lambda index, gpus: seen.append(gpus) or index)
    matrix = Matrix.open(blobs(200, 4, 5, 0.5))
    faiss_centroids(matrix, matrix.take(slice(0, 5)), 2, False, torch.device(device))
    assert seen == ([] if asked is None else [asked])
