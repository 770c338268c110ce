"""Dyn-Unc, DUAL, TDDS and cartography: spreads over presentations, in windows or over the whole run."""

from __future__ import annotations

from statistics import mean, pstdev, stdev

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers import cartography, dual, dyn_unc, tdds
from datadiet.scorers.dual import p_mean

RNG = np.random.default_rng(7)
P_TRUE = RNG.uniform(0, 1, (2, 12, 15))
SEEN = RNG.random((2, 12, 15)) < 0.75
SEEN[:, :6] = True


def presentations(signal: np.ndarray, seen: np.ndarray) -> list[list[list[float]]]:
    """Per example and run, what was presented, in order."""
    return [[signal[s, seen[s, :, i], i].tolist() for s in range(len(signal))] for i in range(signal.shape[2])]


def test_golden_dyn_unc_leaves_the_last_window_out() -> None:
    # p = 0, 1, 0, 0 with J = 2: std of (0, 1) and of (1, 0) = sqrt .5 each; the last window (0, 0) is not counted,
    # with it the mean would be 2/3 of that. p = 0, 0, 0, 1: windows (0, 0), (0, 0): 0, the last jump is not seen.
    p = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(dyn_unc(p, window=2), [0.5**0.5, 0.0], rtol=1e-6)


def test_golden_dual_counts_every_window() -> None:
    # p = 0, 1, 1 with J = 2: std sqrt .5 and mean .5 give .353553, then std 0: mean .176777. p_mean = 2/3.
    # p = 0, 0, 1: 0, then .353553: the same score, although harder on average (p_mean 1/3).
    p = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(dual(p, window=2), [0.1767767, 0.1767767], rtol=1e-6)
    np.testing.assert_allclose(p_mean(p), [2 / 3, 1 / 3], rtol=1e-6)


def test_golden_dual_weighs_uncertainty_by_difficulty() -> None:
    # (0, .4) and (.6, 1) have the same std .282843; difficulty 1 - .2 = .8 and 1 - .8 = .2: .226274 and .056569
    np.testing.assert_allclose(dual(np.array([[0.0, 0.6], [0.4, 1.0]]), window=2), [0.2262742, 0.0565685], rtol=1e-5)


def test_golden_tdds_weighs_the_last_window_most() -> None:
    # 4 epochs have 3 shifts; windows of J = 3 epochs have 2 shifts each, K = 2 windows.
    # shifts 0, 2, 2: D = ||(-1, 1)|| = sqrt 2 and 0: sqrt 2 * .9 * .1 + 0 * .9 = .127279
    # shifts 2, 2, 0: D = 0 and sqrt 2: sqrt 2 * .9 = 1.272792
    np.testing.assert_allclose(
        tdds(np.array([[0.0, 2.0], [2.0, 2.0], [2.0, 0.0]]), window=3), [0.1272792, 1.2727922], rtol=1e-6
    )


def test_golden_cartography() -> None:
    # p = .1, .5, .9: mean .5, population std sqrt((.16 + 0 + .16) / 3) = .326599; right once of three times
    # p = .2, .2, .2: mean .2, std 0; never right
    out = cartography(np.array([[0.1, 0.2], [0.5, 0.2], [0.9, 0.2]]), np.array([[0, 0], [0, 0], [1, 0]]))
    np.testing.assert_allclose(out["confidence"], [0.5, 0.2], rtol=1e-6)
    np.testing.assert_allclose(out["variability"], [0.3265986, 0.0], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(out["correctness"], [1 / 3, 0.0], rtol=1e-6)


@pytest.mark.parametrize("seen", [np.ones_like(SEEN), SEEN], ids=["all", "partial"])
@pytest.mark.parametrize("window", [2, 4])
def test_oracle_dyn_unc(seen: np.ndarray, window: int) -> None:
    expected = []
    for runs in presentations(P_TRUE, seen):
        scores = []
        for p in runs:
            scores.append(mean(stdev(p[k : k + window]) for k in range(len(p) - window)))
        expected.append(mean(scores))
    np.testing.assert_allclose(dyn_unc(P_TRUE, seen=seen, window=window), expected, rtol=1e-5)


@pytest.mark.parametrize("seen", [np.ones_like(SEEN), SEEN], ids=["all", "partial"])
@pytest.mark.parametrize("window", [2, 5])
def test_oracle_dual(seen: np.ndarray, window: int) -> None:
    expected, means = [], []
    for runs in presentations(P_TRUE, seen):
        scores = []
        for p in runs:
            parts = [p[k : k + window] for k in range(len(p) - window + 1)]
            scores.append(mean(stdev(part) * (1 - mean(part)) for part in parts))
        expected.append(mean(scores))
        means.append(mean(mean(p) for p in runs))
    np.testing.assert_allclose(dual(P_TRUE, seen=seen, window=window), expected, rtol=1e-5)
    np.testing.assert_allclose(p_mean(P_TRUE, seen=seen), means, rtol=1e-6)


@pytest.mark.parametrize(("window", "decay"), [(3, 0.9), (5, 0.9), (4, 0.3), (4, 1.0)])
def test_oracle_tdds_from_probabilities(window: int, decay: float) -> None:
    epochs, n, classes = 9, 6, 4
    p = np.random.default_rng(3).dirichlet(np.ones(classes), size=(epochs, n))
    shift, expected = np.zeros((epochs - 1, n)), []
    for i in range(n):
        for t in range(1, epochs):
            shift[t - 1, i] = sum(abs(p[t, i, c] * np.log(p[t, i, c] / p[t - 1, i, c])) for c in range(classes))
        score = 0.0
        for end in range(window, epochs + 1):
            moves = shift[end - window : end - 1, i].tolist()
            depth = sum((move - mean(moves)) ** 2 for move in moves) ** 0.5
            score += depth * decay * (1 - decay) ** (epochs - end)
        expected.append(score)
    np.testing.assert_allclose(tdds(shift, window=window, decay=decay), expected, rtol=1e-5)


@pytest.mark.parametrize("seen", [np.ones_like(SEEN), SEEN], ids=["all", "partial"])
def test_oracle_cartography(seen: np.ndarray) -> None:
    right = P_TRUE > 0.5
    out = cartography(P_TRUE, right, seen=seen)
    p, c = presentations(P_TRUE, seen), presentations(right, seen)
    np.testing.assert_allclose(out["confidence"], [mean(mean(run) for run in runs) for runs in p], rtol=1e-6)
    np.testing.assert_allclose(out["variability"], [mean(pstdev(run) for run in runs) for runs in p], rtol=1e-5)
    np.testing.assert_allclose(out["correctness"], [mean(mean(map(int, run)) for run in runs) for runs in c], rtol=1e-6)


def test_steady_easy_examples_keep_their_order() -> None:
    p = 1 - np.array([1e-6, 3e-6]) * np.array([[1.0], [2.0], [1.0], [2.0]])
    assert np.argsort(dyn_unc(p, window=2)).tolist() == [0, 1] and np.argsort(dual(p, window=2)).tolist() == [0, 1]


@pytest.mark.parametrize(("fn", "epochs"), [(dyn_unc, 11), (dual, 10)])
def test_the_fewest_epochs_that_are_enough(fn, epochs: int) -> None:
    p = RNG.uniform(0, 1, (1, epochs, 3))
    fn(p)
    with pytest.raises(OptionError, match=rf"-p {fn.__name__}\.window="):
        fn(p[:, 1:])


def test_the_proposed_window_works() -> None:
    p = RNG.uniform(0, 1, (1, 6, 3))
    with pytest.raises(OptionError, match=r"-p dyn_unc\.window=5\)"):
        dyn_unc(p)
    dyn_unc(p, window=5)


def test_one_example_with_too_few_presentations_is_enough_to_refuse() -> None:
    seen = np.ones((1, 12, 3), dtype=bool)
    seen[0, 9:, 1] = False
    with pytest.raises(OptionError, match="windows of 10 presentations and an example has only 9"):
        dual(P_TRUE[:1, :, :3], seen=seen)


def test_a_spread_of_one_presentation_is_refused() -> None:
    for fn in (dyn_unc, dual):
        with pytest.raises(OptionError, match="at least 2 presentations"):
            fn(P_TRUE, window=1)


@pytest.mark.parametrize(
    "options",
    [{"window": 2}, {"window": 14}, {"decay": 0.0}, {"decay": 1.1}, {"seen": SEEN}],
    ids=lambda o: next(iter(o)),
)
def test_tdds_refuses_what_it_cannot_compare(options: dict) -> None:
    with pytest.raises(OptionError, match="tdds"):
        tdds(P_TRUE, **options)


def test_cartography_refuses_signals_of_different_shapes() -> None:
    with pytest.raises(OptionError):
        cartography(np.zeros((3, 4)), np.zeros((3, 5)))
