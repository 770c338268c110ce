"""AUM, of logits and of probabilities: the mean margin over presentations."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.scorers import SCORERS, aum


def test_golden_the_mean_margin_of_logits() -> None:
    # Logits of class 0, 1, 2 in two epochs, label 0:
    # (3, 1, -1) and (5, 1, 2): margins 3 - 1 = 2 and 5 - 2 = 3, mean 2.5
    # (0, 4, 1) and (1, 2, 2): margins -4 and -1, mean -2.5: the label is probably wrong
    assert aum(np.array([[2.0, -4.0], [3.0, -1.0]])).tolist() == [2.5, -2.5]


def test_golden_entries_that_were_not_seen_are_left_out_within_each_run_first() -> None:
    # Run 1 saw 1 and 3 (mean 2), run 2 only 10: (2 + 10) / 2 = 6, not (1 + 3 + 10) / 3.
    margin = np.array([[[1.0], [3.0]], [[10.0], [99.0]]])
    assert aum(margin, seen=np.array([[[1], [1]], [[1], [0]]])).tolist() == [6.0]


def test_the_margin_of_probabilities_ranks_otherwise_than_that_of_logits() -> None:
    # Two classes, label 0. Steady logit margins of 1 give p-margins tanh(1/2) = .462 twice; margins -1 and 4 have the
    # larger mean 1.5, but p-margins -.462 and tanh(2) = .964 with mean .251.
    margins = np.array([[1.0, -1.0], [1.0, 4.0]])
    assert aum(margins).argmax() == 1 and aum(np.tanh(margins / 2)).argmax() == 0
    assert SCORERS["aum"].fn is SCORERS["aum_prob"].fn and SCORERS["aum_prob"].needs[0].signal == "p_margin"


@pytest.mark.parametrize("share", [1.0, 0.6])
def test_oracle_a_loop_over_runs_and_presentations(share: float) -> None:
    rng = np.random.default_rng(0)
    margin, seen = rng.normal(0, 4, (3, 7, 20)), rng.random((3, 7, 20)) < share
    seen[:, 0] = True
    expected = []
    for i in range(20):
        runs = []
        for s in range(3):
            values = [margin[s, t, i] for t in range(7) if seen[s, t, i]]
            runs.append(sum(values) / len(values))
        expected.append(sum(runs) / 3)
    np.testing.assert_allclose(aum(margin, seen=seen), expected, rtol=1e-5)
