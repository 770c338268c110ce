"""Forgetting events, and the three conventions for examples that were never learned."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from datadiet.errors import OptionError
from datadiet.scorers import forgetting
from datadiet.scorers.forgetting import first_learned, never_learned

# One column per example: always right, never right, forgotten once at the end, forgotten twice, learned late.
CORRECT = np.array(
    [
        [1, 0, 0, 1, 0],
        [1, 0, 1, 0, 0],
        [1, 0, 1, 1, 0],
        [1, 0, 0, 0, 1],
    ]
)


def test_golden_events_and_first_learned() -> None:
    # 1111: 0 events; 0000: never, 4 presentations; 0110: 1; 1010: 2; 0001: 0
    assert forgetting(CORRECT).tolist() == [0, 4, 1, 2, 0]
    assert first_learned(CORRECT).tolist() == [1, 5, 2, 1, 4]
    assert never_learned(CORRECT).tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(("never", "value"), [("presentations", 4), ("infinite", np.inf), ("zero", 0)])
def test_golden_what_a_never_learned_example_counts(never: str, value: float) -> None:
    assert forgetting(CORRECT, never=never).tolist() == [0, value, 1, 2, 0]


def test_golden_a_mean_over_seeds_in_which_one_run_never_learned() -> None:
    # Run 1: 1, 0, 1 has 1 event, first right at 1. Run 2: 0, 0, 0 counts 3 presentations, first right "at 4".
    correct = np.array([[[1], [0], [1]], [[0], [0], [0]]])
    assert forgetting(correct).tolist() == [2.0] and forgetting(correct, never="infinite").tolist() == [np.inf]
    assert first_learned(correct).tolist() == [2.5] and never_learned(correct).tolist() == [False]


def test_golden_events_are_counted_between_consecutive_presentations_of_the_same_example() -> None:
    # Example 0 is presented in epochs 1, 3 and 4 with 1, 0, 1: forgotten once, although 1 and 3 are not adjacent.
    # Example 1 is presented in epochs 2 and 4 with 0, 0: never learned in 2 presentations, so 2 events and first 3.
    # What stands in the other entries is of no account.
    correct = np.array([[1, 1], [1, 0], [0, 1], [1, 0]])
    seen = np.array([[1, 0], [0, 1], [1, 0], [1, 1]])
    assert forgetting(correct, seen=seen).tolist() == [1, 2]
    assert first_learned(correct, seen=seen).tolist() == [1, 3]
    assert never_learned(correct, seen=seen).tolist() == [False, True]


def test_a_single_presentation_holds_no_event() -> None:
    assert forgetting(np.array([[1, 0]])).tolist() == [0, 1]


def slow_forgetting(presentations: list[bool], never: str) -> float:
    events, before, learned = 0, False, False
    for right in presentations:
        events += before and not right
        before, learned = right, learned or right
    return events if learned else {"presentations": len(presentations), "infinite": np.inf, "zero": 0}[never]


@settings(max_examples=150, deadline=None)
@given(
    data=st.data(),
    correct=arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=6)),
    never=st.sampled_from(["presentations", "infinite", "zero"]),
)
def test_oracle_walking_through_the_presentations(data: st.DataObject, correct: np.ndarray, never: str) -> None:
    seen = data.draw(arrays(bool, correct.shape))
    seen[:, -1] |= ~seen.any(axis=1)
    runs = [[correct[s, seen[s, :, i], i].tolist() for i in range(correct.shape[2])] for s in range(len(correct))]
    events = np.mean([[slow_forgetting(r, never) for r in run] for run in runs], axis=0)
    np.testing.assert_allclose(forgetting(correct, seen=seen, never=never), events, rtol=1e-6)
    first = [[r.index(True) + 1 if True in r else len(r) + 1 for r in run] for run in runs]
    np.testing.assert_allclose(first_learned(correct, seen=seen), np.mean(first, axis=0), rtol=1e-6)
    never_right = [not any(any(run[i]) for run in runs) for i in range(correct.shape[2])]
    assert never_learned(correct, seen=seen).tolist() == never_right


def test_an_unknown_convention_is_refused() -> None:
    with pytest.raises(OptionError, match="'presentations', 'infinite' or 'zero'"):
        forgetting(CORRECT, never="nil")
