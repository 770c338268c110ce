"""PASER: budgets by degradation, the most degraded per cost first, and those that conflict with better ones last."""

from __future__ import annotations

import logging
from collections import Counter
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.geometry import Clusters, kmeans
from datadiet.randomness import Keys
from datadiet.selectors.clustered import first_seen
from datadiet.selectors.concept_graph import ConceptGraph
from datadiet.selectors.paser import SPEC, paser, paser_budgets
from datadiet.testing import check_selector


def two_clusters(sizes: tuple[int, ...]) -> tuple[np.ndarray, Clusters]:
    """Vectors on the axes, one axis for each cluster."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    vectors = np.eye(len(sizes), dtype=np.float32)[labels]
    return vectors, Clusters(np.eye(len(sizes), dtype=np.float32), labels.astype(np.int32), np.zeros(len(labels)), True)


def by_loops(
    clusters: Clusters,
    k: int,
    degradation: np.ndarray,
    keys: Keys,
    cost: np.ndarray | None = None,
    concepts: np.ndarray | None = None,
) -> list[int]:
    """All of the method in plain loops: the rows that are kept, the best first."""
    n, draw = len(degradation), keys.draw()
    cost = np.ones(n) if cost is None else cost
    order = first_seen(clusters.labels, len(clusters.centroids), keys).tolist()
    members = {c: [i for i in range(n) if clusters.labels[i] == c] for c in order}
    mean = {c: sum(sorted(degradation[members[c]])) / len(members[c]) if members[c] else 0.0 for c in order}
    budget = dict(zip(order, whole([mean[c] for c in order], [len(members[c]) for c in order], k), strict=True))
    rank = {i: (-degradation[i] / cost[i], draw[i]) for i in range(n)}
    known: set[int] = set()
    joined: set[tuple[int, int]] = set()
    kept, filled = [], []
    for c in sorted(order, key=lambda c: -mean[c]):
        accepted, rejected = [], []
        for i in sorted(members[c], key=rank.__getitem__):
            if len(accepted) == budget[c]:
                break
            mine = [] if concepts is None else sorted({code for code in concepts[i].tolist() if code >= 0})
            pairs = list(combinations(mine, 2))
            if any(a in known and b in known and (a, b) not in joined for a, b in pairs):
                rejected.append(i)
                continue
            accepted.append(i)
            known.update(mine)
            joined.update(pairs)
        kept += accepted
        filled += rejected[: budget[c] - len(accepted)]
    return sorted(kept, key=rank.__getitem__) + sorted(filled, key=rank.__getitem__)


def whole(mean: list[float], sizes: list[int], k: int) -> list[int]:
    """Budgets in proportion to the means, full clusters taken out one after the other, then largest remainders."""
    target, left, rest = [0.0] * len(sizes), set(range(len(sizes))), float(k)
    for weight in (mean, [0 if m > 0 else s for m, s in zip(mean, sizes, strict=True)]):
        part = {c for c in left if weight[c] > 0}
        while part:
            share = {c: rest * weight[c] / sum(weight[b] for b in part) for c in part}
            full = {c for c in part if share[c] > sizes[c]}
            for c in full or part:
                target[c] = float(sizes[c]) if full else share[c]
                rest -= target[c]
            part -= full or part
        left -= {c for c in left if weight[c] > 0}
    floor = [int(t + 1e-9) for t in target]
    by_rest = sorted(range(len(sizes)), key=lambda c: (round(target[c] - floor[c], 9), sizes[c], c))
    room = [c for c in by_rest if floor[c] < sizes[c]]
    for c in room[len(room) - (k - sum(floor)) :]:
        floor[c] += 1
    return floor


def test_golden_budgets() -> None:
    # Means 0.3 and 0.1: 3 : 1 of 8.
    assert paser_budgets(np.array([0.3, 0.1]), np.array([9, 9]), 8).tolist() == [6, 2]
    # The first has only 4; what is left goes to the others 1 : 3.
    assert paser_budgets(np.array([0.3, 0.1, 0.3]), np.array([4, 9, 9]), 12).tolist() == [4, 2, 6]
    # Nothing hurt: by size, 10 : 30 of 8. One unhurt cluster gets only what the hurt ones cannot use.
    assert paser_budgets(np.zeros(2), np.array([10, 30]), 8).tolist() == [2, 6]
    assert paser_budgets(np.array([0.0, 0.1]), np.array([10, 3]), 5).tolist() == [2, 3]
    # 7.5 and 2.5: the equal remainder goes to the larger cluster, of two of one size to the later.
    assert paser_budgets(np.array([0.3, 0.1]), np.array([20, 10]), 10).tolist() == [8, 2]
    assert paser_budgets(np.array([0.3, 0.1]), np.array([20, 20]), 10).tolist() == [7, 3]


def test_golden_order_and_cost() -> None:
    # Means 0.4 and 0.2 of clusters of 3 and 2: 2 and 1 of 3. By degradation: 1 and 2; then 4.
    vectors, clusters = two_clusters((3, 2))
    hurt = np.array([0.3, 0.5, 0.4, 0.1, 0.3])
    assert paser(vectors, 3, degradation=hurt, clusters=clusters).tolist() == [1, 2, 4]
    # Per cost 0.3, 0.05, 0.2 | 0.1, 0.15: rows 0 and 2; then 4. The budgets stay.
    cost = np.array([1.0, 10.0, 2.0, 1.0, 2.0])
    assert paser(vectors, 3, degradation=hurt, cost=cost, clusters=clusters).tolist() == [0, 2, 4]
    assert paser.explain(vectors, 3, degradation=hurt, clusters=clusters).stratum.tolist() == [0, 0, 0, 1, 1]


def test_golden_consistency() -> None:
    """The graph is one for all clusters, the one with the larger mean degradation first.

    Cluster 0, budget 3 of 4 (mean 0.75): {0, 1} joins 0 - 1; {2} makes 2 known; {1, 2} are both known and were never
    together: rejected; {2, 3}: 3 is new, accepted. Cluster 1, budget 2 of 3 (mean 0.5): {0, 3} both known, never
    together: rejected. {3, 2} were: accepted. {-1, 4}: one concept, accepted.
    """
    vectors, clusters = two_clusters((4, 3))
    hurt = np.array([0.9, 0.8, 0.7, 0.6, 0.6, 0.5, 0.4])
    codes = np.array([[0, 1], [2, -1], [1, 2], [2, 3], [0, 3], [3, 2], [-1, 4]])
    given: dict[str, Any] = {"degradation": hurt, "clusters": clusters}
    assert paser(vectors, 5, **given).tolist() == [0, 1, 2, 4, 5]
    assert paser(vectors, 5, concepts=codes, **given).tolist() == [0, 1, 3, 5, 6]
    assert paser(vectors, 5, concepts=codes, consistent=False, **given).tolist() == [0, 1, 2, 4, 5]
    # All of them: the rejected ones fill their clusters, and come last.
    assert paser(vectors, 7, concepts=codes, **given).tolist() == [0, 1, 3, 5, 6, 2, 4]


def test_golden_graph() -> None:
    graph = ConceptGraph(np.array([[5, 7], [9, -1], [7, 9], [7, 5], [9, 9]]))
    last, met = graph.scan(np.arange(5), 2)
    assert last.tolist() == [False] * 5 and met == 2, "enough after two"
    last, met = graph.scan(np.array([2, 3, 4]), 5)
    assert last.tolist() == [True, False, False] and met == 3
    assert graph.scan(np.array([2, 3]), 0)[1] == 0


def problem(seed: int) -> dict[str, Any]:
    """Clusters of any size, some empty; ties of all kinds; concepts that conflict."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(1, 60)), int(rng.integers(1, 6))
    labels = rng.integers(0, m, n).astype(np.int32)
    vectors = np.eye(m, dtype=np.float32)[labels]
    hurt = np.round(rng.gamma(1, 0.3, n), 1) * (rng.random(m) < 0.8)[labels]
    width = int(rng.integers(1, 4))
    return {
        "embeddings": vectors,
        "k": int(rng.integers(1, n + 1)),
        "degradation": hurt,
        "clusters": Clusters(np.eye(m, dtype=np.float32), labels, np.zeros(n), True),
        "cost": rng.integers(1, 4, n).astype(float) if seed % 2 else None,
        "concepts": rng.integers(-1, 6, (n, width)) if seed % 3 else None,
        "keys": Keys(seed, "test", n),
    }


@pytest.mark.parametrize("seed", range(300))
def test_oracle_all_of_it_in_plain_loops(seed: int) -> None:
    given = problem(seed)
    found = paser(**given).tolist()
    del given["embeddings"]
    assert found == by_loops(**given)
    assert len(set(found)) == given["k"]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 1, width=32), st.integers(0, 40)), min_size=1, max_size=12),
    st.floats(0, 1),
)
def test_budgets_sum_and_stay_within_their_clusters(clusters: list[tuple[float, int]], share: float) -> None:
    mean, sizes = np.array([one for one, _ in clusters]), np.array([size for _, size in clusters])
    k = round(share * int(sizes.sum()))
    budgets = paser_budgets(mean, sizes, k)
    assert budgets.sum() == k and (budgets >= 0).all() and (budgets <= sizes).all()
    ideal = k * mean / mean.sum() if mean.sum() else k * sizes / max(1, sizes.sum())
    if (ideal <= sizes).all():
        assert (np.abs(budgets - ideal) < 1 + 1e-6).all()


def test_the_numbering_of_the_clusters_and_the_order_of_the_rows_change_nothing() -> None:
    for seed in range(1, 60):
        given = problem(seed)
        wanted, clusters = paser(**given), given["clusters"]
        rng = np.random.default_rng(seed)
        number = rng.permutation(len(clusters.centroids))
        labels = number[clusters.labels].astype(np.int32)
        centroids = clusters.centroids[np.argsort(number)]
        renumbered = Clusters(centroids, labels, clusters.distance, True)
        assert paser(**{**given, "clusters": renumbered}).tolist() == wanted.tolist()
        order = rng.permutation(len(labels))
        moved = {name: given[name][order] for name in ("embeddings", "degradation")}
        moved |= {name: given[name] if given[name] is None else given[name][order] for name in ("cost", "concepts")}
        moved |= {
            "keys": given["keys"].of(order),
            "clusters": Clusters(centroids, labels[order], clusters.distance, True),
        }
        assert order[paser(k=given["k"], **moved)].tolist() == wanted.tolist()


def test_a_cluster_that_pruning_hurt_gets_its_share() -> None:
    rng = np.random.default_rng(0)
    place = np.repeat(np.arange(5), 200)
    vectors = (np.eye(5, 16)[place] + 0.02 * rng.normal(size=(1000, 16))).astype(np.float32)
    hurt = np.where(place == 3, 0.4, 0.1) * rng.uniform(0.9, 1.1, 1000)
    chosen = dd.select(dd.Scores.from_arrays({"divergence": hurt}), "paser", keep=200, embeddings=vectors, clusters=5)
    kept = Counter(place[chosen.indices].tolist())
    assert 95 <= kept[3] <= 105 and all(20 <= kept[c] <= 30 for c in (0, 1, 2, 4)), "0.4 of 0.4 + 4 * 0.1, of 200"
    (stratum,) = set(chosen.stratum[place == 3].tolist())
    assert (chosen.stratum == stratum).sum() == 200
    inside = np.flatnonzero((place == 3) & chosen.keep)
    assert hurt[inside].min() > np.sort(hurt[place == 3])[::-1][kept[3]]


def test_labels_and_predicted_classes_are_the_concepts_of_a_classifier() -> None:
    scores = dd.Scores(
        np.arange(4),
        {"divergence": np.array([0.6, 0.5, 0.4, 0.3], "f4"), "divergence.predicted": np.array([0, 1, 1, 1], "f4")},
        labels=np.array([0, 1, 0, 1]),
        meta={"columns": {"divergence": {"hardness": 1}, "divergence.predicted": {}}, "data": {"n": 4}},
    )
    vectors = np.ones((4, 2), np.float32)

    def kept(**options: Any) -> list[int]:
        return dd.select(scores, "paser", keep=3, embeddings=vectors, clusters=1, **options).ranked.tolist()

    # 0 and 1 are known from rows 0 and 1; row 2 has the label 0, and the network says 1.
    assert kept() == [0, 1, 3] and kept(consistent=False) == [0, 1, 2]
    assert kept(concepts=np.full((4, 1), -1)) == [0, 1, 2]
    chosen = dd.select(scores, "paser", keep=3, embeddings=vectors, clusters=1)
    assert chosen.meta["columns"] == {"degradation": "divergence", "concepts": "divergence.predicted"}
    assert set(chosen.meta["parents"]) == {"divergence", "divergence.predicted", "embeddings"}
    off = dd.select(scores, "paser", keep=3, embeddings=vectors, clusters=1, consistent=False)
    assert "concepts" not in off.meta["columns"]
    renamed = {name.replace("divergence", "hurt"): values for name, values in scores.columns.items()}
    meta = {"columns": {"hurt": {"hardness": 1}, "hurt.predicted": {}}, "data": {"n": 4}}
    other = dd.Scores(np.arange(4), renamed, labels=scores.labels, meta=meta)
    again = dd.select(other, "paser", keep=3, embeddings=vectors, clusters=1, score="hurt")
    assert again.ranked.tolist() == [0, 1, 3] and again.meta["columns"]["concepts"] == "hurt.predicted"
    own = [dd.select(scores, "paser", keep=3, embeddings=vectors, concepts=c).meta["params"]["concepts"]
           for c in (np.zeros((4, 2), int), np.ones((4, 2), int))]  # fmt: skip
    assert own[0] != own[1] and all(isinstance(value, str) for value in own)


def test_within_classes_everything_is_sliced(caplog: pytest.LogCaptureFixture) -> None:
    given = problem(7)
    n = len(given["degradation"])
    labels, concepts = np.arange(n) % 2, np.arange(2 * n).reshape(n, 2)
    columns = {"divergence": given["degradation"].astype("f4"), "cost": np.ones(n, "f4")}
    meta = {"columns": {name: {"hardness": 1} for name in columns}, "data": {"n": n}}
    scores = dd.Scores(np.arange(n), columns, labels=labels, meta=meta)
    chosen = dd.select(
        scores, "paser", keep=0.5, embeddings=given["embeddings"], score="divergence", concepts=concepts, by_class=True
    )
    assert len(chosen) == round(n / 2 + 1e-9) and chosen.meta["columns"]["cost"] == "cost"


def test_a_note_says_how_many_conflict(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "datadiet")
    vectors, clusters = two_clusters((4,))
    codes = np.array([[0, -1], [1, -1], [0, 1], [0, 1]])
    hurt = np.array([0.4, 0.3, 0.2, 0.1])
    paser(vectors, 2, degradation=hurt, concepts=codes, clusters=clusters)
    assert not caplog.text, "none was met"
    paser(vectors, 3, degradation=hurt, concepts=codes, clusters=clusters)
    assert "2 of the 4 examples considered are inconsistent with better ones (50 %), of which 1 are kept" in caplog.text


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"degradation": [0.1, -0.2, 0.3]}, "degradation goes from -0.2"),
        ({"degradation": [0.1, np.inf, 0.3]}, "degradation goes from"),
        ({"degradation": [0.1, 0.2]}, "2 values of degradation for 3 examples"),
        ({"cost": [1.0, 0.0, 2.0]}, "cost is 0 at position 1: give numbers above 0"),
        ({"cost": [1.0, np.nan, 2.0]}, "cost is NaN"),
        ({"clusters": 4}, "clusters=4 of 3 embeddings"),
        ({"consistent": True}, "consistent=True needs the concepts"),
        ({"concepts": np.zeros((2, 2), int)}, r"concepts has shape \(2, 2\).* for 3 examples"),
        ({"concepts": np.zeros(3, int)}, r"concepts has shape \(3,\)"),
        ({"concepts": np.full((3, 1), -2)}, "-1 for none"),
        ({"concepts": np.full((3, 1), 0.5)}, "whole numbers"),
    ],
)
def test_what_cannot_be_is_refused(options: dict[str, Any], match: str) -> None:
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(OptionError, match=match):
        paser(vectors, 2, **{"degradation": np.array([0.1, 0.2, 0.3]), **options})


def test_columns_that_are_not_there() -> None:
    vectors = np.eye(3, dtype=np.float32)
    with pytest.raises(OptionError, match="select from a run or a score file"):
        dd.select(vectors, "paser", keep=2)
    two = dd.Scores.from_arrays({"a": np.ones(3), "b": np.ones(3)})
    with pytest.raises(OptionError, match="there are several scores"):
        dd.select(two, "paser", keep=2, embeddings=vectors)
    assert dd.select(two, "paser", keep=2, embeddings=vectors, score="b").meta["columns"] == {"degradation": "b"}
    costly = dd.select(two, "paser", keep=2, embeddings=vectors, score="b", columns={"cost": "a"})
    assert costly.meta["columns"] == {"degradation": "b", "cost": "a"}


def test_ten_clusters_by_default() -> None:
    rng = np.random.default_rng(0)
    vectors, keys = rng.normal(size=(60, 4)).astype(np.float32), Keys(0, "test", 60)
    found = paser.explain(vectors, 20, degradation=np.ones(60), keys=keys).stratum
    apart = Keys(0, "test.clusters", 60)
    assert found.tolist() == kmeans(vectors / np.linalg.norm(vectors, axis=1)[:, None], 10, keys=apart).labels.tolist()
    assert paser(vectors[:3], 2, degradation=np.ones(3)).shape == (2,)


def test_the_contract_with_every_parameter() -> None:
    check_selector(SPEC, examples=[{"clusters": 3}, {"consistent": False}])
