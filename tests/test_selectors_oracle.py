"""Selectors against slow restatements of their papers and exact probabilities."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations, permutations
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datadiet.randomness import Keys
from datadiet.selectors import band, beta, ccs, class_quota, random, top_k


def ccs_strata(*arguments, **options):
    return ccs.explain(*arguments, **options).stratum


SEEDS = 3000


def chosen_by_seed(choose, seeds: int = SEEDS) -> list[tuple[int, ...]]:
    return [tuple(choose(seed).tolist()) for seed in range(seeds)]


def assert_frequencies(found: list[tuple[int, ...]], probabilities: dict[tuple[int, ...], float]) -> None:
    counts = Counter(found)
    assert set(counts) <= set(probabilities)
    expected = [len(found) * p for p in probabilities.values()]
    assert stats.chisquare([counts[outcome] for outcome in probabilities], expected).pvalue > 1e-3


@settings(max_examples=100, deadline=None)
@given(data=st.data(), n=st.integers(1, 30), as_type=st.sampled_from([np.float32, np.float64]))
def test_top_k_and_band_are_slices_of_the_sorted_examples(data: st.DataObject, n: int, as_type: type) -> None:
    values = np.array(data.draw(st.lists(st.integers(-5, 5), min_size=n, max_size=n)), dtype=as_type)
    k, keys = data.draw(st.integers(1, n)), Keys(data.draw(st.integers(0, 99)), "t", n)
    draws = keys.draw()
    hardest = sorted(range(n), key=lambda i: (-values[i], draws[i]))
    assert top_k(values, k, prefer="hardest", keys=keys).tolist() == hardest[:k]
    assert (
        top_k(values, k, prefer="easiest", keys=keys).tolist()
        == sorted(range(n), key=lambda i: (values[i], draws[i]))[:k]
    )
    skip = data.draw(st.integers(0, n - k))
    assert band(values, k, skip=skip, keys=keys).tolist() == hardest[skip : skip + k]
    assert band(values, k, keys=keys).tolist() == hardest[(n - k) // 2 : (n - k) // 2 + k]


def slow_strata(hardness: list, cutoff: list, dropped: int, strata: int) -> list[int]:
    """Algorithm 1, steps 1 and 2, in exact arithmetic; the cutoff scores are distinct."""
    n = len(hardness)
    gone = sorted(range(n), key=lambda i: cutoff[i], reverse=True)[:dropped]
    rest = [Fraction(hardness[i]) for i in range(n) if i not in gone]
    low, width = min(rest), max(rest) - min(rest)
    out = []
    for i in range(n):
        place = floor((Fraction(hardness[i]) - low) * strata / width) if width else 0
        out.append(0 if i in gone else min(place, strata - 1) + 1)
    return out


@settings(max_examples=150, deadline=None)
@given(data=st.data(), n=st.integers(2, 40), power=st.integers(0, 5))
def test_strata_of_negative_and_tied_scores(data: st.DataObject, n: int, power: int) -> None:
    # Both ends of -16..0 are kept, so that edges are sums of powers of two and rounding decides nothing.
    hardness = [-16, 0, *data.draw(st.lists(st.integers(-16, 0), min_size=n - 2, max_size=n - 2))]
    cutoff = [-2, -1, *data.draw(st.permutations(range(n - 2)))]
    dropped = data.draw(st.integers(0, n - 2))
    got = ccs_strata(np.array(hardness, dtype=np.float32), 1, cutoff_scores=np.array(cutoff, dtype=np.float32),
                     beta=dropped / n, strata=2**power)  # fmt: skip
    assert got.tolist() == slow_strata(hardness, cutoff, dropped, 2**power)


@pytest.mark.parametrize(("strata", "beta_"), [(1, 0.0), (7, 0.1), (50, 0.3)])
def test_strata_of_any_scores(strata: int, beta_: float) -> None:
    rng = np.random.default_rng(0)
    hardness, cutoff = rng.normal(-3, 2, 500), rng.random(500)
    got = ccs_strata(hardness, 5, cutoff_scores=cutoff, beta=beta_, strata=strata)
    assert got.tolist() == slow_strata(hardness.tolist(), cutoff.tolist(), round(beta_ * 500), strata)
    assert (
        ccs_strata(-cutoff, 5, beta=beta_, strata=strata).tolist()
        == ccs_strata(-cutoff, 5, cutoff_scores=-cutoff, beta=beta_, strata=strata).tolist()
    )


@pytest.mark.parametrize("k", [1, 30, 120, 349])
def test_ccs_keeps_from_each_stratum_what_the_budget_rule_gives(k: int) -> None:
    hardness = np.random.default_rng(1).exponential(1, 500)
    stratum = ccs_strata(hardness, k, beta=0.3)
    sizes, left = np.bincount(stratum, minlength=51)[1:], k
    expected = np.zeros(50, dtype=int)
    for place, s in enumerate(np.lexsort((np.arange(50), sizes))):
        expected[s] = min(sizes[s], left // (50 - place))
        left -= expected[s]
    chosen = ccs(hardness, k, beta=0.3)
    assert np.bincount(stratum[chosen], minlength=51).tolist() == [0, *expected]
    assert (np.diff(stratum[chosen]) <= 0).all()


def test_ccs_draws_uniformly_within_a_stratum() -> None:
    hardness = np.array([0.0, 0.01, 0.02, 0.03, 1.0])
    found = chosen_by_seed(lambda seed: ccs(hardness, 3, beta=0.0, strata=2, keys=Keys(seed, "ccs", 5)))
    assert_frequencies(found, {(4, *pair): 1 / 12 for pair in permutations(range(4), 2)})


def exact_order_probabilities(weight: np.ndarray, k: int) -> dict[tuple[int, ...], float]:
    """Drawing one after the other without replacement, each time proportional to the weights that are left."""
    out = {}
    for order in permutations(range(len(weight)), k):
        left, p = weight.sum(), 1.0
        for i in order:
            p, left = p * weight[i] / left, left - weight[i]
        out[order] = p
    return out


@pytest.mark.parametrize("k", [1, 2])
def test_beta_draws_like_one_after_the_other_with_the_density_times_the_score(k: int) -> None:
    score, p = np.array([0.2, 0.5, 0.3]), np.array([0.3, 0.45, 0.7])
    b = 15 * (1 - p.mean()) * (1 - (1 - k / 3) ** 2)
    weight = stats.beta.pdf(p, 16 - b, b) * score
    found = chosen_by_seed(lambda seed: beta(score, k, p_mean=p, c=2.0, keys=Keys(seed, "beta", 3)))
    assert_frequencies(found, exact_order_probabilities(weight, k))


def test_beta_with_a_density_below_one_at_the_edge_draws_as_scipy_says() -> None:
    # mu = .96 gives b = .58 < 1: the density grows without bound towards p = 1, and is largest at the last example.
    score, p = np.array([0.2, 0.5, 0.3, 0.4]), np.array([0.93, 0.95, 0.97, 0.99])
    b = 15 * (1 - p.mean()) * (1 - 0.5**4)
    assert b < 1
    weight = stats.beta.pdf(p, 16 - b, b) * score
    found = chosen_by_seed(lambda seed: beta(score, 2, p_mean=p, keys=Keys(seed, "edge", 4)))
    assert_frequencies(found, exact_order_probabilities(weight, 2))


def test_beta_weighs_also_what_float64_rounds_to_zero() -> None:
    # Ten examples with p = .5 come first; a - 1 = 7.5, so that the other two have densities of about 1e-450, as 1 to 3.
    a = 16 - 15 * 0.5 * (1 - (1 / 12) ** 4)
    p = np.array([0.5] * 10 + [1e-60, 1e-60 * 3 ** (1 / (a - 1))])
    assert stats.beta.pdf(p[-1], a, 16 - a) == 0
    score = np.array([1.0] * 10 + [0.5] * 2)
    found = [c[-1:] for c in chosen_by_seed(lambda seed: beta(score, 11, p_mean=p, keys=Keys(seed, "tiny", 12)))]
    assert_frequencies(found, {(10,): 0.25, (11,): 0.75})


def test_random_draws_every_subset_equally_often() -> None:
    found = [tuple(sorted(c)) for c in chosen_by_seed(lambda seed: random(5, 2, keys=Keys(seed, "r", 5)))]
    assert_frequencies(found, dict.fromkeys(combinations(range(5), 2), 0.1))


def test_class_quota_draws_every_member_of_a_class_equally_often() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 1])
    found = chosen_by_seed(lambda seed: class_quota(labels, 2, recall=[0.5, 0.5], keys=Keys(seed, "q", 7)))
    assert_frequencies([tuple(sorted(c)) for c in found], {(i, j): 1 / 12 for i in range(3) for j in range(3, 7)})


def test_random_within_classes_draws_every_member_equally_often() -> None:
    labels = np.array([0, 1, 0, 1, 0, 1, 1])
    found = chosen_by_seed(lambda seed: random(7, 2, labels=labels, keys=Keys(seed, "c", 7)))
    assert_frequencies(found, {(i, j): 1 / 12 for i in (0, 2, 4) for j in (1, 3, 5, 6)})


def test_rng_and_keys_draw_from_the_same_distribution() -> None:
    found = chosen_by_seed(lambda seed: random(4, 1, rng=np.random.default_rng(seed)))
    assert_frequencies(found, {(i,): 0.25 for i in range(4)})
