"""DBP: budgets are the optimum of the quadratic program, and the hardest of each cluster are kept."""

from __future__ import annotations

import itertools
from typing import Any

import clarabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from datadiet.errors import BadVector, OptionError
from datadiet.geometry import Clusters, kmeans
from datadiet.randomness import Keys
from datadiet.selectors.budget import project
from datadiet.selectors.dbp import SPEC, _complexity, _lower, _problem, dbp, dbp_budgets
from datadiet.testing import check_selector


def solved(target: np.ndarray, k: int, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """min |x - target|^2 with sum x = k and the bounds, by an interior-point method."""
    m = len(target)
    eye = sparse.identity(m, format="csc")
    scale = max(1.0, float(k))
    rows = sparse.vstack([sparse.csc_matrix(np.ones((1, m))), eye, -eye]).tocsc()
    right = np.concatenate([[k], upper, -lower]) / scale
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.tol_gap_abs = settings.tol_gap_rel = settings.tol_feas = 1e-13
    cones = [clarabel.ZeroConeT(1), clarabel.NonnegativeConeT(2 * m)]
    return np.array(clarabel.DefaultSolver(eye, -target / scale, rows, right, cones, settings).solve().x) * scale


def residual(x: np.ndarray, target: np.ndarray, k: int, lower: np.ndarray, upper: np.ndarray) -> float:
    """How far x is from the KKT conditions: x = clip(target - shift, lower, upper) for some shift, and sum x = k."""
    pull, free, movable = target - x, (x > lower) & (x < upper), lower < upper
    below = max(pull[movable & (x <= lower)], default=-np.inf)  # what is at its lower bound: shift >= pull
    above = min(pull[movable & (x >= upper)], default=np.inf)  # at its upper bound: shift <= pull
    shift = pull[free].mean() if free.any() else np.clip(0, below, above)
    gaps = [abs(x.sum() - k), (lower - x).max(), (x - upper).max(), below - shift, shift - above]
    return float(max(*gaps, *np.abs(pull[free] - shift)))


def problem(seed: int, m: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Complexities of any spread, with ties; sizes with empty and single clusters; a k."""
    rng = np.random.default_rng(seed)
    complexity = rng.gamma(1, rng.choice([0.01, 0.1, 1.0]), m)
    complexity[rng.random(m) < 0.2] = 0
    sizes = np.where(rng.random(m) < 0.3, rng.integers(0, 2, m), rng.integers(1, 200, m))
    sizes[0] += 1
    return complexity, sizes, int(rng.integers(1, sizes.sum() + 1))


def real_budgets(
    complexity: np.ndarray, sizes: np.ndarray, k: int, temperature: float = 0.1, least: int | float | None = None
) -> np.ndarray:
    """What `dbp_budgets` rounds: the optimum of the quadratic program, (m,) float64."""
    target, lower, upper = _problem(complexity, sizes, k, temperature, least)
    return project(target, float(k), lower.astype(np.float64), upper.astype(np.float64))


def test_golden_budgets() -> None:
    # Equal complexity: an even share of 20 is 6 2/3; the third has only 2, the others take 9 each.
    assert dbp_budgets(np.zeros(3), np.array([50, 50, 2]), 20).tolist() == [9, 9, 2]
    # exp(ln 3) : exp(0) = 3 : 1 of 8.
    assert dbp_budgets(np.array([np.log(3), 0]), np.array([9, 9]), 8, temperature=1).tolist() == [6, 2]
    # 3^2 : 1 at half the temperature, 7.2 and 0.8; then at least 2 for each.
    assert dbp_budgets(np.array([np.log(3), 0]), np.array([9, 9]), 8, temperature=0.5).tolist() == [7, 1]
    assert dbp_budgets(np.array([np.log(3), 0]), np.array([9, 9]), 8, 0.5, 2).tolist() == [6, 2]
    # 5 / 2 each: the equal remainder goes to the larger cluster; of two of one size to the later.
    assert dbp_budgets(np.zeros(2), np.array([9, 8]), 5).tolist() == [3, 2]
    assert dbp_budgets(np.zeros(2), np.array([9, 9]), 5).tolist() == [2, 3]


def test_golden_least() -> None:
    sizes = np.array([9, 0, 1, 5])
    assert _lower(None, sizes, 3).tolist() == [1, 0, 1, 1]  # three clusters have members
    assert _lower(None, sizes, 2).tolist() == [0, 0, 0, 0]
    assert _lower(2, sizes, 9).tolist() == [2, 0, 1, 2]
    assert _lower(0.5, sizes, 12).tolist() == [2, 0, 1, 2]  # half of 12 / 3
    assert _lower(0.5, sizes, 11).tolist() == [1, 0, 1, 1]  # 1.83
    assert _lower(0, sizes, 1).tolist() == _lower(0.0, sizes, 1).tolist() == [0, 0, 0, 0]
    with pytest.raises(OptionError, match="min_per_cluster=2 keeps at least 5 examples and k is 4: give 1 or less"):
        _lower(2, sizes, 4)


@pytest.mark.parametrize("seed", range(40))
def test_oracle_the_budgets_are_the_optimum_of_the_quadratic_program(seed: int) -> None:
    m = [1, 2, 3, 8, 40, 300][seed % 6]
    complexity, sizes, k = problem(seed, m)
    temperature, least = [0.1, 0.01, 0.5, 3.0][seed % 4], [None, 0, 0.5, 1.0][seed // 4 % 4]
    target, lower, upper = _problem(complexity, sizes, k, temperature, least)
    x = real_budgets(complexity, sizes, k, temperature, least)
    assert residual(x, target, k, lower, upper) < 1e-8
    np.testing.assert_allclose(x, solved(target, k, lower, upper), atol=1e-6 * max(1, k))
    assert 0.5 * ((x - target) ** 2).sum() <= 0.5 * ((solved(target, k, lower, upper) - target) ** 2).sum() + 1e-6 * k
    whole = dbp_budgets(complexity, sizes, k, temperature, least)
    assert whole.dtype == np.int64 and whole.sum() == k
    assert (whole >= lower).all() and (whole <= upper).all() and (np.abs(whole - x) < 1 + 1e-9).all()


@pytest.mark.parametrize("seed", range(200))
def test_no_other_whole_numbers_are_nearer_to_what_is_wished(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, temperature = int(rng.integers(1, 5)), float(rng.choice([0.01, 0.1, 0.5, 3.0]))
    sizes = rng.integers(0, 7, m)
    sizes[0] += not sizes.any()
    k, complexity = int(rng.integers(1, sizes.sum() + 1)), np.round(rng.gamma(1, 0.3, m), 1)
    there = sizes > 0
    weight = np.where(there, np.exp(complexity / temperature - (complexity[there] / temperature).max()), 0)
    target = k * weight / weight.sum()
    share = k / there.sum()
    for option, least in ((None, int(share >= 1)), (0, 0), (1, 1), (2, 2), (0.5, int(share / 2)), (1.0, int(share))):
        lower = np.minimum(least, sizes)
        if lower.sum() > k:
            continue
        every = np.array(list(itertools.product(*(range(lo, hi + 1) for lo, hi in zip(lower, sizes, strict=True)))))
        best = np.square(every[every.sum(axis=1) == k] - target).sum(axis=1).min()
        found = dbp_budgets(complexity, sizes, k, temperature, option)
        assert found.sum() == k and (lower <= found).all() and (found <= sizes).all()
        assert np.square(found - target).sum() == pytest.approx(best, abs=1e-9)


def test_the_residual_sees_what_is_not_optimal() -> None:
    target, lower, upper = np.array([6.0, 2.0, 0.0]), np.zeros(3), np.array([4.0, 9.0, 9.0])
    right = np.array([4.0, 3.0, 1.0])
    assert residual(right, target, 8, lower, upper) < 1e-12
    for wrong in ([4, 2, 2], [3, 4, 1], [4, 4, 0], [4, 3, 0.999], [5, 2, 1]):
        assert residual(np.array(wrong, dtype=float), target, 8, lower, upper) > 1e-4


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.sampled_from([1e-300, 1e-3, 0.1, 10.0, 1e300]))
def test_budgets_keep_their_bounds_at_any_temperature(seed: int, m: int, temperature: float) -> None:
    complexity, sizes, k = problem(seed, m)
    x = dbp_budgets(complexity * 1e6, sizes, k, temperature)
    assert x.sum() == k and (x >= 0).all() and (x <= sizes).all()
    if k >= np.count_nonzero(sizes):
        assert (x[sizes > 0] >= 1).all()
    assert np.isfinite(real_budgets(complexity * 1e6, sizes, k, temperature)).all()


def test_a_cold_softmax_fills_the_most_complex_first_and_a_hot_one_is_even() -> None:
    complexity, sizes = np.array([0.1, 0.3, 0.2]), np.array([50, 50, 50])
    # Nearly all is wished for the second; its surplus of 10 is shared between the others.
    assert dbp_budgets(complexity, sizes, 60, 1e-6).tolist() == [5, 50, 5]
    assert dbp_budgets(complexity, sizes, 60, 1e6).tolist() == [20, 20, 20]


def test_fifty_thousand_clusters() -> None:
    complexity, sizes, k = problem(3, 50_000)
    target, lower, upper = _problem(complexity, sizes, k, 0.1, None)
    assert residual(real_budgets(complexity, sizes, k), target, k, lower, upper) < 1e-8
    assert dbp_budgets(complexity, sizes, k).sum() == k


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"complexity": np.array([0.1, np.nan])}, "NaN or infinite"),
        ({"complexity": np.array([0.1, np.inf])}, "NaN or infinite"),
        ({"complexity": np.zeros(3)}, r"shape \(3,\) and sizes shape \(2,\)"),
        ({"sizes": np.array([4.0, 5.0])}, "dtype float64"),
        ({"sizes": np.array([4, -1])}, "one count of members"),
        ({"k": 0}, "k=0 of 9"), ({"k": 10}, "k=10 of 9"),
        ({"temperature": 0.0}, "temperature=0.0"), ({"temperature": np.nan}, "temperature=nan"),
        ({"temperature": np.inf}, "temperature=inf"),
        ({"min_per_cluster": -1}, "min_per_cluster=-1"), ({"min_per_cluster": 1.5}, "between 0.0 and 1.0"),
        ({"min_per_cluster": True}, "min_per_cluster=True"), ({"min_per_cluster": "half"}, "min_per_cluster='half'"),
        ({"min_per_cluster": np.nan}, "min_per_cluster=nan"), ({"min_per_cluster": 4}, "give 2 or less"),
    ],
)  # fmt: skip
def test_a_problem_without_an_answer_is_refused(change: dict[str, Any], message: str) -> None:
    call = {"complexity": np.array([0.1, 0.2]), "sizes": np.array([4, 5]), "k": 5, **change}
    with pytest.raises(OptionError, match=message):
        dbp_budgets(**call)


def test_nan_is_no_matter_where_there_are_no_members() -> None:
    assert dbp_budgets(np.array([np.nan, 0.1]), np.array([0, 5]), 3).tolist() == [0, 3]


FIVE = np.array([[1, 0], [0, 1], [-1, 0], [0, 1], [3, 3]], dtype=np.float32)


def given_clusters(labels: list[int], distance: list[float], centroids: np.ndarray) -> Clusters:
    return Clusters(
        np.asarray(centroids, dtype=np.float32),
        np.array(labels, dtype=np.int32),
        np.array(distance, dtype=np.float32),
        True,
    )


def test_golden_complexity() -> None:
    # Centroids along x, y, -x, y: cosine distances of the first to the others 1, 2, 1; of the second 1, 1, 0.
    # The fourth has one member, at distance 0 of its centroid.
    found = given_clusters([0, 0, 1, 2, 3], [0.1, 0.3, 0.4, 0.5, 0.0], FIVE[:4])
    np.testing.assert_allclose(_complexity(found, 1), [1 * 0.2, 0 * 0.4, 1 * 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(_complexity(found, 2), [1 * 0.2, 0.5 * 0.4, 1 * 0.5, 0], atol=1e-6)
    np.testing.assert_allclose(_complexity(found, 20), [4 / 3 * 0.2, 2 / 3 * 0.4, 4 / 3 * 0.5, 0], atol=1e-6)


def test_golden_complexity_of_what_has_no_other_and_no_members() -> None:
    assert _complexity(given_clusters([0, 0], [0.1, 0.3], FIVE[:1]), 20).tolist() == [0.0]
    # The second cluster is empty: it has no complexity and is nobody's neighbour.
    found = given_clusters([0, 0, 2], [0.1, 0.3, 0.5], FIVE[:3])
    np.testing.assert_allclose(_complexity(found, 1), [2 * 0.2, 0, 2 * 0.5], atol=1e-6)


@pytest.mark.parametrize("spherical", [True, False])
def test_oracle_complexity(spherical: bool) -> None:
    x = data(80, 5)
    found = kmeans(x, 9, spherical=spherical)
    expected = []
    for j, c in enumerate(found.centroids.astype(np.float64)):
        members = x[found.labels == j].astype(np.float64)
        if spherical:
            near = sorted(1 - c @ other for i, other in enumerate(found.centroids) if i != j)
            intra = np.mean([1 - c @ v / np.linalg.norm(v) for v in members])
        else:
            near = sorted(np.linalg.norm(c - other) for i, other in enumerate(found.centroids) if i != j)
            intra = np.mean(np.linalg.norm(members - c, axis=1))
        expected.append(np.mean(near[:4]) * intra)
    np.testing.assert_allclose(_complexity(found, 4), expected, rtol=1e-4)


def data(n: int = 120, d: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) + 2 * rng.normal(size=(5, d))[np.arange(n) % 5]).astype(np.float32)


def test_golden_dbp() -> None:
    found = given_clusters([0, 0, 0, 1, 1], [0.1, 0.3, 0.2, 0.05, 0.4], FIVE[:2])
    # Two equal neighbours; d_intra 0.2 and 0.225. p nearly equal: of 3, 1.5 - a bit and 1.5 + a bit; 1 and 2.
    out = dbp.explain(FIVE, 3, clusters=found)
    assert out.chosen.tolist() == [4, 1, 3] and out.stratum is not None
    assert out.stratum.tolist() == [0, 0, 0, 1, 1] and out.weight is None and out.witness is None
    assert dbp(FIVE, 3, clusters=found, prefer="easiest").tolist() == [3, 0, 4]
    assert dbp(FIVE, 3, clusters=found, hardness=np.array([9.0, 1, 2, 7, 8])).tolist() == [0, 4, 3]
    # Cold, all of 4 is wished for the second cluster, which has 2; at least 1, the first takes what is left.
    assert dbp(FIVE, 4, clusters=found, temperature=1e-9).tolist() == [4, 1, 2, 3]
    assert dbp(FIVE, 2, clusters=found, temperature=1e-9).tolist() == [4, 1]
    assert dbp(FIVE, 2, clusters=found, temperature=1e-9, min_per_cluster=0).tolist() == [4, 3]


@pytest.mark.parametrize("k", [1, 2, 7, 40, 119, 120])
def test_keeps_the_budget_of_every_cluster_and_its_hardest(k: int) -> None:
    x, keys = data(), Keys(3, "test", 120)
    found = kmeans(x, 9, keys=Keys(3, "test.clusters", 120))
    chosen = dbp(x, k, clusters=9, keys=keys)
    assert chosen.dtype == np.int64 and len(set(chosen.tolist())) == k
    np.testing.assert_array_equal(chosen, dbp(x, k, clusters=found, keys=keys))
    counts = np.bincount(found.labels[chosen], minlength=9)
    assert np.abs(counts - real_budgets(_complexity(found, 20), found.sizes, k)).max() < 1 + 1e-9
    left = np.setdiff1d(np.arange(120), chosen)
    for j in range(9):
        kept, lost = chosen[found.labels[chosen] == j], left[found.labels[left] == j]
        assert not len(kept) or not len(lost) or found.distance[kept].min() >= found.distance[lost].max()


def test_first_choices_come_before_second_choices_the_hardest_first() -> None:
    x = data()
    found = kmeans(x, 9)
    chosen = dbp(x, 60, clusters=found)
    count = np.zeros(9, dtype=int)
    order = []
    for row in chosen:
        order.append((count[found.labels[row]], -found.distance[row]))
        count[found.labels[row]] += 1
    assert order == sorted(order)


def test_the_order_of_the_rows_and_the_numbers_of_the_clusters_do_not_matter() -> None:
    x, keys = data(), Keys(3, "test", 120)
    x[60:] = x[:60]  # every vector twice, so that there are ties
    found = kmeans(x, 30, keys=keys)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        perm, names = rng.permutation(120), rng.permutation(30)
        centroids = np.empty_like(found.centroids)
        centroids[names] = found.centroids
        moved = Clusters(centroids, names[found.labels[perm]].astype(np.int32), found.distance[perm], True)
        for k in (10, 31, 77):
            expected = dbp(x, k, clusters=found, keys=keys)
            got = dbp(x[perm], k, clusters=moved, keys=Keys(3, "test", 120, perm))
            assert perm[got].tolist() == expected.tolist()


def test_equal_clusters_are_not_told_apart_by_their_numbers() -> None:
    x = np.repeat(np.eye(40, dtype=np.float32), 2, axis=0)
    found = Clusters(np.eye(40, dtype=np.float32), np.arange(80) // 2, np.zeros(80, dtype=np.float32), True)
    chosen = [dbp(x, 20, clusters=found, keys=Keys(s, "test", 80)) // 2 for s in range(200)]
    share = np.bincount(np.concatenate(chosen), minlength=40) / 200
    assert share.min() > 0.3 and share.max() < 0.7


def test_duplicates_singletons_one_dimension_one_example() -> None:
    assert dbp(np.ones((1, 1)), 1).tolist() == [0]
    copies = np.ones((50, 3), dtype=np.float32)
    assert sorted(dbp(copies, 50, clusters=1).tolist()) == list(range(50))
    assert len(set(dbp(copies, 20).tolist())) == 20  # all centroids are the same: all complexities are 0
    line = np.linspace(-1, 1, 40)[:, None]
    assert len(set(dbp(line, 15, clusters=2).tolist())) == 15
    singles = data(30)
    assert len(set(dbp(singles, 11, clusters=30).tolist())) == 11


def test_ties_go_by_key() -> None:
    x, keys = np.ones((200, 3)), Keys(5, "test", 200)
    chosen = dbp(x, 50, clusters=1, keys=keys)
    assert chosen.tolist() == np.argsort(keys.draw())[:50].tolist()


def test_other_rows_read_at_once_and_other_kinds_of_numbers(tmp_path: Any) -> None:
    x = data()
    np.save(tmp_path / "x.npy", x)
    assert dbp(np.load(tmp_path / "x.npy", mmap_mode="r"), 40).tolist() == dbp(x, 40).tolist()
    assert dbp(x.tolist(), 40).tolist() == dbp(x, 40).tolist()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k=0 of 120"), ({"k": 121}, "k=121 of 120"),
        ({"clusters": 0}, "clusters=0 of 120"), ({"clusters": 121}, "clusters=121 of 120"),
        ({"clusters": 2.0}, "clusters=2.0"), ({"clusters": True}, "clusters=True"),
        ({"clusters": kmeans(data(30), 3)}, "clusters of 30 vectors with . numbers, and 120 embeddings"),
        ({"neighbours": 0}, "neighbours=0"), ({"neighbours": 2.0}, "neighbours=2.0"),
        ({"temperature": -1}, "temperature=-1"), ({"min_per_cluster": 9}, "min_per_cluster=9"),
        ({"prefer": "hard"}, "prefer='hard'"),
        ({"hardness": np.zeros(119)}, "119 values of hardness for 120 examples"),
        ({"hardness": np.full(120, np.nan)}, "hardness is NaN"),
        ({"keys": Keys(0, "test", 119)}, "keys for 119 rows and 120 examples"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        dbp(data(), **{"k": 30, **options})


def test_vectors_without_direction_are_named() -> None:
    x = data()
    x[7] = 0
    with pytest.raises(BadVector, match="row 7 is all zeros"):
        dbp(x, 30)
    x[7, 2] = np.nan
    with pytest.raises(BadVector, match="row 7 is not finite"):
        dbp(x, 30)


def test_it_keeps_the_contract_with_other_parameters_too() -> None:
    check_selector(SPEC, examples=[{"clusters": 4}])
