"""Prototypes, supervised and not: distances to the centre of the own group."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datadiet.errors import BadVector, OptionError
from datadiet.geometry import Clusters, kmeans
from datadiet.randomness import Keys
from datadiet.scorers import SCORERS
from datadiet.scorers.prototypes import prototypes
from datadiet.scorers.supervised_prototypes import supervised_prototypes


def data(n: int = 90, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.arange(n) % 4
    return (rng.normal(size=(n, d)) + 3 * rng.normal(size=(4, d))[label]).astype(np.float32), label


def test_golden_prototypes() -> None:
    # At 0, 90 and 45 degrees: one centroid at 45 degrees, 1 - cos 45 = 0.2929 away from the first two.
    x = np.array([[1.0, 0.0], [0.0, 7.0], [2.0, 2.0]])
    np.testing.assert_allclose(prototypes(x, clusters=1), [1 - 0.5**0.5, 1 - 0.5**0.5, 0], atol=1e-6)
    # The mean is (1, 3).
    np.testing.assert_allclose(prototypes(x, clusters=1, spherical=False), [3, 17**0.5, 2**0.5], rtol=1e-6)


@pytest.mark.parametrize("spherical", [True, False])
def test_oracle_prototypes(spherical: bool) -> None:
    x, _ = data()
    got = prototypes(x, clusters=6, spherical=spherical, seed=3)
    centroids = kmeans(x, 6, spherical=spherical, seed=3).centroids.astype(np.float64)
    if spherical:
        expected = [min(1 - c @ v / np.linalg.norm(v) for c in centroids) for v in x.astype(np.float64)]
    else:
        expected = [min(np.linalg.norm(c - v) for c in centroids) for v in x]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert got.dtype == np.float32 and got.shape == (90,)


def test_clusters_that_were_found_are_used_also_for_other_vectors() -> None:
    x, _ = data()
    for spherical in (True, False):
        found = kmeans(x, 6, spherical=spherical)
        np.testing.assert_array_equal(prototypes(x, clusters=found), found.distance)
        np.testing.assert_array_equal(prototypes(x[40:], clusters=found), found.distance[40:])
    np.testing.assert_array_equal(prototypes(x), prototypes(x, clusters=9))  # floor(sqrt(90))


def test_the_seed_and_the_keys_make_the_start() -> None:
    x, _ = data()
    assert not np.array_equal(prototypes(x, seed=1), prototypes(x, seed=2))
    np.testing.assert_array_equal(prototypes(x, seed=1), prototypes(x, seed=1))
    keys = Keys(4, "test", 90)
    perm = np.random.default_rng(1).permutation(90)
    moved = prototypes(x[perm], keys=Keys(4, "test", 90, perm))
    np.testing.assert_allclose(moved, prototypes(x, keys=keys)[perm], rtol=1e-5, atol=1e-6)


def test_golden_supervised() -> None:
    # Unit vectors of class 5 at 0 and 90 degrees: their mean is at 45. Class 2: alone, at its own mean.
    x, label = np.array([[3.0, 0.0], [0.0, 1.0], [1.0, 2.0]]), np.array([5, 5, 2])
    got = supervised_prototypes(x, label)
    np.testing.assert_allclose(got, [1 - 0.5**0.5, 1 - 0.5**0.5, 0], atol=1e-7)
    # Plain: the mean of class 5 is (1.5, 0.5).
    np.testing.assert_allclose(supervised_prototypes(x, label, spherical=False), [2.5**0.5, 2.5**0.5, 0], rtol=1e-6)


@pytest.mark.parametrize("spherical", [True, False])
def test_oracle_supervised(spherical: bool) -> None:
    x, label = data()
    expected = []
    for v, c in zip(x.astype(np.float64), label, strict=True):
        own = x[label == c].astype(np.float64)
        if spherical:
            mean = (own / np.linalg.norm(own, axis=1, keepdims=True)).mean(axis=0)
            expected.append(1 - mean @ v / np.linalg.norm(v) / np.linalg.norm(mean))
        else:
            expected.append(np.linalg.norm(v - own.mean(axis=0)))
    got = supervised_prototypes(x, label, spherical=spherical)
    np.testing.assert_allclose(got, expected, rtol=2e-5, atol=1e-7)
    assert got.dtype == np.float32 and got.shape == (90,)


def test_supervised_is_one_round_of_kmeans_with_the_classes_for_clusters() -> None:
    x, label = data()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    means = np.stack([unit[label == c].mean(axis=0) for c in range(4)])
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    found = Clusters(means.astype(np.float32), label.astype(np.int32), np.zeros(90, dtype=np.float32), True)
    nearest = prototypes(x, clusters=found)
    got = supervised_prototypes(x, label)
    assert (got > nearest - 1e-6).all() and (np.abs(got - nearest) < 1e-6).sum() > 45


def test_close_to_the_mean_no_digits_are_lost() -> None:
    # Angles of 1e-3: 1 - cos is 5e-7, of which a difference of float32 numbers near 1 would leave one digit.
    x = np.array([[1.0, 1e-3], [1.0, -1e-3]])
    np.testing.assert_allclose(supervised_prototypes(x, np.zeros(2, dtype=int)), 1 - np.cos(np.arctan(1e-3)), rtol=1e-3)


def test_the_order_of_the_rows_and_the_names_of_the_classes_do_not_matter() -> None:
    x, label = data()
    perm = np.random.default_rng(1).permutation(90)
    expected = supervised_prototypes(x, label)
    np.testing.assert_allclose(supervised_prototypes(x[perm], label[perm]), expected[perm], rtol=1e-6, atol=1e-9)
    np.testing.assert_array_equal(supervised_prototypes(x, np.array([900, 4, 17, 0])[label]), expected)


@pytest.mark.parametrize("rows", [1, 7, 89, 90])
def test_how_much_is_read_at_once_does_not_matter(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, label = data()
    expected = supervised_prototypes(x, label)
    monkeypatch.setattr(sys.modules["datadiet.scorers.supervised_prototypes"], "_ROWS", rows)
    np.testing.assert_allclose(supervised_prototypes(x, label), expected, rtol=1e-6, atol=1e-9)


def test_float16_on_disk(tmp_path: Path) -> None:
    x, label = data()
    np.save(tmp_path / "x.npy", x.astype(np.float16))
    half = np.load(tmp_path / "x.npy", mmap_mode="r")
    whole = x.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(supervised_prototypes(half, label), supervised_prototypes(whole, label))
    np.testing.assert_array_equal(prototypes(half), prototypes(whole))


def test_one_example_one_dimension_and_copies() -> None:
    assert prototypes(np.ones((1, 1))).tolist() == [0.0]
    assert supervised_prototypes(np.ones((1, 1)), np.array([3])).tolist() == [0.0]
    np.testing.assert_allclose(prototypes(np.ones((20, 3))), 0, atol=1e-6)
    assert prototypes(np.array([[1.0], [-2.0], [3.0]]), clusters=2).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("clusters", [0, -1, 2.0, True, "many"])
def test_a_number_of_clusters_is_whole_and_positive(clusters: Any) -> None:
    for call in (prototypes, SCORERS["prototypes"].check):
        with pytest.raises(OptionError, match=f"clusters={clusters!r}"):
            call(data()[0], clusters=clusters)


def test_more_clusters_than_examples_are_refused_when_there_are_examples() -> None:
    x, _ = data()
    with pytest.raises(OptionError, match="clusters=91 of 90 examples: give at most 90"):
        prototypes(x, clusters=91)
    assert len(SCORERS["prototypes"].check(x[:2], clusters=91)) == 2


def test_bad_input_is_refused() -> None:
    x, label = data()
    with pytest.raises(OptionError, match="the centroids have 4 dimensions and the features 5"):
        prototypes(x, clusters=kmeans(x[:, :4], 3))
    with pytest.raises(OptionError, match="each of the 90 examples"):
        supervised_prototypes(x, label[:89])
    with pytest.raises(OptionError, match="not whole numbers"):
        supervised_prototypes(x, label + 0.5)
    with pytest.raises(OptionError, match="class 3 cancel out"):
        supervised_prototypes(np.array([[1.0, 0.0], [1.0, 1.0], [-2.0, 0.0]]), np.array([3, 0, 3]))
    x[7] = 0
    for call in (lambda: prototypes(x), lambda: supervised_prototypes(x, label)):
        with pytest.raises(BadVector, match="row 7 is all zeros"):
            call()
    assert supervised_prototypes(x, label, spherical=False)[7] > 0
    x[7, 1] = np.inf
    with pytest.raises(BadVector, match="row 7 is not finite"):
        supervised_prototypes(x, label, spherical=False)
