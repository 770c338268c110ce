"""Overlap of selections, and of what two scores would keep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import datadiet as dd
from datadiet.errors import FingerprintMismatch, OptionError
from datadiet.evaluate import Overlap, overlap_between_scores, selection_overlap


def test_golden_sizes_may_differ() -> None:
    # A = {1, 2, 3, 4}, B = {4, 5}: one in both; a quarter of A, half of B; union of 5; a random B holds 2 of 10.
    a, b = np.array([4, 3, 2, 1]), np.array([5, 4])
    assert selection_overlap(a, b, n=10) == Overlap(1, 0.25, 0.2, 0.2)
    assert selection_overlap(b, a, n=10) == Overlap(1, 0.5, 0.2, 0.4)
    assert selection_overlap(a, b).chance is None


def test_golden_scores() -> None:
    # Hardest half of a: 0, 1; of b: 1, 2. Easiest half of a: 2, 3; of b: 0, 3.
    a, b = np.array([4.0, 3.0, 2.0, 1.0]), np.array([2.0, 4.0, 3.0, 1.0])
    assert overlap_between_scores(a, b, 0.5) == Overlap(1, 0.5, 1 / 3, 0.5)
    assert overlap_between_scores(a, b, 1) == Overlap(0, 0.0, 0.0, 0.25)
    assert overlap_between_scores(a, b, "50%", prefer="easiest").share == 0.5
    assert overlap_between_scores(a, np.exp(a), 0.5) == Overlap(2, 1.0, 1.0, 0.5)


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 30), min_size=1), st.sets(st.integers(0, 30), min_size=1))
def test_oracle_sets(a: set[int], b: set[int]) -> None:
    found = selection_overlap(np.array(sorted(a)), np.array(list(b)), n=31)
    assert found == Overlap(len(a & b), len(a & b) / len(a), len(a & b) / len(a | b), len(b) / 31)


def test_scores_that_rank_nothing_agree_by_chance() -> None:
    found = [overlap_between_scores(np.zeros(500), np.zeros(500), 0.2, seed=seed).share for seed in range(40)]
    assert np.mean(found) == pytest.approx(0.2, abs=0.03)  # 100 of 500: each .2 ± .035


def test_selections_know_what_they_were_chosen_from() -> None:
    scores = dd.Scores.from_arrays({"a": np.arange(40.0), "b": np.arange(40.0)[::-1]})
    hard, easy = (dd.select(scores, "top_k", keep=0.75, score=name, prefer="hardest") for name in "ab")
    assert selection_overlap(hard, easy) == Overlap(20, 2 / 3, 0.5, 0.75)
    assert selection_overlap(hard, np.arange(4)) == Overlap(0, 0.0, 0.0, 0.1)
    with pytest.raises(OptionError, match=r"n=50.*40 examples"):
        selection_overlap(hard, easy, n=50)
    with pytest.raises(OptionError, match="b holds position 40, which is not among the 40"):
        selection_overlap(hard, np.array([3, 40]))


def test_selections_of_other_data_are_refused() -> None:
    few = dd.select(np.arange(40.0), "top_k", keep=4, prefer="hardest")
    more = dd.select(np.arange(50.0), "top_k", keep=4, prefer="hardest")
    with pytest.raises((FingerprintMismatch, OptionError), match="40"):
        selection_overlap(few, more)


def test_selections_of_other_rows_of_the_same_data_are_refused() -> None:
    scores = dd.Scores.from_arrays({"a": np.arange(40.0)})
    few = replace(scores, index=scores.index[:30], columns={"a": scores["a"][:30]})
    chosen = [dd.select(rows, "top_k", keep=4, prefer="easiest") for rows in (scores, few)]
    assert chosen[0].indices.tolist() == chosen[1].indices.tolist()
    with pytest.raises(OptionError, match="a was selected from 40 examples and b from 30"):
        selection_overlap(*chosen)


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(OptionError, match="a holds a position twice"):
        selection_overlap(np.array([1, 1]), np.array([2]))
    with pytest.raises(OptionError, match=r"b is bool of shape \(3,\).*flatnonzero"):
        selection_overlap(np.array([1]), np.ones(3, dtype=bool))
    with pytest.raises(OptionError, match="a holds position 9, which is not among the 5"):
        selection_overlap(np.array([9]), np.array([2]), n=5)
    with pytest.raises(OptionError, match="has 3 examples and hardness_b 4"):
        overlap_between_scores(np.arange(3.0), np.arange(4.0), 1)
    with pytest.raises(OptionError, match="prefer='hard'"):
        overlap_between_scores(np.arange(3.0), np.arange(3.0), 1, prefer="hard")
    with pytest.raises(OptionError, match="hardness_b is NaN"):
        overlap_between_scores(np.arange(3.0), np.full(3, np.nan), 1)
