"""CRAIG against brute force and slow restatements."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.randomness import Keys
from datadiet.selectors.craig import craig


def distances(vectors: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors[:, None].astype(float) - vectors, axis=2)


def slow(vectors: np.ndarray, k: int) -> tuple[list[int], list[int]]:
    """Greedy on sum_i min_j d_ij, nobody standing for i being as far as the farthest pair; and the cluster sizes."""
    away, taken = distances(vectors), []
    for _ in range(k):
        left = [j for j in range(len(vectors)) if j not in taken]
        taken.append(min(left, key=lambda j: away[:, [*taken, j]].min(1).sum()))
    return taken, np.bincount(away[:, taken].argmin(1), minlength=k).tolist()


def generic(n: int = 60, d: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


@pytest.mark.parametrize("optimizer", ["lazy", "naive"])
def test_medoids_and_the_sizes_of_their_clusters(optimizer: str) -> None:
    for seed in range(5):
        vectors = generic(seed=seed)
        medoids, sizes = slow(vectors, 9)
        for options in ({}, {"neighbours": 59}):
            positions, weights = craig(vectors, 9, optimizer=optimizer, **options)
            assert positions.tolist() == medoids and weights.tolist() == sizes and sum(sizes) == 60


def test_by_hand() -> None:
    # D = 5. f(0) = 4.9 + 0 + ..: the middle one, 0.1, is nearest to the others; then 5 (and 0 stays with 0.1).
    positions, weights = craig(np.array([[0.0], [0.1], [5.0]]), 2)
    assert positions.tolist() == [1, 2] and weights.tolist() == [2.0, 1.0]


def test_the_weighted_sum_is_as_near_as_the_paper_says() -> None:
    # |sum g - sum w g| <= sum_i min_j |g_i - g_j|, and far better than an unweighted sum scaled up.
    vectors = generic(300, 6) + np.concatenate([np.zeros((270, 6)), np.full((30, 6), 4.0)]).astype(np.float32)
    positions, weights = craig(vectors, 20)
    off = np.linalg.norm(vectors.sum(0) - (weights[:, None] * vectors[positions]).sum(0))
    assert off <= distances(vectors)[:, positions].min(1).sum()
    assert off < np.linalg.norm(vectors.sum(0) - vectors[positions].sum(0) * 300 / 20) / 3


def test_every_medoid_counts_itself_once() -> None:
    # Counting it twice, as a public implementation does, would give 2 each. Duplicates are medoids too.
    for vectors in (generic(20), np.ones((20, 3)), np.repeat(generic(4), 5, axis=0)):
        positions, weights = craig(vectors, 20)
        assert sorted(positions.tolist()) == list(range(20)) and (weights == 1).all()
        for k in (1, 3, 11):
            weights = craig(vectors, k)[1]
            assert weights.sum() == 20 and weights.min() >= 1


def test_few_neighbours_still_count_everything_for_the_nearest_kept() -> None:
    vectors = generic(200, 5)
    away = distances(vectors)
    for m in (1, 5, 30):
        positions, weights = craig(vectors, 8, neighbours=m)
        assert weights.sum() == 200
        assert weights.tolist() == np.bincount(away[:, positions].argmin(1), minlength=8).tolist()
    file = sys.modules["datadiet.selectors.facility_location"]
    assert file.DENSE == 4096 and file.NEIGHBOURS == 64


def test_within_classes() -> None:
    vectors, labels = generic(100), np.array([7] * 70 + [3] * 27 + [5] * 3)
    positions, weights = craig(vectors, 10, labels=labels)
    assert np.bincount(labels[positions], minlength=8)[[3, 5, 7]].tolist() == [2, 1, 7]
    assert [weights[labels[positions] == c].sum() for c in (3, 5, 7)] == [27, 3, 70]
    assert sorted(labels[positions[:3]].tolist()) == [3, 5, 7]  # the first of every class first
    for c in (3, 7):
        members = np.flatnonzero(labels == c)
        medoids, sizes = slow(vectors[members], (labels[positions] == c).sum())
        assert positions[labels[positions] == c].tolist() == members[medoids].tolist()
        assert weights[labels[positions] == c].tolist() == sizes
    perm = np.random.default_rng(0).permutation(100)
    again, same = craig(vectors[perm], 10, labels=labels[perm], keys=Keys(0, "select", 100, perm))
    assert dict(zip(perm[again].tolist(), same, strict=True)) == dict(zip(positions.tolist(), weights, strict=True))


def test_options_are_checked() -> None:
    for options, text in (
        ({"labels": np.arange(8)}, "k=3 for 8 classes"),
        (
            {"labels": np.zeros(7, dtype=int)},
            r"labels has shape \(7,\): give one class number for each of the 8 examples",
        ),
        ({"neighbours": -1}, "neighbours=-1"),
        ({"optimizer": ""}, "optimizer"),
    ):
        with pytest.raises(OptionError, match=text):
            craig(np.eye(8), 3, **options)
