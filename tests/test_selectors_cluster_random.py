"""Random within clusters: every cluster keeps its share, and chance decides which of its members."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.geometry import Clusters
from datadiet.randomness import Keys
from datadiet.selectors.cluster_random import SPEC, cluster_random
from datadiet.testing import check_selector


def clustered(labels: list[int] | np.ndarray) -> tuple[np.ndarray, Clusters]:
    """Vectors that do not matter, and clusters of them as given."""
    found = np.asarray(labels, dtype=np.int32)
    return np.ones((len(found), 2)), Clusters(np.eye(found.max() + 1, 2), found, np.zeros(len(found), "f4"), True)


def test_it_keeps_the_contract() -> None:
    check_selector(SPEC, examples=[{}, {"clusters": 4}, {"clusters": 1}])


def test_golden_shares() -> None:
    # 5, 3 and 2 of 10, k = 4: 2, 1.2 and 0.8, and by the largest remainder 2, 1 and 1.
    labels = np.array([2, 0, 0, 1, 0, 1, 0, 1, 2, 0])
    vectors, clusters = clustered(labels)
    for seed in range(5):
        chosen = cluster_random(vectors, 4, clusters=clusters, keys=Keys(seed, "t", 10))
        assert np.bincount(labels[chosen]).tolist() == [2, 1, 1]


def test_oracle_the_smallest_keys_of_every_cluster_are_kept() -> None:
    rng = np.random.default_rng(0)
    labels, keys = rng.integers(0, 5, 200), Keys(3, "t", 200)
    vectors, clusters = clustered(labels)
    found = cluster_random.explain(vectors, 60, clusters=clusters, keys=keys)
    quotas, draw = np.bincount(labels[found.chosen]), keys.draw()
    assert (np.abs(quotas - np.bincount(labels) * 0.3) < 1).all()
    for j, quota in enumerate(quotas):
        members = np.flatnonzero(labels == j)
        assert set(found.chosen[labels[found.chosen] == j]) == set(members[np.argsort(draw[members])][:quota])
    assert draw[found.chosen].tolist() == sorted(draw[found.chosen]) and found.stratum.tolist() == labels.tolist()


@pytest.mark.parametrize("row", [0, 19])
def test_every_member_is_as_likely(row: int) -> None:
    vectors, clusters = clustered(np.arange(20) % 2)
    drawn = [row in cluster_random(vectors, 6, clusters=clusters, keys=Keys(s, "t", 20)) for s in range(400)]
    assert 0.2 < np.mean(drawn) < 0.4  # 3 of 10
