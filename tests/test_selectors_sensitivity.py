"""Sensitivity sampling: its probabilities against simulation, its weights against what they must give on average."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.geometry import Clusters, Matrix, kmeans
from datadiet.randomness import Keys
from datadiet.selectors.sensitivity import STEPS, inclusion, leverage, sensitivity, systematic

SEEDS = 2500


def skewed(n: int = 60, d: int = 3) -> np.ndarray:
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(n, d))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    return (direction * (0.3 + rng.exponential(1, (n, 1)) ** 2)).astype(np.float32)


def probabilities(sigma: np.ndarray, k: int) -> np.ndarray:
    """min(1, C sigma) with C by bisection, for sigma > 0."""
    low, high = 0.0, k / sigma.min()
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1, middle * sigma).sum() < k else (low, middle)
    return np.minimum(1, high * sigma)


def draws(call: Callable[[Keys], tuple[np.ndarray, np.ndarray]], n: int) -> tuple[np.ndarray, np.ndarray]:
    """(seeds, n): whether each row was drawn, and its weight, 0 if not."""
    drawn, weight = np.zeros((SEEDS, n), dtype=bool), np.zeros((SEEDS, n))
    for seed in range(SEEDS):
        positions, weights = call(Keys(seed, "t", n))
        drawn[seed, positions], weight[seed, positions] = True, weights
    return drawn, weight


def off(estimates: np.ndarray, truth: float) -> float:
    """How many standard errors the mean of the estimates is away from the truth."""
    return abs(estimates.mean() - truth) / (estimates.std() / np.sqrt(len(estimates)))


def test_inclusion_probabilities_and_weights_by_simulation() -> None:
    vectors, k = skewed(), 15
    gram = vectors.astype(float).T @ vectors
    sigma = np.einsum("nd,de,ne->n", vectors.astype(float), np.linalg.inv(gram), vectors.astype(float))
    q = probabilities(sigma, k)
    assert (q == 1).any() and 0.003 < q.min() < 0.02
    drawn, weight = draws(lambda keys: sensitivity(vectors, k, keys=keys), 60)
    assert (drawn.sum(1) == k).all()
    away = np.abs(drawn.mean(0) - q) / np.sqrt(np.maximum(q * (1 - q), 1e-12) / SEEDS)
    assert away[q < 1].max() < 4 and drawn[:, q == 1].all()
    np.testing.assert_allclose(weight.max(0)[q > 0.05], 1 / q[q > 0.05], rtol=1e-6)
    # Unbiased for anything, also for what has to do with the probabilities; and wrong weights are caught.
    for thing in (np.ones(60), vectors[:, 0].astype(float), 1 / (q + 0.1), np.arange(60.0) ** 2):
        assert off(weight @ thing, thing.sum()) < 4
    size = np.linalg.norm(vectors, axis=1)
    assert off(weight @ size, size.sum()) < 4
    for wrong in (drawn * (60 / k), weight / weight.sum(1, keepdims=True) * 60, np.sqrt(weight), drawn / sigma * 3 / k):
        assert off(wrong @ size, size.sum()) > 6


def test_the_weighted_gram_matrix_is_nearer_than_that_of_a_uniform_sample() -> None:
    vectors = skewed(2000, 4).astype(float)
    gram = vectors.T @ vectors
    half = np.linalg.inv(np.linalg.cholesky(gram))

    def error(positions: np.ndarray, weights: np.ndarray) -> float:
        part = vectors[positions]
        return float(np.linalg.norm(half @ ((weights[:, None] * part).T @ part) @ half.T - np.eye(4), 2))

    rng = np.random.default_rng(0)
    uniform = [error(rng.permutation(2000)[:200], np.full(200, 10.0)) for _ in range(40)]
    ours = [error(*sensitivity(vectors, 200, keys=Keys(seed, "t", 2000))) for seed in range(40)]
    assert max(ours) < min(uniform)


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(1, 20))
def test_probabilities_sum_to_k_and_systematic_draws_exactly_k(data: st.DataObject, n: int) -> None:
    number = st.floats(1e-3, 1e6) | st.just(0.0) | st.just(1.0)
    sigma = np.array(data.draw(st.lists(number, min_size=n, max_size=n)))
    k, offset = data.draw(st.integers(1, n)), data.draw(st.integers(0, STEPS - 1))
    q = inclusion(sigma, k)
    assert q.sum() == k * STEPS and (q >= (sigma > 0)).all() and (q <= STEPS).all()
    some = sigma > 0
    if k < some.sum():
        np.testing.assert_allclose(q[some] / STEPS, probabilities(sigma[some], k), atol=n / STEPS)
        assert (q[~some] == 0).all()
    else:
        assert (q[some] == STEPS).all() and (some.all() or np.ptp(q[~some]) <= 1)
    drawn = systematic(q, offset)
    assert len(drawn) == k == len(set(drawn.tolist())) and (q[drawn] > 0).all()


def test_systematic_draws_each_row_as_often_as_its_probability_says() -> None:
    # By counting offsets on a coarse grid: all probabilities are multiples of STEPS / 16.
    q = np.array([1, 5, 16, 0, 10, 16, 7, 9]) * (STEPS // 16)
    hits = np.zeros(8, dtype=int)
    for offset in range(16):
        hits[systematic(q, offset * (STEPS // 16))] += 1
    assert hits.tolist() == [1, 5, 16, 0, 10, 16, 7, 9]


def test_leverage() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 4))
    expected = np.diag(vectors @ np.linalg.pinv(vectors))
    np.testing.assert_allclose(leverage(Matrix.open(vectors)), expected, rtol=1e-5)
    # Rank 2 in five dimensions, and any invertible map of the columns: the same.
    flat = vectors[:, :2] @ np.random.default_rng(1).normal(size=(2, 5))
    of_flat = leverage(Matrix.open(flat))
    np.testing.assert_allclose(of_flat, np.diag(vectors[:, :2] @ np.linalg.pinv(vectors[:, :2])), rtol=1e-4)
    assert of_flat.sum() == pytest.approx(2)
    assert (leverage(Matrix.open(np.zeros((3, 2)))) == 0).all()


def test_rows_without_leverage_are_drawn_evenly_when_the_others_do_not_suffice() -> None:
    vectors = np.zeros((10, 2))
    vectors[3], vectors[6] = [1, 0], [0, 5]
    assert set(sensitivity(vectors, 2)[0].tolist()) == {3, 6}
    drawn, weight = draws(lambda keys: sensitivity(vectors, 4, keys=keys), 10)
    assert drawn[:, [3, 6]].all() and weight.sum(1) == pytest.approx(10)  # 1 and 1, and 4 for each of two others
    rest = np.delete(np.arange(10), [3, 6])
    assert np.abs(drawn[:, rest].mean(0) - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / SEEDS)
    assert weight[:, rest].max() == pytest.approx(4)


def test_clustering_by_hand() -> None:
    # Two clusters around 0 and 10. Distances 0, 1, 2 and 1, 1; the loss of a cluster is that of its nearest member.
    vectors = np.array([[0.0], [1.0], [2.0], [9.0], [11.0]])
    clusters = Clusters(np.array([[0.0], [10.0]], dtype=np.float32), np.array([0, 0, 0, 1, 1], dtype=np.int32),
                        np.array([0, 1, 2, 1, 1], dtype=np.float32), spherical=False)  # fmt: skip
    losses = np.array([2.0, 50.0, 60.0, 4.0, 4.0])

    def q(**options: object) -> list[float]:
        found = np.zeros(5)
        for seed in range(60):
            positions, weights = sensitivity(vectors, 1, kind="clustering", clusters=clusters,
                                             keys=Keys(seed, "t", 5), **options)  # fmt: skip
            found[positions] = 1 / weights
        return found.round(4).tolist()

    assert q() == [0.0, 0.1429, 0.5714, 0.1429, 0.1429]  # 0, 1, 4, 1, 1 of 7
    assert q(power=1.0) == [0.0, 0.2, 0.4, 0.2, 0.2]
    assert q(hardness=losses, slope=0.0) == [0.1429, 0.1429, 0.1429, 0.2857, 0.2857]  # 2, 2, 2, 4, 4 of 14
    assert q(hardness=losses, slope=1.0) == [0.0952, 0.1429, 0.2857, 0.2381, 0.2381]  # 2, 3, 6, 5, 5 of 21
    assert q(hardness=losses, slope=None) == q(hardness=losses, slope=2.0)  # 14 and 7


def test_clusters_on_the_sphere_are_measured_by_chords() -> None:
    vectors = np.random.default_rng(0).normal(size=(200, 3))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    clusters = kmeans(vectors, 4)
    chord = np.linalg.norm(unit - clusters.centroids[clusters.labels], axis=1) ** 2
    positions, weights = sensitivity(vectors, 20, kind="clustering", clusters=clusters)
    np.testing.assert_allclose(1 / weights, probabilities(chord, 20)[positions], rtol=1e-3)


@pytest.mark.parametrize("losses", [None, np.random.default_rng(3).exponential(size=80)])
def test_clustering_is_unbiased(losses: np.ndarray | None) -> None:
    vectors = skewed(80)
    clusters = kmeans(vectors, 5, spherical=False)
    options = {"kind": "clustering", "clusters": clusters, "hardness": losses}
    drawn, weight = draws(lambda keys: sensitivity(vectors, 20, keys=keys, **options), 80)
    assert (drawn.sum(1) == 20).all()
    can = drawn.any(0)  # a row at no distance from its centroid, without a loss, is never drawn
    assert can.all() if losses is not None else can.sum() > 60
    for thing in (can * 1.0, can * np.linalg.norm(vectors, axis=1)):
        assert off(weight @ thing, thing.sum()) < 4
    assert off(drawn @ thing * can.sum() / 20, thing.sum()) > 6


def test_ties_for_the_member_nearest_to_a_centroid_go_by_key() -> None:
    file = sys.modules["datadiet.selectors.sensitivity"]
    clusters = Clusters(np.zeros((1, 1), np.float32), np.zeros(9, np.int32), np.ones(9, np.float32), spherical=False)
    keys = Keys(4, "t", 9)
    assert file._nearest_members(clusters, keys).tolist() == [keys.draw().argmin()]


def test_options_are_checked() -> None:
    vectors = skewed()
    clusters = kmeans(skewed(20), 2, spherical=False)
    for options, text in (
        ({"kind": "lewis"}, "kind='lewis'"),
        ({"hardness": np.ones(60)}, "hardness goes with kind='clustering'"),
        ({"clusters": 3}, "clusters goes with kind='clustering'"),
        ({"slope": 1.0}, "slope goes with kind='clustering'"),
        ({"power": 2.0}, "power goes with kind='clustering'"),
        ({"kind": "clustering", "clusters": 0}, "clusters=0"),
        ({"kind": "clustering", "clusters": 61}, "61 clusters of 60 vectors"),
        ({"kind": "clustering", "clusters": clusters}, "clusters of 20 vectors and 60 examples"),
        ({"kind": "clustering", "power": 0.0}, "power=0.0"),
        ({"kind": "clustering", "slope": -1.0}, "slope=-1.0"),
        ({"kind": "clustering", "hardness": -np.ones(60)}, "hardness goes from -1 to -1: give numbers from 0"),
        ({"kind": "clustering", "hardness": np.ones(59)}, "59 values of hardness for 60 examples"),
    ):
        with pytest.raises(OptionError, match=text):
            sensitivity(vectors, 5, **options)
