"""Vectors on a CUDA device: `pytest -m gpu` on a machine that has one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from datadiet.geometry import assign, kmeans, nearest

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


@pytest.mark.parametrize("spherical", [True, False])
@pytest.mark.parametrize("start", ["random", "k-means++"])
def test_k_means_is_reproducible_and_agrees_with_the_cpu(points, spherical, start):
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
def test_neighbours_match_the_cpu(points, metric):
    points[::11] = points[0]
    here, there = (nearest(points[:6000], 9, metric=metric, device=device) for device in ("cpu", "cuda"))
    np.testing.assert_array_equal(here[0], there[0])
    np.testing.assert_array_equal(here[1], there[1])
