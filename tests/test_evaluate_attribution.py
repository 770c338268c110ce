"""Attribution against retraining: correlations, the linear datamodelling score and its noise ceiling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from datadiet.errors import OptionError
from datadiet.evaluate import OverQueries, lds, leave_one_out_correlation, noise_ceiling
from datadiet.evaluate.ranks import average_ranks, constant, correlation

# Subsets {0,1}, {0,2}, {1,2}, {0,3}
MASKS = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]], dtype=bool)


def synthetic(subsets: int, n: int, m: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Attributions, the outputs of the linear model they describe (per query of variance 1), and masks of n/2 each."""
    rng = np.random.default_rng(seed)
    masks = rng.permuted(np.tile(np.arange(n) < n // 2, (subsets, 1)), axis=1)
    tau = rng.normal(size=(m, n))
    return tau, stats.zscore(masks @ tau.T), masks


def test_golden_leave_one_out() -> None:
    # Centred (-1, 0, 1) and (-1, -1, 2): 3 / sqrt(2 * 6) = .866025. Ranks 1 2 3 and 1.5 1.5 3, centred (-.5, -.5, 1):
    # 1.5 / sqrt(2 * 1.5) = .866025 again.
    found = leave_one_out_correlation(np.array([1.0, 2.0, 3.0]), np.array([4.0, 4.0, 7.0]))
    assert found == pytest.approx({"pearson": 0.75**0.5, "spearman": 0.75**0.5})


def test_golden_lds_by_hand() -> None:
    # tau = (4, 3, 1, 0): the subsets are predicted 7, 5, 4, 4, ranks 4 3 1.5 1.5. The outputs 9, 7, 8, 1 have ranks
    # 4 2 3 1. Centred: (1.5, .5, -1, -1) and (1.5, -.5, .5, -1.5): 3.0 / sqrt(4.5 * 5) = .632456
    found = lds(np.array([4.0, 3.0, 1.0, 0.0]), np.array([9.0, 7.0, 8.0, 1.0]), MASKS)
    assert found.per_query == pytest.approx([3 / 22.5**0.5]) and found.queries.tolist() == [0]
    assert found.interval is None


def test_golden_interval_of_the_mean() -> None:
    # mean .5, sample standard deviation sqrt(.5), over sqrt 2 queries: .5; 1.96 * .5 = .98
    found = OverQueries(np.array([0.0, 1.0]), np.arange(2))
    assert found.mean == 0.5 and found.interval == pytest.approx((-0.48, 1.48))


def test_golden_ceiling_by_hand() -> None:
    # r = .5: sqrt(1 / 1.5) = .816497. r = -.5: the same with its sign, so that the two average to 0.
    a = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
    b = np.array([[1.0, 3.0], [3.0, 1.0], [2.0, 2.0]])
    found = noise_ceiling(a, b)
    assert found.agreement.per_query == pytest.approx([0.5, -0.5])
    assert found.ceiling.per_query == pytest.approx([(2 / 3) ** 0.5, -((2 / 3) ** 0.5)])
    assert found.ceiling.mean == pytest.approx(0)


def test_the_true_linear_model_scores_1_its_negation_minus_1_and_a_shuffled_one_about_0() -> None:
    tau, outputs, masks = synthetic(subsets=200, n=60, m=100)
    assert lds(tau, outputs, masks).per_query == pytest.approx(np.ones(100), abs=1e-9)
    assert lds(-tau, outputs, masks).per_query == pytest.approx(-np.ones(100), abs=1e-9)
    assert lds(-tau, np.exp(-outputs), masks, higher_is="worse").mean == pytest.approx(-1)
    assert lds(tau, np.exp(-outputs), masks, higher_is="worse").mean == pytest.approx(1)
    shuffled = lds(np.random.default_rng(1).permuted(tau, axis=1), outputs, masks)
    # The shuffled attribution correlates with the true one by 0 ± 1 / sqrt 60 per query: 0 ± .013 in the mean.
    assert abs(shuffled.mean) < 0.05 and shuffled.interval[0] < 0 < shuffled.interval[1]


@pytest.mark.parametrize("noise", [0.3, 1.0, 3.0])
def test_the_ceiling_is_what_the_true_attribution_reaches_on_noisy_outputs(noise: float) -> None:
    tau, signal, masks = synthetic(subsets=300, n=60, m=300)
    rng = np.random.default_rng(2)
    a, b = (signal + noise * rng.normal(size=signal.shape) for _ in range(2))
    reached = lds(tau, (a + b) / 2, masks).mean
    found = noise_ceiling(a, b)
    # Pearson's r of the halves is 1 / (1 + noise^2), of the mean with the signal 1 / sqrt(1 + noise^2 / 2); Spearman's
    # coefficient of two normal variables is 6 / pi asin(rho / 2).
    spearman = lambda rho: 6 / np.pi * np.arcsin(rho / 2)  # noqa: E731
    assert found.agreement.mean == pytest.approx(spearman(1 / (1 + noise**2)), abs=0.015)
    assert reached == pytest.approx(spearman(1 / (1 + noise**2 / 2) ** 0.5), abs=0.015)
    assert found.ceiling.mean == pytest.approx(reached, abs=0.025)


def test_the_ceiling_of_pure_noise_is_about_0() -> None:
    rng = np.random.default_rng(3)
    found = noise_ceiling(rng.normal(size=(100, 400)), rng.normal(size=(100, 400))).ceiling
    assert found.interval[0] < 0 < found.interval[1] and abs(found.mean) < 0.06


def test_the_formula_of_the_ceiling_is_as_exact_for_rank_correlations_as_its_docstring_says() -> None:
    spearman = lambda rho: 6 / np.pi * np.arcsin(rho / 2)  # noqa: E731
    rho = np.linspace(0.001, 1, 1000)
    r = spearman(rho)
    excess = np.sqrt(2 * r / (1 + r)) - spearman(np.sqrt(2 * rho / (1 + rho)))
    assert excess.min() > -1e-12 and excess.max() < 0.008


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-4, 4), st.integers(-4, 4)), min_size=3, max_size=20))
def test_oracle_correlations_with_ties_match_scipy(pairs: list[tuple[int, int]]) -> None:
    a, b = np.array(pairs, dtype=np.float64).T
    if constant(a) or constant(b):
        return
    assert average_ranks(a).tolist() == stats.rankdata(a).tolist()
    found = leave_one_out_correlation(a, b)
    assert found["pearson"] == pytest.approx(stats.pearsonr(a, b)[0], abs=1e-12)
    assert found["spearman"] == pytest.approx(stats.spearmanr(a, b)[0], abs=1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e160, 4e307])
def test_correlations_of_tiny_and_huge_values_keep_their_digits(scale: float) -> None:
    a, b = np.array([1.0, 2.0, 4.0]), np.array([1.0, 3.0, 4.0])
    assert correlation(a * scale, b) == pytest.approx(float(correlation(a, b)), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6))
def test_order_of_queries_subsets_and_examples_and_the_scale_do_not_matter(seed: int) -> None:
    tau, outputs, masks = synthetic(subsets=12, n=8, m=3, seed=seed)
    rng = np.random.default_rng(seed)
    outputs = outputs + rng.normal(size=outputs.shape)
    base = lds(tau, outputs, masks).per_query
    s, q, e = rng.permutation(12), rng.permutation(3), rng.permutation(8)
    moved = lds(7 * tau[q][:, e], np.exp(outputs[s][:, q]), masks[s][:, e]).per_query
    assert moved == pytest.approx(base[q], abs=1e-12)


def test_equal_sums_are_ties_whatever_the_rounding() -> None:
    rng = np.random.default_rng(0)
    masks, outputs = rng.random((40, 12)) < 0.5, rng.normal(size=40)
    tenths = rng.integers(-3, 4, 12)
    expected = stats.spearmanr(masks @ tenths, outputs)[0]
    assert len(np.unique(masks @ (tenths / 10))) > len(np.unique(masks @ tenths))  # .1 + .2 is not .3
    for scale in (0.1, 1e-310, 1e300):
        assert lds(tenths * scale, outputs, masks).mean == pytest.approx(expected, abs=1e-12)


def test_one_query_may_leave_its_axis_out() -> None:
    tau, outputs, masks = synthetic(subsets=20, n=10, m=1)
    outputs = outputs + np.random.default_rng(0).normal(size=outputs.shape)
    assert lds(tau[0], outputs[:, 0], masks).mean == lds(tau, outputs, masks).mean


def test_constant_queries_are_named_or_left_out() -> None:
    tau, outputs, masks = synthetic(subsets=20, n=10, m=4)
    tau[1] = 0.1 + 1e-16 * np.arange(10)  # every subset of 5 sums to .5, apart from rounding
    outputs[:, 3] = 2.0
    with pytest.raises(OptionError, match=r"in 2 of 4 queries, the first query 1.*constant_queries='exclude'"):
        lds(tau, outputs, masks)
    found = lds(tau, outputs, masks, constant_queries="exclude")
    assert found.queries.tolist() == [0, 2] and found.per_query == pytest.approx([1, 1])
    for halves in ((outputs, outputs), (outputs, outputs + masks[:, :4]), (outputs + masks[:, :4], outputs)):
        with pytest.raises(OptionError, match="in 1 of 4 queries, the first query 3"):
            noise_ceiling(*halves)
    assert noise_ceiling(outputs, outputs, constant_queries="exclude").ceiling.queries.tolist() == [0, 1, 2]
    with pytest.raises(OptionError, match="in 1 of 1 queries"):
        lds(tau[1], outputs[:, 0], masks, constant_queries="exclude")


def test_what_cannot_be_used_is_refused() -> None:
    tau, outputs, masks = synthetic(subsets=20, n=10, m=4)
    with pytest.raises(OptionError, match=r"masks of int64 of shape \(20, 10\) do not fit"):
        lds(tau, outputs, masks.astype(np.int64))
    with pytest.raises(OptionError, match=r"attributions of shape \(10,\).*do not fit"):
        lds(tau[0], outputs, masks)
    with pytest.raises(OptionError, match="at least 3"):
        lds(tau, outputs[:2], masks[:2])
    with pytest.raises(OptionError, match="higher_is='low'"):
        lds(tau, outputs, masks, higher_is="low")
    with pytest.raises(OptionError, match="constant_queries='drop'"):
        lds(tau, outputs, masks, constant_queries="drop")
    outputs[5, 2] = np.inf
    with pytest.raises(OptionError, match=r"outputs is NaN or infinite in 1 places, the first at 5, 2"):
        lds(tau, outputs, masks)
    with pytest.raises(OptionError, match=r"\(20, 4\) and outputs_b \(20, 3\)"):
        noise_ceiling(np.ones((20, 4)), np.ones((20, 3)))
    with pytest.raises(OptionError, match=r"predicted is 1.0 for every example"):
        leave_one_out_correlation(np.ones(5), np.arange(5))
    with pytest.raises(OptionError, match="predicted has 5 entries and actual 4"):
        leave_one_out_correlation(np.arange(5), np.arange(4))
    with pytest.raises(OptionError, match="at least 3"):
        leave_one_out_correlation(np.arange(2), np.arange(2))
    with pytest.raises(OptionError, match="predicted is an array of"):
        leave_one_out_correlation(np.array(["a", "b", "c"]), np.arange(3))
