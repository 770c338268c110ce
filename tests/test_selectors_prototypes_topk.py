"""Prototypes: the farthest or nearest, with as much balance as asked for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import BadVector, OptionError
from datadiet.geometry import Clusters, kmeans
from datadiet.randomness import Keys
from datadiet.selectors.clustered import even_share, first_seen, rank_in_group
from datadiet.selectors.prototypes_topk import SPEC, prototypes_topk
from datadiet.testing import check_selector


def clustered(labels: Any, distance: Any) -> tuple[np.ndarray, Clusters]:
    """Vectors that do not matter, and clusters of them as given."""
    labels, distance = np.asarray(labels, dtype=np.int32), np.asarray(distance, dtype=np.float32)
    return np.ones((len(labels), 2)), Clusters(np.eye(labels.max() + 1, 2), labels, distance, True)


SIX = clustered([0, 0, 0, 0, 1, 1], [0.9, 0.8, 0.7, 0.6, 0.2, 0.1])


def test_golden_without_balance_the_whole_order() -> None:
    x, found = SIX
    assert prototypes_topk(x, 3, clusters=found).tolist() == [0, 1, 2]
    assert prototypes_topk(x, 3, clusters=found, prefer="easiest").tolist() == [5, 4, 3]


@pytest.mark.parametrize(
    ("k", "balance", "kept"),
    [
        (4, 1.0, [0, 1, 4, 5]),  # 4 / 2 each
        (4, 0.5, [0, 1, 2, 4]),  # 1 each, then the two farthest of the others
        (4, 0.4, [0, 1, 2, 3]),  # 0.8 each is none
        (5, 1.0, [0, 1, 2, 4, 5]),  # 2.5 each is 2, then the farthest
        (6, 1.0, [0, 1, 2, 3, 4, 5]),  # 3 each, and the second has only 2
        (1, 1.0, [0]),
    ],
)
def test_golden_balance(k: int, balance: float, kept: list[int]) -> None:
    x, found = SIX
    assert prototypes_topk(x, k, clusters=found, balance=balance).tolist() == kept


def test_golden_balance_of_classes_instead_of_clusters() -> None:
    x, found = SIX
    labels = np.array([7, 7, 3, 7, 3, 3])
    assert prototypes_topk(x, 2, clusters=found, balance=1.0, labels=labels).tolist() == [0, 2]
    assert prototypes_topk(x, 2, clusters=found, balance=1.0, labels=labels, prefer="easiest").tolist() == [5, 3]
    out = prototypes_topk.explain(x, 2, clusters=found, balance=1.0, labels=labels)
    assert out.stratum is not None and out.stratum.tolist() == found.labels.tolist()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60), st.sampled_from([0.0, 0.3, 0.5, 0.99, 1.0]))
def test_oracle_one_group_after_the_other(seed: int, n: int, balance: float) -> None:
    rng = np.random.default_rng(seed)
    m, k = int(rng.integers(1, 8)), int(rng.integers(1, n + 1))
    x, found = clustered(np.append(rng.integers(0, m, n - 1), m - 1), np.round(rng.random(n), int(rng.integers(1, 5))))
    keys = Keys(seed, "test", n)
    order = sorted(range(n), key=lambda i: (-found.distance[i], keys.draw()[i]))
    sure, groups = set(), set(found.labels.tolist())
    for j in groups:
        sure |= {i for i in order if found.labels[i] == j} & set(
            [i for i in order if found.labels[i] == j][: int(balance * k / len(groups) + 1e-9)]
        )
    rest = [i for i in order if i not in sure][: k - len(sure)]
    expected = [i for i in order if i in sure or i in rest]
    assert prototypes_topk(x, k, clusters=found, balance=balance, keys=keys).tolist() == expected


def data(n: int = 120, d: int = 6, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_clusters_by_number_are_those_of_kmeans_and_distances_theirs() -> None:
    x, keys = data(), Keys(1, "test", 120)
    found = kmeans(x, 9, keys=Keys(1, "test.clusters", 120))
    chosen = prototypes_topk(x, 30, clusters=9, keys=keys)
    assert chosen.tolist() == prototypes_topk(x, 30, clusters=found, keys=keys).tolist()
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    far = (1 - unit @ found.centroids.T).min(axis=1)
    assert set(chosen.tolist()) == set(np.argsort(-far)[:30].tolist())
    assert prototypes_topk(x, 30).tolist() == prototypes_topk(x, 30, clusters=10).tolist()  # floor(sqrt(120))


@pytest.mark.parametrize("prefer", ["hardest", "easiest"])
def test_nested_without_balance_and_not_always_with_it(prefer: Any) -> None:
    x = np.round(data(), 0) + 0.5
    whole = prototypes_topk(x, 120, prefer=prefer).tolist()
    for k in (1, 7, 60, 119):
        assert prototypes_topk(x, k, prefer=prefer).tolist() == whole[:k]
    labels = np.arange(120) % 4
    sets = [set(prototypes_topk(x, k, prefer=prefer, balance=1.0, labels=labels).tolist()) for k in range(1, 121)]
    assert any(not smaller <= larger for smaller, larger in pairwise(sets))


def test_balance_is_what_every_class_is_sure_of() -> None:
    x, labels = data(400), np.repeat([0, 1, 2, 3], [250, 100, 45, 5])
    x[:250] += 3  # the large class lies together, so that without balance it is hardly kept
    for balance in (0.0, 0.25, 0.5, 1.0):
        chosen = prototypes_topk(x, 80, clusters=2, balance=balance, labels=labels)
        counts = np.bincount(labels[chosen], minlength=4)
        assert (counts >= np.minimum([250, 100, 45, 5], int(balance * 20))).all()
    assert counts.tolist()[3] == 5


def test_the_order_of_the_rows_does_not_matter() -> None:
    x, keys = np.round(data()) + 0.5, Keys(3, "test", 120)
    found, perm, labels = kmeans(x, 9, keys=keys), np.random.default_rng(1).permutation(120), np.arange(120) % 5
    moved = Clusters(found.centroids, found.labels[perm], found.distance[perm], True)
    for options in ({}, {"balance": 0.7}, {"balance": 0.7, "labels": labels}):
        expected = prototypes_topk(x, 40, clusters=found, keys=keys, **options)  # type: ignore[arg-type]
        options |= {"labels": labels[perm]} if "labels" in options else {}
        got = prototypes_topk(x[perm], 40, clusters=moved, keys=Keys(3, "test", 120, perm), **options)  # type: ignore[arg-type]
        assert perm[got].tolist() == expected.tolist()


def test_ties_go_by_key_and_few_examples_will_do() -> None:
    keys = Keys(5, "test", 200)
    chosen = prototypes_topk(np.ones((200, 3)), 50, clusters=1, keys=keys)
    assert chosen.tolist() == np.argsort(keys.draw())[:50].tolist()
    assert prototypes_topk(np.ones((1, 1)), 1).tolist() == [0]
    assert sorted(prototypes_topk(data(7), 7, balance=1.0).tolist()) == list(range(7))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0 of 120"), ({"k": 121}, "k=121 of 120"),
        ({"balance": -0.1}, "balance=-0.1"), ({"balance": 1.1}, "balance=1.1"), ({"balance": np.nan}, "balance=nan"),
        ({"labels": np.zeros(119)}, r"labels has shape \(119,\): give one class number for each of the 120"),
        ({"prefer": "far"}, "prefer='far'"), ({"clusters": 0}, "clusters=0 of 120"),
        ({"clusters": kmeans(data(30), 3)}, "clusters of 30 vectors with . numbers, and 120 embeddings"),
        ({"keys": Keys(0, "test", 119)}, "keys for 119 rows and 120 examples"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        prototypes_topk(data(), **{"k": 30, **options})


def test_vectors_without_direction_are_named() -> None:
    x = data()
    x[7] = 0
    with pytest.raises(BadVector, match="row 7 is all zeros"):
        prototypes_topk(x, 30)
    euclidean = kmeans(x, 3, spherical=False)
    assert len(prototypes_topk(x, 30, clusters=euclidean)) == 30


def test_places_and_even_shares() -> None:
    group = np.random.default_rng(0).integers(0, 7, 200)
    assert rank_in_group(group, 9).tolist() == [int((group[:i] == g).sum()) for i, g in enumerate(group)]
    assert rank_in_group(np.zeros(0, dtype=int), 3).tolist() == []
    assert even_share(0.29, 100, np.ones(1, dtype=int)) == 29  # 28.999999999999996 in binary
    assert even_share(0.5, 12, np.array([9, 0, 9, 9])) == 2
    keys = Keys(2, "test", 200)
    first = {g: min(keys.draw()[group == g]) for g in range(7)}
    assert first_seen(group, 9, keys).tolist() == [*sorted(first, key=lambda g: first[g]), 7, 8]


def test_it_keeps_the_contract_with_other_parameters_too() -> None:
    check_selector(SPEC, examples=[{"balance": 0.5, "clusters": 5}])
