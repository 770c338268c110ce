"""Budgets: what `keep` and `prune` mean, and how a whole is shared out in whole numbers."""

from __future__ import annotations

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.selectors.budget import allocate, parse_keep, parse_prune, project


@pytest.mark.parametrize(
    ("keep", "n", "k"),
    [
        (1, 10, 1), (10, 10, 10), (np.int64(3), 10, 3),  # counts
        (1.0, 10, 10), (0.3, 10, 3), (np.float64(0.3), 10, 3),  # fractions
        (0.25, 10, 3), (0.35, 10, 4), (0.45, 10, 5),  # 2.5, 3.5 and 4.5: half up, not half to even
        (0.29, 100, 29), (0.145, 1000, 145), (0.07, 100, 7),  # 0.29 * 100 = 28.999999999999996 in binary
        ("30%", 15, 5), ("12.5%", 20, 3), (" 100% ", 7, 7), ("0.3", 15, 5), (".5", 4, 2), ("1.0", 8, 8),
        ("3e-1", 10, 3),
        ("n=7", 15, 7), ("n=100", 100, 100), ("101", 500, 101), ("500", 500, 500),
    ],
)  # fmt: skip
def test_golden_keep(keep: object, n: int, k: int) -> None:
    assert parse_keep(keep, n) == k


@pytest.mark.parametrize(
    "keep",
    [0, -1, 11, 0.0, 1.5, -0.2, 0.04, float("nan"), float("inf"), True, None, [3], "", "half", "0%", "101%", "-5%",
     "n=0", "n=11", "n=2.5", "n=", "-3", "5000", "nan", "nan%", "inf", "-inf", "sNaN", "1e400", "%", "30 percent"],
)  # fmt: skip
def test_an_impossible_budget_is_refused_in_a_sentence(keep: object) -> None:
    with pytest.raises(OptionError, match="keep="):
        parse_keep(keep, 10)


@pytest.mark.parametrize("text", ["1", "30", "100"])
def test_a_bare_number_up_to_100_could_mean_either(text: str) -> None:
    with pytest.raises(OptionError, match=f"write {text}% or n={text}"):
        parse_keep(text, 1000)


@settings(max_examples=200, deadline=None)
@given(mills=st.integers(1, 1000), n=st.integers(1, 10**7))
def test_float_text_percentage_and_prune_agree_with_exact_arithmetic(mills: int, n: int) -> None:
    k = floor(Fraction(mills, 1000) * n + Fraction(1, 2))
    texts = [mills / 1000, f"{mills / 1000}", f"{mills / 10}%"]
    texts += [parse_prune(f"{(1000 - mills) / 10}%"), parse_prune(f"{(1000 - mills) / 1000}")]
    for keep in texts:
        if k:
            assert parse_keep(keep, n) == k, keep
        else:
            with pytest.raises(OptionError):
                parse_keep(keep, n)


@pytest.mark.parametrize(
    ("prune", "keep"),
    [("70%", "30%"), ("0.7", "30%"), ("12.5%", "87.5%"), ("0%", "100%"), ("0", "100%"), (" 90% ", "10%")],
)
def test_golden_prune(prune: str, keep: str) -> None:
    assert parse_prune(prune) == keep


@pytest.mark.parametrize("prune", ["100%", "1", "70", "500", "-1%", "", "much", "nan", "nan%", "inf", "sNaN"])
def test_a_share_that_cannot_be_removed_is_refused(prune: str) -> None:
    with pytest.raises(OptionError, match="prune="):
        parse_prune(prune)


@pytest.mark.parametrize(
    ("target", "k", "lower", "upper", "shares"),
    [
        # Water: the first gives its 2, the others 9 / 2 = 4.5 each; the odd one goes to the one with more to give.
        ([1, 1, 1], 11, 0, [2, 5, 9], [2, 4, 5]),
        # Largest remainders: floors 3, 2, 1 leave one over, and .5 is the largest remainder.
        ([3.5, 2.3, 1.2], 7, 0, None, [4, 2, 1]),
        # Targets that sum to 6 instead of 9 are all raised by 1, and by -2 to give 0 (and not -1) to the first.
        ([1, 2, 3], 9, 0, None, [2, 3, 4]),
        ([1, 3, 5], 4, 0, None, [0, 1, 3]),
        # Least shares of 2 leave 6 of the 10 to the third.
        ([0, 0, 10], 10, 2, None, [2, 2, 6]),
        # Equal remainders: the later entry, unless another has more to give.
        ([1, 1, 1], 4, 0, None, [1, 1, 2]),
        ([0.5, 0.5], 1, 0, [5, 3], [1, 0]),
        ([0.5, 0.5], 0, 0, None, [0, 0]),
        ([], 0, 0, None, []),
    ],
)  # fmt: skip
def test_golden_allocate(target: list, k: int, lower: int, upper: list | None, shares: list) -> None:
    got = allocate(np.array(target), k, lower=lower, upper=upper)
    assert got.tolist() == shares and got.dtype == np.int64


@pytest.mark.parametrize(("k", "lower", "upper"), [(3, 2, None), (9, 0, 4), (2, 3, 1)])
def test_a_share_out_that_bounds_forbid_is_refused(k: int, lower: int, upper: int | None) -> None:
    with pytest.raises(OptionError, match="cannot be shared out over 2 parts"):
        allocate(np.ones(2), k, lower=lower, upper=upper)


def ccs_bin_allocate(sizes: list[int], k: int) -> list[int]:
    """Smallest stratum first, each gets min(size, what is left // strata left)."""
    shares = [0] * len(sizes)
    for place, s in enumerate(sorted(range(len(sizes)), key=lambda s: (sizes[s], s))):
        shares[s] = min(sizes[s], k // (len(sizes) - place))
        k -= shares[s]
    return shares


@settings(max_examples=300, deadline=None)
@given(data=st.data(), sizes=st.lists(st.integers(0, 12), min_size=1, max_size=12))
def test_oracle_equal_targets_are_the_budget_rule_of_ccs(data: st.DataObject, sizes: list[int]) -> None:
    k = data.draw(st.integers(0, sum(sizes)))
    got = allocate(np.full(len(sizes), k / len(sizes)), k, upper=np.array(sizes))
    assert got.tolist() == ccs_bin_allocate(sizes, k)


def nearest_whole(target: list[float], k: int, lower: list[int], upper: list[int]) -> list[int]:
    """One unit after the other to whoever it costs least: the optimum of sum (x - target)^2."""
    x = list(lower)
    while sum(x) < k:
        costs = [2 * (x[i] - target[i]) + 1 if x[i] < upper[i] else np.inf for i in range(len(x))]
        x[int(np.argmin(costs))] += 1
    return x


@settings(max_examples=200, deadline=None)
@given(data=st.data(), m=st.integers(1, 7))
def test_oracle_allocate_is_as_near_to_the_target_as_whole_numbers_can_be(data: st.DataObject, m: int) -> None:
    target = data.draw(st.lists(st.floats(-20, 30), min_size=m, max_size=m))
    lower = data.draw(st.lists(st.integers(0, 5), min_size=m, max_size=m))
    upper = [low + data.draw(st.integers(0, 9)) for low in lower]
    k = data.draw(st.integers(sum(lower), sum(upper)))
    got = allocate(np.array(target), k, lower=np.array(lower), upper=np.array(upper))
    assert got.sum() == k and (got >= lower).all() and (got <= upper).all()
    best = np.array(nearest_whole(target, k, lower, upper))
    np.testing.assert_allclose(((got - target) ** 2).sum(), ((best - target) ** 2).sum(), atol=1e-6)


@settings(max_examples=300, deadline=None)
@given(data=st.data(), m=st.integers(1, 8), part=st.floats(0, 1))
def test_oracle_project_meets_the_optimality_conditions(data: st.DataObject, m: int, part: float) -> None:
    numbers = st.floats(-30, 30).map(lambda x: round(x, 2))
    target = np.array(data.draw(st.lists(numbers, min_size=m, max_size=m)))
    lower = np.array(data.draw(st.lists(numbers, min_size=m, max_size=m)))
    upper = lower + np.array(data.draw(st.lists(st.floats(0, 20), min_size=m, max_size=m)))
    total = float(lower.sum() + part * (upper.sum() - lower.sum()))
    x = project(target, total, lower, upper)
    assert abs(x.sum() - total) < 1e-8 and (x >= lower).all() and (x <= upper).all()
    # The gradient x - target is one number at free entries, no less at lower bounds and no more at upper bounds.
    gradient = x - target
    raised, lowered = gradient[x < upper - 1e-9], gradient[x > lower + 1e-9]
    assert not len(raised) or not len(lowered) or raised.min() >= lowered.max() - 1e-8


def test_oracle_project_agrees_with_bisection() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        target, lower = rng.normal(0, 10, 9), rng.uniform(-5, 0, 9)
        upper = lower + rng.uniform(0, 20, 9)
        total = rng.uniform(lower.sum(), upper.sum())
        low, high = -200.0, 200.0
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if np.clip(target - middle, lower, upper).sum() > total else (low, middle)
        np.testing.assert_allclose(project(target, total, lower, upper), np.clip(target - low, lower, upper), atol=1e-9)


@pytest.mark.parametrize("above", [False, True])
def test_a_total_that_rounding_moved_off_the_edge_still_gives_the_edge(above: bool) -> None:
    lower, upper = np.zeros(3), np.array([0.1, 0.2, 0.3])
    total = np.nextafter(upper.sum(), 9) if above else np.nextafter(0.0, -9)
    np.testing.assert_allclose(project(np.ones(3), total, lower, upper), upper if above else lower)
