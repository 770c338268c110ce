"""semdedup against a dense restatement of its rules: every threshold, every size, every block."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pytest

from datadiet.errors import BadVector, OptionError
from datadiet.geometry import Clusters, Matrix, kmeans
from datadiet.randomness import Keys
from datadiet.selectors import duplicate_rules, greedy_sizes, ordered_clusters, similar_pairs
from datadiet.selectors.duplicates import Duplicates
from datadiet.selectors.explained import Explained
from datadiet.selectors.ordered_clusters import default_clusters
from datadiet.selectors.semdedup import SPEC, semdedup, semdedup_sweep
from datadiet.testing import check_selector

MODES = ("chain", "greedy", "components")
EPSILONS = (0.0, 1e-6, 0.001, 0.01, 0.03, 0.1, 0.3, 0.7, 1.0, 1.3, 1.9)
every_mode = pytest.mark.parametrize("mode", MODES)


def clusters_of(labels: np.ndarray, centroids: np.ndarray) -> Clusters:
    nothing = np.full(len(labels), 7, dtype=np.float32)  # the distances are not read
    return Clusters(centroids.astype(np.float32), labels.astype(np.int32), nothing, True)


@dataclass(frozen=True, eq=False)
class Dense:
    """The rules on whole matrices, one pair after the other."""

    vectors: np.ndarray
    labels: np.ndarray
    centroids: np.ndarray
    keys: Keys
    prefer: str = "hardest"

    @cached_property
    def unit(self) -> np.ndarray:
        wide = Matrix.open(self.vectors, unit=True).take(slice(None)).astype(np.float64)
        return wide / np.linalg.norm(wide, axis=1, keepdims=True)

    @cached_property
    def similarity(self) -> np.ndarray:
        found = np.clip(self.unit @ self.unit.T, -1, 1).astype(np.float32)
        return np.where(np.abs(found) < 1e-9, np.float32(0), found)

    @cached_property
    def order(self) -> list[int]:
        """All rows, the most preferred first."""
        centre = self.centroids[self.labels] / np.linalg.norm(self.centroids[self.labels], axis=1, keepdims=True)
        distance = (1 - (self.unit * centre).sum(axis=1)).astype(np.float32)
        sign = {"hardest": -1, "easiest": 1, "random": 0}[self.prefer]
        draws = self.keys.draw()
        return sorted(range(len(draws)), key=lambda i: (sign * distance[i], draws[i]))

    @cached_property
    def pairs(self) -> list[tuple[int, int, np.float32]]:
        """(later, earlier, similarity) within clusters."""
        together = itertools.combinations(self.order, 2)
        return [(j, i, self.similarity[j, i]) for i, j in together if self.labels[i] == self.labels[j]]

    def earlier(self, row: int) -> list[int]:
        return [i for i in self.order[: self.order.index(row)] if self.labels[i] == self.labels[row]]

    def original(self, row: int) -> int:
        """The most preferred row of its cluster that is equal to it."""
        return next((i for i in self.earlier(row) if (self.unit[i] == self.unit[row]).all()), row)

    def chain(self, t: float) -> dict[int, tuple[int, float]]:
        """removed -> (witness, similarity)."""
        found = {j: self.best(j, self.earlier(j)) for j in self.order if self.earlier(j)}
        return {j: (i, s) for j, (i, s) in found.items() if s > t}

    def best(self, row: int, others: list[int]) -> tuple[int, float]:
        at = max(others, key=lambda i: (self.similarity[row, i], -self.order.index(i)))
        return at, self.similarity[row, at]

    def greedy(self, t: float) -> dict[int, tuple[int, float]]:
        removed: dict[int, tuple[int, float]] = {}
        for j in self.order:
            kept = [i for i in self.earlier(j) if i not in removed]
            if kept and self.best(j, kept)[1] > t:
                first = self.original(j)
                removed[j] = removed.get(first, (first, np.float32(1))) if first != j else self.best(j, kept)
        return removed

    def components(self, edges: list[tuple[int, int, np.float32]]) -> dict[int, int]:
        """removed -> kept row of its component."""
        home = {i: i for i in self.order}
        for j, i, _ in edges:
            a, b = sorted((home[i], home[j]), key=self.order.index)
            home = {row: a if h == b else h for row, h in home.items()}
        return {row: h for row, h in home.items() if row != h}

    def removed(self, t: float, mode: str) -> dict[int, int]:
        if mode == "components":
            return self.components([pair for pair in self.pairs if pair[2] > t])
        return {row: witness for row, (witness, _) in getattr(self, mode)(t).items()}

    @cached_property
    def firsts(self) -> list[int]:
        return [i for i in self.order if not self.earlier(i)]

    def keep(self, k: int, mode: str) -> set[int]:
        """The rows that are kept when exactly k are."""
        n, place = len(self.order), {row: at for at, row in enumerate(self.order)}
        if mode == "chain":
            nearest = {j: s for j, (_, s) in self.chain(-2).items()}
            return set(sorted(self.order, key=lambda i: (nearest.get(i, -np.inf), place[i]))[:k])
        if k <= len(self.firsts):
            return set(self.firsts[:k])
        if k == n:
            return set(self.order)
        if mode == "components":
            edges = [p for p in self.pairs if p[0] == self.original(p[0]) and p[1] == self.original(p[1])]
            edges += [(j, self.original(j), np.float32(1)) for j in self.order if self.original(j) != j]
            edges.sort(key=lambda p: (-p[2], place[p[1]], -place[p[0]]))
            return next(
                kept
                for e in range(len(edges) + 1)
                if len(kept := set(self.order) - set(self.components(edges[:e]))) == k
            )
        return keep_at(self, self.strictest(k), k)

    def strictest(self, k: int) -> dict[int, tuple[int, float]]:
        """What greedy removes at the highest threshold that keeps at most k."""
        return next(
            found for s in sorted({s for *_, s in self.pairs}, reverse=True)
            if len(self.order) - len(found := self.greedy(np.nextafter(s, np.float32(-2)))) <= k
        )  # fmt: skip


def blobs(seed: int = 0, n: int = 90, d: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups of near-duplicates of all degrees, some equal rows, in 5 clusters of which one has a single row."""
    rng = np.random.default_rng(seed)
    parents = rng.normal(size=(n // 4, d))
    vectors = parents[rng.integers(0, n // 4, n)] + rng.normal(size=(n, d)) * rng.choice([1e-3, 0.05, 0.3, 1], (n, 1))
    labels = np.array([4, *rng.integers(0, 4, n - 1)])
    copy, source = rng.permutation(np.arange(1, n))[: 2 * (n // 6)].reshape(2, -1)
    vectors[copy], labels[copy[1:]] = vectors[source], labels[source[1:]]
    labels[copy[0]] = (labels[source[0]] + 1) % 4  # one is equal to a row of another cluster
    return vectors.astype(np.float32), labels, rng.normal(size=(5, d)).astype(np.float32)


def run(dense: Dense, **how) -> Explained:
    how = {"clusters": clusters_of(dense.labels, dense.centroids), "keys": dense.keys, "prefer": dense.prefer, **how}
    return semdedup.explain(dense.vectors, **how)


def check_reasons(dense: Dense, found: Explained, removed: dict[int, int]) -> None:
    n = len(dense.order)
    kept = set(range(n)) - set(removed)
    assert sorted(found.chosen.tolist()) == sorted(kept)
    assert found.witness.tolist() == [removed.get(i, -1) for i in range(n)]
    expected = [dense.similarity[i, removed[i]] if i in removed else np.nan for i in range(n)]
    np.testing.assert_array_equal(found.similarity, np.array(expected, dtype=np.float32))
    assert found.similarity.dtype == np.float32 and found.witness.dtype == np.int64 == found.chosen.dtype
    assert found.stratum.tolist() == dense.labels.tolist()


def check_reasons_of_size(dense: Dense, found: Explained, k: int, mode: str) -> None:
    chosen, witness = found.chosen.tolist(), found.witness.tolist()
    removed = set(dense.order) - set(chosen)
    for row in removed:
        if witness[row] < 0:
            assert k < len(dense.firsts)
            continue
        earlier = dense.earlier(row)
        assert witness[row] in earlier and found.similarity[row] == dense.similarity[row, witness[row]]
        if mode == "chain":
            assert witness[row] == dense.best(row, earlier)[0]
    if k < len(dense.firsts):
        unknown = [row for row in removed if mode == "chain" or dense.labels[row] not in dense.labels[chosen]]
        unknown = [row for row in unknown if mode != "chain" or row in dense.firsts]
        assert unknown and {row for row in removed if witness[row] < 0} == set(unknown)
    elif mode == "greedy" and k < len(dense.order):
        gone = dense.strictest(k)
        back = sorted(gone, key=lambda j: (gone[j][1], dense.order.index(j)))[: k - (len(dense.order) - len(gone))]
        assert chosen == [row for row in dense.order if row not in gone] + back
        assert {row: witness[row] for row in removed} == {row: gone[row][0] for row in removed}


# --- golden ----------------------------------------------------------------------------------------------------------

DEGREES = np.radians([0, 20, 40])
ABC = np.stack([np.cos(DEGREES), np.sin(DEGREES)], axis=1)
THIRTY = 1 - np.cos(np.radians(30))  # a-b and b-c are nearer than this, a-c is not


@pytest.mark.parametrize(
    ("hardness", "mode", "kept", "witness"),
    [
        ([3, 2, 1], "chain", [0], [-1, 0, 1]),  # c goes because of b, which went
        ([3, 2, 1], "greedy", [0, 2], [-1, 0, -1]),
        ([3, 2, 1], "components", [0], [-1, 0, 0]),
        ([3, 1, 2], "chain", [0, 2], [-1, 0, -1]),  # a and c come first, and do not touch
        ([3, 1, 2], "greedy", [0, 2], [-1, 0, -1]),  # a and c are equally near to b: the more preferred is named
        ([3, 1, 2], "components", [0], [-1, 0, 0]),
        ([1, 3, 2], "chain", [1], [1, -1, 1]), ([1, 3, 2], "greedy", [1], [1, -1, 1]),
    ],
)  # fmt: skip
def test_a_chain_separates_the_three_modes(hardness: list, mode: str, kept: list, witness: list) -> None:
    found = semdedup.explain(ABC, epsilon=THIRTY, mode=mode, hardness=np.array(hardness), clusters=1)
    assert found.chosen.tolist() == kept and found.witness.tolist() == witness
    angle = np.radians([[0, 20, 40], [20, 0, 20], [40, 20, 0]])
    for row, because in enumerate(witness):
        if because >= 0:
            assert found.similarity[row] == pytest.approx(np.cos(angle[row, because]), rel=1e-6)


def test_the_order_of_preference_is_the_distance_from_the_centroid() -> None:
    # The centroid of 0, 5 and 40 degrees lies near 15: 40 is the hardest, then 0 (15 off), then 5 (10 off).
    angles = np.radians([0, 5, 40])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert semdedup(vectors, epsilon=0.01).tolist() == [2, 0]
    assert semdedup(vectors, epsilon=0.01, prefer="easiest").tolist() == [1, 2]
    assert semdedup(vectors, 2).tolist() == [2, 0]
    assert semdedup(vectors, 1, prefer="easiest").tolist() == [1]


def test_greedy_need_not_keep_less_at_a_lower_threshold_and_still_gives_any_size() -> None:
    # In order of preference x, a, b, c: s_ab = s_ac = .9, s_xa = .8, s_bc = .7, s_xb = s_xc = .62. Below .9 a removes b
    # and c: x, a. Below .8 x removes a, and b and c come back; below .7 c goes, below .62 b. For k = 3 the strictest
    # threshold that keeps at most 3 is that of x, a; of b and c, equally similar to a, the more preferred comes back.
    gram = np.array([[1, 0.8, 0.62, 0.62], [0.8, 1, 0.9, 0.9], [0.62, 0.9, 1, 0.7], [0.62, 0.9, 0.7, 1]])
    vectors, hardness = np.linalg.cholesky(gram), np.array([4, 3, 2, 1])
    sizes = [len(semdedup(vectors, epsilon=e, hardness=hardness)) for e in (0.05, 0.15, 0.25, 0.35, 0.4)]
    assert sizes == [4, 2, 3, 2, 1]
    kept = [semdedup(vectors, k, hardness=hardness).tolist() for k in (1, 2, 3, 4)]
    assert kept == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_the_least_similar_come_back_first_and_after_all_others() -> None:
    # In order of preference x, a, b, c1 to c5. Below .9 a removes b. Below .7 x removes a, so b comes back and removes
    # all of c, which are .78 to .84 similar to it: from 7 to 2 with nothing between.
    gram, to_b = np.eye(8), [0.82, 0.79, 0.84, 0.78, 0.81]
    gram[0, 1:] = gram[1:, 0] = [0.7, 0.63, *[0.5] * 5]
    gram[1, 2:] = gram[2:, 1] = [0.9, *[0.66] * 5]
    gram[2, 3:] = gram[3:, 2] = to_b
    gram[3:, 3:] += 0.65 * (1 - np.eye(5))
    dense = Dense(np.linalg.cholesky(gram), np.zeros(8, dtype=int), np.ones((1, 8)), Keys(0, "t", 8))
    dense.__dict__["order"] = list(range(8))
    expected = [[0, 2], [0, 2, 1], [0, 2, 1, 6], [0, 2, 1, 6, 4], [0, 2, 1, 6, 4, 7], [0, 1, 3, 4, 5, 6, 7]]
    for k, chosen in enumerate(expected, start=2):
        found = run(dense, k=k, hardness=-np.arange(8))
        assert found.chosen.tolist() == chosen
        check_reasons_of_size(dense, found, k, "greedy")
    assert found.witness.tolist() == [-1, -1, 1, *[-1] * 5]


def test_of_equally_similar_pairs_those_of_the_most_preferred_row_are_joined_first() -> None:
    # Pairs 0-2, 0-4, 1-2, 1-3, 1-4 share one coordinate each; own ones fill up to four: all cosines are 1/4 or 0.
    # By the earlier row, then the less preferred later one: 0-4 removes 4, 0-2 removes 2, 1-4 removes 1, 1-3 removes 3.
    vectors = np.zeros((5, 25))
    for column, pair in enumerate([(0, 2), (0, 4), (1, 2), (1, 3), (1, 4)]):
        vectors[list(pair), column] = 1
    for row in range(5):
        own = 5 + 4 * row
        vectors[row, own : own + 4 - int(vectors[row].sum())] = 1
    hardness = -np.arange(5)
    kept = [semdedup(vectors, k, mode="components", hardness=hardness).tolist() for k in (1, 2, 3, 4, 5)]
    assert kept == [[0], [0, 3], [0, 1, 3], [0, 1, 2, 3], [0, 1, 2, 3, 4]]


@every_mode
def test_of_equally_similar_rows_the_most_preferred_is_the_witness(mode: str) -> None:
    # Row 1 differs from row 0 by so little that the similarity is 1, row 2 is equal to row 1, row 3 to row 0.
    vectors = np.array([[3.0, 1, 2], [3.00001, 1, 2], [3.00001, 1, 2], [3.0, 1, 2]])
    found = semdedup.explain(vectors, epsilon=1e-4, mode=mode, hardness=-np.arange(4))
    assert found.witness.tolist() == [-1, 0, 0, 0] and found.similarity[1:].tolist() == [1, 1, 1]


# --- oracle ----------------------------------------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize("block", [1, 2, 7, 32, 1000])
def test_kept_rows_and_reasons_at_every_threshold_and_block(mode: str, block: int) -> None:
    vectors, labels, centroids = blobs()
    dense = Dense(vectors, labels, centroids, Keys(1, "t", len(vectors)))
    for epsilon in EPSILONS:
        found = run(dense, epsilon=epsilon, mode=mode, block=block)
        check_reasons(dense, found, dense.removed(np.float32(1 - epsilon), mode))


@every_mode
@pytest.mark.parametrize("prefer", ["hardest", "easiest", "random"])
def test_exactly_k_for_every_k(mode: str, prefer: str) -> None:
    vectors, labels, centroids = blobs(3, n=32)
    dense = Dense(vectors, labels, centroids, Keys(2, "t", len(vectors)), prefer)
    for k in range(1, 33):
        found = run(dense, k=k, mode=mode, block=16)
        assert len(found.chosen) == k and set(found.chosen.tolist()) == dense.keep(k, mode)
        assert (found.witness[found.chosen] == -1).all() and np.isnan(found.similarity[found.chosen]).all()
        if mode != "chain":  # there a witness may be removed
            assert not set(found.witness.tolist()) - {-1} - set(found.chosen.tolist())
        check_reasons_of_size(dense, found, k, mode)


@every_mode
@pytest.mark.parametrize("seed", range(24))
def test_ties_everywhere(mode: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Small whole numbers: many rows are equal, multiples of each other, orthogonal, or equally similar.
    rng = np.random.default_rng(seed)
    n, d = int(rng.integers(1, 13)), seed % 3 + 1
    vectors = rng.integers(-2, 3, (n, d)).astype(np.float64)
    vectors[~vectors.any(axis=1)] = 1
    dense = Dense(vectors, rng.integers(0, 3, n), np.eye(3, d) + 1.0, Keys(seed, "t", n))
    block = (1, 3, 64)[seed // 3 % 3]
    monkeypatch.setattr(duplicate_rules, "_BUFFER", (1 << 20, -4 * n)[seed % 2])
    monkeypatch.setattr(greedy_sizes, "_CHUNK", (1 << 14, 2)[seed % 2])
    for epsilon in (0.0, 1e-9, 0.2, 0.5, 1.0, 1.5):
        t = min(np.float32(1 - epsilon), np.nextafter(np.float32(1), np.float32(0))) if epsilon else 1
        removed = set(dense.removed(t, mode))
        assert set(run(dense, epsilon=epsilon, mode=mode, block=block).chosen.tolist()) == set(range(n)) - removed
    for k in range(1, n + 1):
        assert set(run(dense, k=k, mode=mode, block=block).chosen.tolist()) == dense.keep(k, mode)


@pytest.mark.parametrize("mode", ["greedy", "components"])
@pytest.mark.parametrize("odd", [True, False])
def test_a_size_is_met_also_where_a_sample_of_the_clusters_misleads(mode: str, odd: bool) -> None:
    # Every third of 24 clusters is looked at first: only there, or only elsewhere, are there near-duplicates.
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(24), 3)
    alike = ((labels % 3 == 0) == odd)[:, None]
    vectors = np.where(alike, 1.0, rng.normal(size=(72, 6))) + 0.05 * rng.normal(size=(72, 6))
    dense = Dense(vectors, labels, np.ones((24, 6)), Keys(0, "t", 72))
    for k in (25, 30, 40, 56, 60, 70, 71):
        assert set(run(dense, k=k, mode=mode).chosen.tolist()) == dense.keep(k, mode)


@pytest.mark.parametrize("mode", ["greedy", "components"])
def test_a_size_is_met_also_where_no_threshold_of_the_sample_is_low_enough(mode: str) -> None:
    # Every second of 16 clusters is looked at first. There all is alike, elsewhere nothing: 8 + 8 * 24 = 200 stay at
    # any threshold of the sample.
    labels = np.repeat(np.arange(16), 24)
    alike = (labels % 2 == 0)[:, None]
    vectors = alike + np.where(alike, 0.01, 1) * np.random.default_rng(0).normal(size=(384, 40))
    clusters = clusters_of(labels, np.ones((16, 40)))
    assert len(semdedup(vectors, epsilon=0.1, mode=mode, clusters=clusters)) == 200
    assert len(set(semdedup(vectors, 190, mode=mode, clusters=clusters).tolist())) == 190


@pytest.mark.parametrize("crowded", [0, 12])
def test_of_crowded_clusters_some_thresholds_are_tried(crowded: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # All clusters are crowded, or those with more than 12 pairs above the threshold that is looked down to.
    vectors, labels, centroids = blobs(12, n=60)
    dense = Dense(vectors, labels, centroids, Keys(0, "t", 60))
    at = [np.nextafter(s, np.float32(-2)) for s in sorted({s for *_, s in dense.pairs}, reverse=True)]
    curve = [dense.greedy(t) for t in at]
    monkeypatch.setattr(greedy_sizes, "_AT_MOST", crowded)
    monkeypatch.setattr(ordered_clusters, "_THRESHOLDS", 5)
    exact = 0
    for k in range(6, 60):
        chosen = set(run(dense, k=k, block=4).chosen.tolist())
        possible = [keep_at(dense, removed, k) for removed in curve if 60 - len(removed) <= k]
        assert len(chosen) == k and chosen in possible
        exact += chosen == possible[0]
    assert exact < 54  # otherwise this would be the same as without


def test_where_a_crowded_cluster_turned_out_larger_a_threshold_that_was_tried_decides(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Cluster 0 keeps 2 from .9 and 3 from .8 on (see above), cluster 1 keeps 3 down to .3; both are crowded and looked
    # at from .9 and from .3 on only. The pairs of clusters 2 and 3 join at .75 and .85. So 9 are kept from .9 on, 8
    # from .85 on, and from .75 on 7 are expected and 8 found: for 7, the threshold of .3 decides.
    grams = [
        np.array([[1, 0.8, 0.62, 0.62], [0.8, 1, 0.9, 0.9], [0.62, 0.9, 1, 0.7], [0.62, 0.9, 0.7, 1]]),
        0.7 * np.eye(3) + 0.3, 0.25 * np.eye(2) + 0.75, 0.15 * np.eye(2) + 0.85,
    ]  # fmt: skip
    labels = np.repeat(np.arange(4), [4, 3, 2, 2])
    vectors = np.concatenate([np.pad(np.linalg.cholesky(g), ((0, 0), (0, 4 - len(g)))) for g in grams])
    monkeypatch.setattr(greedy_sizes, "_AT_MOST", 2)
    monkeypatch.setattr(ordered_clusters, "_THRESHOLDS", 2)
    how = {"hardness": -np.arange(11), "clusters": clusters_of(labels, np.ones((4, 4)))}
    assert semdedup(vectors, 9, **how).tolist() == [0, 1, 4, 5, 6, 7, 8, 9, 10]
    assert semdedup(vectors, 8, **how).tolist() == [0, 1, 4, 5, 6, 7, 8, 9]
    assert semdedup(vectors, 7, **how).tolist()[:4] == [0, 4, 7, 9] and len(semdedup(vectors, 7, **how)) == 7


def keep_at(dense: Dense, removed: dict, k: int) -> set[int]:
    """What greedy keeps at a threshold, and the least similar of the others."""
    back = sorted(removed, key=lambda j: (removed[j][1], dense.order.index(j)))
    return set(dense.order) - set(back[k - (len(dense.order) - len(removed)) :])


def test_all_are_kept_in_order_of_preference() -> None:
    vectors, labels, centroids = blobs(3)
    dense = Dense(vectors, labels, centroids, Keys(0, "t", 90))
    for mode in ("greedy", "components"):
        assert run(dense, k=90, mode=mode).chosen.tolist() == run(dense, epsilon=0, mode=mode).chosen.tolist()
        assert run(dense, k=90, mode=mode).chosen.tolist() == dense.order


@every_mode
def test_memory_settings_change_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, labels, centroids = blobs(4)
    dense = Dense(vectors, labels, centroids, Keys(1, "t", len(vectors)))

    def everything() -> list:
        found = [run(dense, epsilon=e, mode=mode, block=8) for e in EPSILONS]
        found += [run(dense, k=k, mode=mode, block=8) for k in (3, 20, 60)]
        return [(f.chosen.tolist(), f.witness.tolist(), f.similarity.tobytes()) for f in found]

    before = everything()
    for name, value in [("RESIDENT", 0), ("_AT_ONCE", 1), ("CHEAPER_WHOLE", 0), ("CHEAPER_WHOLE", 1 << 40)]:
        monkeypatch.setattr(similar_pairs, name, value)
        assert everything() == before
    monkeypatch.setattr(duplicate_rules, "_BUFFER", -4 * len(vectors))
    assert everything() == before


@every_mode
def test_products_in_float32_decide_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Rows that differ by a few float32 roundings: in a float32 product their order is chance.
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(1, 300)) + 1.5e-3 * rng.normal(size=(28, 300))
    dense = Dense(vectors.astype(np.float32), np.zeros(28, dtype=int), np.ones((1, 300)), Keys(0, "t", 28))
    steps = np.unique(dense.similarity)
    assert len(steps) < 60  # of 378 pairs
    removed = {step: dense.removed(step, mode) for step in steps[[4, 8, 12]].tolist()}
    kept = {k: dense.keep(k, mode) for k in (4, 12, 20)}
    monkeypatch.setattr(duplicate_rules, "_BUFFER", -4 * 28)
    product = similar_pairs._product

    def noisy(left, right, triangle):
        found = product(left, right, triangle)
        allowed = 0.95 * 316 * 2**-24  # for 300 dimensions
        return found + rng.uniform(-allowed, allowed, found.shape).astype(np.float32)

    for patched, block in itertools.product((product, noisy), (1, 9)):
        monkeypatch.setattr(similar_pairs, "_product", patched)
        for step, gone in removed.items():
            check_reasons(dense, run(dense, epsilon=1 - step, mode=mode, block=block), gone)
        for k, stay in kept.items():
            assert set(run(dense, k=k, mode=mode, block=block).chosen.tolist()) == stay


# --- properties ------------------------------------------------------------------------------------------------------


@every_mode
@pytest.mark.parametrize("how", [{"epsilon": 0.1}, {"k": 40}])
def test_a_permutation_that_carries_the_keys_along_permutes_the_result(mode: str, how: dict) -> None:
    vectors, labels, centroids = blobs(5)
    n = len(vectors)
    shuffle = np.random.default_rng(0).permutation(n)
    first = run(Dense(vectors, labels, centroids, Keys(3, "t", n)), mode=mode, **how)
    second = run(Dense(vectors[shuffle], labels[shuffle], centroids, Keys(3, "t", n, shuffle)), mode=mode, **how)
    assert shuffle[second.chosen].tolist() == first.chosen.tolist()
    named = np.where(second.witness >= 0, shuffle[second.witness], -1)
    assert named.tolist() == first.witness[shuffle].tolist()
    assert second.similarity.tobytes() == first.similarity[shuffle].tobytes()


@every_mode
def test_a_permutation_with_own_clusters(mode: str) -> None:
    vectors = blobs(6)[0]
    n = len(vectors)
    shuffle = np.random.default_rng(1).permutation(n)
    first = semdedup(vectors, epsilon=0.05, mode=mode, keys=Keys(3, "t", n))
    second = semdedup(vectors[shuffle], epsilon=0.05, mode=mode, keys=Keys(3, "t", n, shuffle))
    assert shuffle[second].tolist() == first.tolist()


@every_mode
@pytest.mark.parametrize("given", [Keys(3, "t", 90), Keys(8, "u.v", 90)])
def test_a_number_of_clusters_is_that_of_kmeans_with_keys_of_its_own(mode: str, given: Keys) -> None:
    vectors = blobs(12)[0]
    found = kmeans(vectors, 7, keys=Keys(given.seed, f"{given.stream}.clusters", 90))
    one, other = (
        semdedup.explain(vectors, epsilon=0.2, clusters=clusters, mode=mode, keys=given) for clusters in (7, found)
    )
    assert one.chosen.tolist() == other.chosen.tolist() and one.witness.tolist() == other.witness.tolist()
    assert one.stratum.tolist() == found.labels.tolist() and 7 < len(one.chosen) < 90
    with_others = kmeans(vectors, 7, keys=Keys(given.seed, given.stream, 90))
    assert with_others.labels.tolist() != found.labels.tolist()


def test_smaller_sizes_are_prefixes_with_chain_and_subsets_with_components() -> None:
    vectors, labels, centroids = blobs(7)
    dense = Dense(vectors, labels, centroids, Keys(1, "t", len(vectors)))
    whole = run(dense, k=len(vectors), mode="chain").chosen.tolist()
    joined = [set(run(dense, k=k, mode="components").chosen.tolist()) for k in range(1, len(vectors) + 1)]
    for k in range(1, len(vectors)):
        assert run(dense, k=k, mode="chain").chosen.tolist() == whole[:k]
        assert joined[k - 1] < joined[k]
    at = [run(dense, epsilon=e, mode="chain").chosen.tolist() for e in EPSILONS]
    assert all(some == whole[: len(some)] for some in at)


def test_components_keep_less_than_chain_and_chain_less_than_greedy() -> None:
    vectors, labels, centroids = blobs(8)
    dense = Dense(vectors, labels, centroids, Keys(1, "t", len(vectors)))
    strict = 0
    for epsilon in EPSILONS:
        chain, greedy, joined = (set(run(dense, epsilon=epsilon, mode=m).chosen.tolist()) for m in MODES)
        assert joined <= chain <= greedy
        strict += len(joined) < len(chain) < len(greedy)
    assert strict


@every_mode
def test_a_sweep_is_one_call_after_the_other(mode: str) -> None:
    vectors, labels, centroids = blobs(9)
    how = {"clusters": clusters_of(labels, centroids), "mode": mode, "block": 16, "keys": Keys(0, "s", len(vectors))}
    swept = semdedup_sweep(vectors, [0.3, 0.001, 0.1, 0.001], **how)
    for epsilon, found in zip([0.3, 0.001, 0.1, 0.001], swept, strict=True):
        single = semdedup.explain(vectors, epsilon=epsilon, **how)
        assert found.chosen.tolist() == single.chosen.tolist() and found.witness.tolist() == single.witness.tolist()
        assert found.similarity.tobytes() == single.similarity.tobytes()
    assert semdedup_sweep(vectors, [], **how) == []
    assert (
        semdedup(vectors, None, 0.1, 1, mode, "easiest").tolist()
        == semdedup(vectors, epsilon=0.1, clusters=1, mode=mode, prefer="easiest").tolist()
    )
    with pytest.raises(OptionError, match=r"epsilons has shape \(\): give \(thresholds,\)"):
        semdedup_sweep(vectors, 0.1, **how)


def test_chain_reads_similarities_once_for_any_number_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = blobs(10)[0]
    found = Duplicates.of(vectors)
    first = found.kept(0.1, "chain")
    monkeypatch.setattr(ordered_clusters, "nearest_earlier", None)
    assert len(found.kept(0.5, "chain").chosen) < len(first.chosen) < len(found.keep(80, "chain").chosen)


@every_mode
def test_equal_rows_leave_one_per_cluster_whatever_the_threshold(mode: str) -> None:
    rng = np.random.default_rng(0)
    parents = rng.normal(size=(6, 5)).astype(np.float16)
    vectors, of = np.repeat(parents, 7, axis=0), np.repeat(np.arange(6), 7)
    shuffle = rng.permutation(42)
    vectors, of = vectors[shuffle], of[shuffle]
    vectors[of == 2] *= 2  # a multiple points the same way
    hardness = rng.permutation(42)
    hardest = sorted(max(np.flatnonzero(of == group), key=lambda i: hardness[i]) for group in range(6))
    for how in ({"epsilon": 1e-9}, {"epsilon": 1e-4}, {"k": 6}):
        found = semdedup.explain(vectors, mode=mode, hardness=hardness, **how)
        assert sorted(found.chosen.tolist()) == hardest
        removed = found.witness >= 0
        assert (found.similarity[removed] == 1).all() and removed.sum() == 36
        assert found.witness[removed].tolist() == [next(h for h in hardest if of[h] == g) for g in of[removed]]
    assert len(semdedup(vectors, epsilon=0, mode=mode)) == 42


def test_without_a_direction_of_the_centroid_keys_decide() -> None:
    vectors, keys = np.repeat(directions := np.eye(2), 20, axis=0), Keys(5, "t", 40)
    nowhere = clusters_of(np.zeros(40), np.zeros((1, 2)))
    smallest = [min(range(lo, lo + 20), key=lambda i: keys.draw()[i]) for lo in (0, 20)]
    assert sorted(semdedup(vectors, len(directions), clusters=nowhere, keys=keys).tolist()) == smallest


@every_mode
def test_many_copies_cost_nothing(mode: str) -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([np.tile(rng.normal(size=(1, 8)), (30_000, 1)), rng.normal(size=(20, 8))])
    assert len(semdedup(vectors, epsilon=1e-5, mode=mode, clusters=1)) == 21
    assert len(semdedup(vectors, 100, mode=mode, clusters=1)) == 100


def test_greedy_compares_with_kept_rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    found, looked = duplicate_rules.pairs_above, 0

    def counting(*given):
        nonlocal looked
        for pairs, block in found(*given):
            looked += len(pairs[0])
            yield pairs, block

    monkeypatch.setattr(duplicate_rules, "pairs_above", counting)
    vectors = 1 + 1e-3 * np.random.default_rng(0).normal(size=(200, 5))
    assert len(semdedup(vectors, epsilon=0.1, block=10)) == 1
    assert looked == 20 * 45 + 190  # all within the 20 blocks, and each of the others with the one that is kept


@every_mode
@pytest.mark.parametrize("n", [1, 2, 5])
def test_singleton_clusters_are_kept(mode: str, n: int) -> None:
    vectors, clusters = np.ones((n, 3)), clusters_of(np.arange(n), np.ones((n, 3)))
    assert sorted(semdedup(vectors, epsilon=1.9, mode=mode, clusters=clusters).tolist()) == list(range(n))
    for k in range(1, n + 1):
        assert len(set(semdedup(vectors, k, mode=mode, clusters=clusters).tolist())) == k


def test_a_memory_map_in_float16(tmp_path) -> None:
    vectors = blobs(11, n=300)[0].astype(np.float16)
    np.save(tmp_path / "v.npy", vectors)
    mapped = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert semdedup(mapped, epsilon=0.02).tolist() == semdedup(vectors, epsilon=0.02).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "k=None and epsilon=None: give one of the two"),
        ({"k": 2, "epsilon": 0.1}, "k=2 and epsilon=0.1: give one of the two"),
        ({"epsilon": -0.1}, "epsilon=-0.1"), ({"epsilon": 2}, "epsilon=2"), ({"epsilon": np.nan}, "epsilon=nan"),
        ({"k": 0}, "k=0"), ({"k": 4}, "k=4 of 3"),
        ({"k": 1, "mode": "all"}, "'chain', 'greedy' or 'components'"),
        ({"epsilon": 0.1, "mode": "all"}, "'chain', 'greedy' or 'components'"),
        ({"k": 1, "prefer": "hard"}, "'hardest', 'easiest' or 'random'"),
        ({"k": 1, "prefer": "random", "hardness": np.ones(3)}, "reads no hardness"),
        ({"k": 1, "hardness": np.ones(4)}, "4 values of hardness for 3 examples"),
        ({"k": 1, "hardness": np.array([1, np.nan, 2])}, "hardness is NaN"),
        ({"k": 1, "clusters": 4}, "clusters=4 of 3 embeddings"), ({"k": 1, "block": 0}, "block=0"),
        ({"k": 1, "clusters": clusters_of(np.zeros(2), np.ones((1, 2)))}, "clusters of 2 vectors"),
        ({"k": 1, "keys": Keys(0, "t", 5)}, "keys for 5 rows"),
    ],
)  # fmt: skip
def test_refuses(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        semdedup(ABC, **options)


def test_a_zero_or_nan_vector_is_named() -> None:
    for bad in (0.0, np.nan):
        vectors = ABC.copy()
        vectors[1] = bad
        with pytest.raises(BadVector, match="row 1"):
            semdedup(vectors, epsilon=0.1)


def test_the_default_number_of_clusters() -> None:
    assert [default_clusters(n) for n in (1, 16_384, 16_385, 50_000, 10**6, 10**8)] == [1, 1, 18, 32, 141, 1414]


def test_it_keeps_the_contract_with_other_parameters_too() -> None:
    check_selector(SPEC, examples=[{"clusters": 8}, {"clusters": 1}])
