"""Near-duplicates found the accelerator's way, on the CPU: what is kept, and why, is what the processor's way gives."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from datadiet.geometry import Clusters, Matrix, kmeans
from datadiet.geometry.device import Device
from datadiet.geometry.device_vectors import DeviceVectors
from datadiet.selectors import pairs_on_device
from datadiet.selectors.centroid_distances import centroid_distances, centroid_distances_on_device
from datadiet.selectors.decontaminate import decontaminate
from datadiet.selectors.pairs_on_device import PlacedVectors
from datadiet.selectors.semdedup import semdedup
from datadiet.selectors.similar_pairs import Vectors, nearest_earlier, nearest_in, pairs_above

pytestmark = pytest.mark.usefixtures("one_thread")

MODES = ("chain", "greedy", "components")


@pytest.fixture(params=["resident", "streamed"])
def accelerator(request, monkeypatch):
    """A function that makes the CPU pass for an accelerator, with room for all vectors or for none."""

    def start(at_once):
        monkeypatch.setattr("datadiet.geometry.device.is_processor", lambda on: False)
        monkeypatch.setattr("datadiet.geometry.device.working_set", lambda device: at_once)
        room = 1 << 50 if request.param == "resident" else 0
        monkeypatch.setattr("datadiet.geometry.device_vectors.free_memory", lambda on: room)

    return start


def families(n=700, d=10, dtype=np.float32, seed=0):
    """Groups of near-duplicates of all degrees, with exact copies and copies that differ in the last bits."""
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((n // 5, d))[rng.integers(n // 5, size=n)]
    vectors += rng.standard_normal((n, d)) * rng.choice([1e-7, 1e-3, 0.05, 0.5], (n, 1))
    vectors[5::11] = vectors[3]
    return vectors.astype(dtype)


def check_same(one, other):
    for name in ("chosen", "stratum", "witness", "similarity"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("clusters", [1, 9, 60])
def test_semdedup_keeps_the_same_rows_for_the_same_reasons(accelerator, mode, dtype, clusters):
    vectors = families(320, dtype=dtype)
    # Distances that are 0 but for rounding would order rows at a centroid by chance.
    options = {"mode": mode, "clusters": kmeans(vectors, clusters, iterations=3), "hardness": np.arange(320.0) % 50}
    asked = [{"epsilon": e} for e in (0.0, 0.01, 1.2)] + [{"k": k} for k in (5, 100)]
    here = [semdedup.explain(vectors, **options, **each) for each in asked]
    for at_once in (1 << 10, 1 << 20):  # blocks of 32 and 1024 rows
        accelerator(at_once)
        for each, want in zip(asked, here, strict=True):
            check_same(semdedup.explain(vectors, block=4, **options, **each), want)


def test_clusters_found_there_are_used_without_sending_the_vectors_again(accelerator, monkeypatch):
    vectors, made, init = families(900), [], DeviceVectors.__init__
    monkeypatch.setattr(DeviceVectors, "__init__", lambda self, *a, **o: made.append(self) or init(self, *a, **o))
    found = []
    for at_once in (1 << 14, 1 << 18):
        accelerator(at_once)
        found.append(semdedup.explain(vectors, epsilon=0.05, clusters=20))
    check_same(*found)
    assert len(made) == 2 and 200 < len(found[0].chosen) < 700


def test_blocks_of_several_clusters_compare_rows_of_one_only(accelerator):
    vectors, sizes = families(60, 6), np.array([1, 17, 2, 30, 10])
    matrix, rows, starts = Matrix.open(vectors, unit=True), np.random.default_rng(0).permutation(60), [0, 1, 18, 20, 50]
    parts = [Vectors(matrix, rows[lo : lo + size], 7) for lo, size in zip(starts, sizes, strict=True)]
    accelerator(1 << 4)
    placed = PlacedVectors(DeviceVectors(matrix, Device.named("cpu"), 1024), rows, sizes, 1)
    assert placed.block == 4
    who, best = nearest_earlier(placed)
    wanted = [nearest_earlier(part) for part in parts]
    shifted = [np.where(w >= 0, w + lo, -1) for (w, _), lo in zip(wanted, starts, strict=True)]
    np.testing.assert_array_equal(who, np.concatenate(shifted))
    np.testing.assert_array_equal(best, np.concatenate([b for _, b in wanted]))
    for floor in np.array([-2, 0.5, 0.99], dtype=np.float32):
        found = [pairs for pairs, _ in pairs_above(placed, floor)]
        there = {(int(j), int(i), float(s)) for pairs in found for j, i, s in zip(*pairs, strict=True)}
        here = {
            (int(j) + lo, int(i) + lo, float(s))
            for part, lo in zip(parts, starts, strict=True)
            for pairs, _ in pairs_above(part, floor)
            for j, i, s in zip(*pairs, strict=True)
        }
        assert there == here
        assert all((np.diff(later) >= 0).all() for later, _, _ in found)


def test_a_block_is_compared_only_with_those_that_share_a_cluster(accelerator):
    accelerator(1 << 4)
    matrix = Matrix.open(families(40, 3), unit=True)
    placed = PlacedVectors(DeviceVectors(matrix, Device.named("cpu"), 1024), np.arange(40), np.array([6, 8, 26]), 1)
    before = [(later.start, [earlier.start for earlier in placed.before(later)]) for later in placed.spans[:5]]
    # 0..5 | 6..13 | 14..39: blocks of four from 0, 4, 8 and 12; 4 begins in the first cluster, 8 and 12 in the second
    assert before == [(0, [0]), (4, [0, 4]), (8, [4, 8]), (12, [4, 8, 12]), (16, [12, 16])]


def test_the_nearest_of_others(accelerator):
    left, right = (Matrix.open(families(n, 5, seed=s), unit=True) for n, s in ((90, 1), (50, 2)))
    here = nearest_in(*(Vectors(m, np.arange(len(m)), 16) for m in (left, right)))
    accelerator(1 << 6)
    device = Device.named("cpu")
    sides = (
        PlacedVectors(DeviceVectors(m, device, 1024), np.arange(len(m)), np.array([len(m)]), 1) for m in (left, right)
    )
    for one, other in zip(nearest_in(*sides), here, strict=True):
        np.testing.assert_array_equal(one, other)


def test_rows_near_a_reference_are_removed_for_the_same_reasons(accelerator, monkeypatch):
    rows, reference = families(150, 5, seed=1), families(70, 5, seed=1)
    here = decontaminate.explain(rows, reference=reference, epsilon=0.01)
    monkeypatch.setattr(sys.modules[decontaminate.__module__], "_WORTH_TORCH", 0)
    accelerator(1 << 6)
    found = decontaminate.explain(rows, reference=reference, epsilon=0.01)
    for name in ("chosen", "witness", "similarity"):
        np.testing.assert_array_equal(getattr(found, name), getattr(here, name))
    assert 20 < len(here.chosen) < 130


@pytest.mark.parametrize("whole", [0, 1 << 40])
def test_many_pairs_are_as_similar_in_a_whole_product_as_one_by_one(accelerator, whole, monkeypatch):
    vectors = families(200, 300)
    clusters = Clusters(vectors[:1], np.zeros(200, dtype=np.int32), np.zeros(200, dtype=np.float32), True)
    here = semdedup.explain(vectors, epsilon=1.5, mode="chain", clusters=clusters)
    monkeypatch.setattr(pairs_on_device, "CHEAPER_WHOLE", whole)
    accelerator(1 << 12)
    check_same(semdedup.explain(vectors, epsilon=1.5, mode="chain", clusters=clusters), here)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_distances_and_equal_vectors(accelerator, dtype):
    vectors = families(3000, 6, dtype)
    vectors[7] = -vectors[8]
    vectors[9, :2] = -vectors[10, :2]
    vectors[9, 2:] = vectors[10, 2:]
    matrix, clusters = Matrix.open(vectors, unit=True), kmeans(vectors, 11, iterations=1)
    distance, group = centroid_distances(matrix, clusters, 100)
    accelerator(1 << 10)
    far, same = centroid_distances_on_device(DeviceVectors(matrix, Device.named("cpu"), 1024), clusters)
    np.testing.assert_allclose(far, distance, rtol=0, atol=1e-7)
    pairs = np.unique(np.stack([group, same]), axis=1)  # the same groups, whatever their numbers
    assert pairs.shape[1] == len(np.unique(group)) == len(np.unique(same)) < 3000
