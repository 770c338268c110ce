"""Wrong labels: flipped exactly as asked, and found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datadiet.errors import OptionError
from datadiet.evaluate import flip_labels, mislabel_auc, recall_at, recall_curve


def test_golden_area_under_the_curve() -> None:
    # Flipped: 5 and 2; others: 2, 1, 0. Pairs won: 5 beats three; 2 ties with 2 (one half) and beats two: 5.5 of 6.
    hardness, flipped = np.array([5.0, 2.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False, False])
    assert mislabel_auc(hardness, flipped) == pytest.approx(5.5 / 6)
    assert mislabel_auc(-hardness, flipped) == pytest.approx(0.5 / 6)
    assert mislabel_auc(np.zeros(5), flipped) == 0.5


def test_golden_recall() -> None:
    # From the hardest: positions 2 (flipped), 0, 3 (flipped), 1, 4.
    hardness, flipped = np.array([8.0, 3.0, 9.0, 5.0, 1.0]), np.array([False, False, True, True, False])
    assert recall_curve(hardness, flipped).tolist() == [0.5, 0.5, 1.0, 1.0, 1.0]
    assert [recall_at(hardness, flipped, k) for k in (0.2, "20%", 1, 3)] == [0.5, 0.5, 0.5, 1.0]


HARDNESS = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=30)


@settings(max_examples=100, deadline=None)
@given(HARDNESS, st.sampled_from([np.float32, np.float64, np.int64]))
def test_oracle_all_pairs(pairs: list[tuple[int, bool]], as_type: type) -> None:
    hardness, flipped = np.array([h for h, _ in pairs], dtype=as_type), np.array([f for _, f in pairs])
    if flipped.all() or not flipped.any():
        return
    won = [(a > b) + (a == b) / 2 for a in hardness[flipped] for b in hardness[~flipped]]
    assert mislabel_auc(hardness, flipped) == pytest.approx(float(np.mean(won)))
    curve = recall_curve(hardness, flipped, seed=4)
    assert curve.tolist() == [recall_at(hardness, flipped, k, seed=4) for k in range(1, len(flipped) + 1)]
    assert curve[-1] == 1 and (np.diff(curve) >= 0).all()


def test_infinite_hardness_is_ranked() -> None:
    assert mislabel_auc(np.array([np.inf, -np.inf, 0.0]), np.array([True, False, False])) == 1.0


def test_ties_at_the_cut_are_drawn_and_not_taken_by_position() -> None:
    flipped = np.arange(1000) < 100  # all at the front
    found = [recall_at(np.zeros(1000), flipped, 0.2, seed=seed) for seed in range(50)]
    # 200 of 1000 without order: each recall is 0.2 ± .04 by chance
    assert np.mean(found) == pytest.approx(0.2, abs=0.02) and len(set(found)) > 5


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.integers(2, 12), st.floats(0.01, 1.0), st.integers(0, 99))
def test_exactly_the_asked_labels_move_always_to_another_class(n: int, classes: int, share: float, seed: int) -> None:
    labels = np.arange(n) % classes
    k = int(np.floor(share * n + 0.5))
    if abs(share * n + 0.5 - round(share * n + 0.5)) < 1e-9 or k == 0:
        return  # a tie of rounding is decided on decimals, see below
    noisy, flipped = flip_labels(labels, share, classes, seed)
    assert flipped.sum() == k and flipped.dtype == bool and noisy.dtype == np.int64
    assert ((noisy != labels) == flipped).all() and noisy.min() >= 0 and noisy.max() < classes
    again = flip_labels(labels, share, classes, seed)
    assert (again[0] == noisy).all() and (again[1] == flipped).all()


def test_halves_are_rounded_up_on_decimals() -> None:
    assert flip_labels(np.zeros(15, dtype=int), 0.1, 2)[1].sum() == 2  # 1.5


def test_a_smaller_fraction_flips_some_of_what_a_larger_one_does() -> None:
    labels = np.arange(500) % 10
    (few, some), (many, more) = flip_labels(labels, 0.1, 10, 3), flip_labels(labels, 0.4, 10, 3)
    assert (some <= more).all() and (few[some] == many[some]).all()
    assert (flip_labels(labels, 0.1, 10, 4)[1] != some).any()


def test_all_other_classes_are_equally_likely() -> None:
    noisy, _ = flip_labels(np.zeros(9000, dtype=np.int64), 1.0, 10)
    counts = np.bincount(noisy, minlength=10)
    assert counts[0] == 0 and (abs(counts[1:] - 1000) < 150).all()  # five standard deviations of about 30


def test_what_cannot_be_used_is_refused() -> None:
    values, wrong = np.arange(4.0), np.array([True, False, False, False])
    with pytest.raises(OptionError, match="no label is flipped"):
        recall_at(values, np.zeros(4, dtype=bool))
    with pytest.raises(OptionError, match="no label is flipped"):
        recall_curve(np.array([]), np.array([], dtype=bool))
    with pytest.raises(OptionError, match=r"hardness has shape \(2, 2\)"):
        mislabel_auc(np.ones((2, 2)), np.eye(2, dtype=bool))
    with pytest.raises(OptionError, match="all 4 labels are flipped"):
        mislabel_auc(values, ~np.zeros(4, dtype=bool))
    with pytest.raises(OptionError, match=r"flipped is int64 of shape \(4,\)"):
        mislabel_auc(values, wrong.astype(np.int64))
    with pytest.raises(OptionError, match="NaN for 1 of 4"):
        recall_curve(np.array([0, 1, np.nan, 2]), wrong)
    with pytest.raises(OptionError, match=r"inspected=0.05 of 4 examples: give a fraction"):
        recall_at(values, wrong, 0.05)
    with pytest.raises(OptionError, match=r"fraction=0.0 of 3 examples"):
        flip_labels(np.arange(3), 0, 3)
    with pytest.raises(OptionError, match="labels from 0 to 3 and classes=3"):
        flip_labels(np.arange(4), 0.5, 3)
    with pytest.raises(OptionError, match="at least 2 classes"):
        flip_labels(np.zeros(4, dtype=int), 0.5, 1)
    with pytest.raises(OptionError, match="labels is float64"):
        flip_labels(values, 0.5, 4)
