"""The certificate of non-inferiority: by hand, against a slow restatement, and how often it is wrong."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from scipy import stats

from datadiet.errors import OptionError
from datadiet.evaluate.noninferiority import (
    LossInterval,
    LossSpread,
    loss_interval,
    loss_power,
    verdicts,
    worst_class_interval,
)

ALPHA = 0.05


def drawn(rng: np.random.Generator, shape: tuple[int, int], spread: LossSpread, loss: float = 0.0) -> np.ndarray:
    """A crossed design: losses of seeds and examples that are drawn independently."""
    seeds, examples = shape
    rows, columns = rng.standard_normal((seeds, 1)), rng.standard_normal((1, examples))
    return loss + spread.seeds * rows + spread.examples * columns + spread.both * rng.standard_normal(shape)


def slowly(losses: np.ndarray, alpha: float) -> float:
    """The upper limit from the sums of squares of the textbook, entry by entry."""
    seeds, examples = losses.shape
    mean, rows, columns = losses.mean(), losses.mean(1), losses.mean(0)
    of_seeds = sum(examples * (row - mean) ** 2 for row in rows) / (seeds - 1)
    of_examples = sum(seeds * (column - mean) ** 2 for column in columns) / (examples - 1)
    rest = sum((losses[s, i] - rows[s] - columns[i] + mean) ** 2 for s in range(seeds) for i in range(examples))
    both = rest / ((seeds - 1) * (examples - 1))
    total = max(of_seeds + of_examples - both, of_seeds)
    limits = [
        mean + stats.t.ppf(1 - alpha, seeds - 1) * sqrt(of_seeds / losses.size),
        mean + stats.t.ppf(1 - alpha, examples - 1) * sqrt(of_examples / losses.size),
    ]
    if total > 0:
        df = total**2 / (
            of_seeds**2 / (seeds - 1) + of_examples**2 / (examples - 1) + both**2 / ((seeds - 1) * (examples - 1))
        )
        limits.append(mean + stats.t.ppf(1 - alpha, max(df, seeds - 1)) * sqrt(total / losses.size))
    return float(max(limits))


def test_by_hand() -> None:
    # Seeds have means .5 and 0, examples .5, .5, 0 and 0; the mean is .25.
    # MS_seeds = 4 (.25² + .25²) = .5, MS_examples = 2 (4 x .25²) / 3 = 1/6.
    # What is left: ± .25 everywhere, so MS_interaction = 8 x .25² / 3 = 1/6.
    # V = (.5 + 1/6 - 1/6) / 8 = .0625, no more than that of the seeds alone: t with 1 degree of freedom, 6.3138.
    found = loss_interval(np.array([[1, 1, 0, 0], [0, 0, 0, 0]]), ALPHA)
    assert (found.mean, found.error, found.df) == (0.25, 0.25, 1.0)
    assert found.upper == pytest.approx(0.25 + 0.25 * 6.313752, abs=1e-6)
    assert found.lower == pytest.approx(0.25 - 0.25 * 6.313752, abs=1e-6)


def test_it_is_the_slow_restatement_and_the_order_of_seeds_and_examples_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    for shape in ((2, 2), (2, 9), (5, 7), (10, 30)):
        for _ in range(20):
            losses = rng.integers(-1, 2, shape)
            found = loss_interval(losses, ALPHA)
            assert found.upper == pytest.approx(slowly(losses, ALPHA), abs=1e-12)
            assert found.lower == pytest.approx(-loss_interval(-losses, ALPHA).upper, abs=1e-12)
            mixed = losses[rng.permutation(shape[0])][:, rng.permutation(shape[1])]
            assert loss_interval(mixed, ALPHA).upper == pytest.approx(found.upper, abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "spread"),
    [
        ((2, 40), LossSpread(0.1, 0.1, 0.3)),
        ((3, 200), LossSpread(0.03, 0.1, 0.3)),
        ((3, 60), LossSpread(0.0, 0.2, 0.2)),
        ((5, 60), LossSpread(0.02, 0.05, 0.3)),
        ((10, 60), LossSpread(0.01, 0.2, 0.3)),
    ],
)
@pytest.mark.parametrize("alpha", [0.05, 0.0167])
def test_a_limit_fails_no_more_often_than_alpha(shape: tuple[int, int], spread: LossSpread, alpha: float) -> None:
    rng, draws = np.random.default_rng(1), 2000
    found = [loss_interval(drawn(rng, shape, spread, 0.5), alpha) for _ in range(draws)]
    noise = 3 * sqrt(alpha / draws)  # the rates themselves are uncertain
    assert np.mean([one.upper < 0.5 for one in found]) < alpha + 0.005 + noise
    assert np.mean([one.lower > 0.5 for one in found]) < alpha + 0.005 + noise


@pytest.mark.parametrize(("shape", "accuracy"), [((2, 100), 0.95), ((2, 210), 0.8), ((5, 210), 0.95), ((10, 100), 0.8)])
@pytest.mark.parametrize("alpha", [0.05, 0.0167])
def test_of_right_and_wrong_answers_too(shape: tuple[int, int], accuracy: float, alpha: float) -> None:
    """Where the means of two seeds are often equal."""
    rng, draws, margin = np.random.default_rng(6), 2000, 0.03

    def correct(accuracy: float, difficulty: np.ndarray) -> np.ndarray:
        return sqrt(0.7) * difficulty + sqrt(0.3) * rng.standard_normal(shape) < stats.norm.ppf(accuracy)

    def wrong() -> bool:
        difficulty = rng.standard_normal((1, shape[1]))
        losses = correct(accuracy, difficulty) * 1.0 - correct(accuracy - margin, difficulty)
        return loss_interval(losses, alpha).upper < margin

    assert np.mean([wrong() for _ in range(draws)]) < alpha + 0.005 + 3 * sqrt(alpha / draws)


def test_no_method_is_wrongly_certified_more_often_than_alpha() -> None:
    """Three methods at three shares each, all of which lose exactly the margin: the worst case."""
    rng, comparisons, methods, wrong, blamed = np.random.default_rng(2), 1500, 3, 0, 0
    spread = LossSpread(0.02, 0.1, 0.3)
    for _ in range(comparisons):
        lost = [
            verdicts([loss_interval(drawn(rng, (5, 50), spread, 0.5), ALPHA / methods) for _ in range(3)], 0.5)
            for _ in range(methods)
        ]
        equal = [
            verdicts([loss_interval(drawn(rng, (5, 50), spread), ALPHA / methods) for _ in range(3)], 0.5)
            for _ in range(methods)
        ]
        wrong += any(one.within for method in lost for one in method)
        blamed += any(one.worse for method in equal for one in method)
    assert max(wrong, blamed) / comparisons < ALPHA + 0.01


def test_power_is_what_simulated_comparisons_give() -> None:
    rng, spread = np.random.default_rng(3), LossSpread(0.01, 0.1, 0.3)
    for seeds, margin in ((3, 0.06), (5, 0.04)):
        found = [loss_interval(drawn(rng, (seeds, 100), spread), ALPHA).upper < margin for _ in range(1500)]
        assert loss_power(margin, seeds, 100, spread) == pytest.approx(np.mean(found), abs=0.05)
    powers = [loss_power(0.02, seeds, 2000, LossSpread(0.01, 0.1, 0.3)) for seeds in (3, 5, 10)]
    assert powers == sorted(powers) and powers[-1] > 0.95
    assert loss_power(0.02, 5, 500, LossSpread(0.01, 0.1, 0.3)) < powers[1]
    assert (
        loss_power(0.02, 2, 10, LossSpread(0, 0, 0)) == 1
        and loss_power(0.02, 2, 10, LossSpread(0, 0, 0), loss=0.03) == 0
    )


def test_the_spread_of_losses_is_found_again() -> None:
    rng, true = np.random.default_rng(4), LossSpread(0.05, 0.2, 0.4)
    found = [LossSpread.of(drawn(rng, (20, 300), true)) for _ in range(20)]
    for name in ("seeds", "examples", "both"):
        assert np.mean([getattr(one, name) for one in found]) == pytest.approx(getattr(true, name), rel=0.1)


def test_the_worst_class_is_certified_if_every_class_is() -> None:
    rng, labels = np.random.default_rng(5), np.repeat([0, 1, 2], 50)
    losses = drawn(rng, (5, 150), LossSpread(0.01, 0.05, 0.2))
    losses[:, labels == 1] += 0.3
    found = worst_class_interval(losses, labels, ALPHA)
    each = [loss_interval(losses[:, labels == one], ALPHA) for one in range(3)]
    assert found.upper == max(one.upper for one in each) and found.mean == each[1].mean
    assert found.lower == loss_interval(losses[:, labels == 1], ALPHA / 3).lower > 0
    assert loss_interval(losses, ALPHA).upper < 0.2 < found.upper


def test_a_sequence_stops_at_its_first_failure() -> None:
    limits = [LossInterval(0, low, high, 1, 9) for low, high in ((1, 1.5), (-1, 3), (-1, 1), (1, 4), (1, 1.9))]
    assert [str(one) for one in verdicts(limits, 2)] == [
        "within the margin", "not shown", "not shown", "worse", "worse"
    ]  # fmt: skip
    assert [str(one) for one in verdicts(limits[-1:], 2)] == ["within the margin, and worse"]
    assert verdicts([], 2) == []


def test_identical_networks_lose_nothing() -> None:
    found = loss_interval(np.zeros((3, 10)))
    assert (found.lower, found.mean, found.upper) == (0, 0, 0)
    assert str(verdicts([found], 0.01)[0]) == "within the margin"


@pytest.mark.parametrize(
    ("losses", "alpha", "why"),
    [
        (np.zeros(4), 0.05, "losses"),
        (np.zeros((1, 4)), 0.05, "at least two of each"),
        (np.array([[0, np.nan], [0, 0]]), 0.05, "NaN"),
        (np.zeros((2, 2)), 0.5, "alpha"),
    ],
)
def test_what_is_refused(losses: np.ndarray, alpha: float, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        loss_interval(losses, alpha)
    with pytest.raises(OptionError, match="margin"):
        verdicts([], 0)
    with pytest.raises(OptionError, match="at least two"):
        worst_class_interval(np.zeros((2, 3)), np.array([0, 0, 1]))
    with pytest.raises(OptionError, match="labels"):
        worst_class_interval(np.zeros((2, 3)), np.array([0, 0]))
    with pytest.raises(OptionError, match="at least 2"):
        loss_power(0.1, 1, 10, LossSpread(0, 0, 0))
