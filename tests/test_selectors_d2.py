"""D2 against a slow restatement of its two kinds of messages."""

from __future__ import annotations

from math import exp

import numpy as np
import pytest

from datadiet.errors import BadVector, OptionError
from datadiet.randomness import Keys
from datadiet.selectors.d2 import d2


def slow(
    vectors: np.ndarray, hardness: np.ndarray, k: int, m: int, gamma_f: float, gamma_r: float, draws: np.ndarray
) -> tuple[list[int], dict[int, int]]:
    """The paper's loop: search for the largest, take it, subtract from its neighbours. And who took most."""
    n = len(vectors)
    away = np.linalg.norm(vectors[:, None].astype(float) - vectors, axis=2)
    joined = np.zeros((n, n), dtype=bool)
    for i in range(n):
        joined[i, [j for j in np.argsort(away[i], kind="stable") if j != i][:m]] = True
    joined |= joined.T
    fade = [[exp(-gamma_f * away[i, j]) if joined[i, j] else 0.0 for j in range(n)] for i in range(n)]
    score = [hardness[i] + sum(fade[i][j] * hardness[j] for j in range(n)) for i in range(n)]
    taken: list[int] = []
    most: dict[int, tuple[float, int]] = {}
    for _ in range(k):
        left = [i for i in range(n) if i not in taken]
        top = max(score[i] for i in left)
        row = min((i for i in left if score[i] > top - 1e-8), key=lambda i: draws[i])
        taken.append(row)
        for j in left:
            if joined[row, j] and j != row:
                lost = exp(-gamma_r * away[row, j]) * score[row]
                score[j] -= lost
                if lost > max(0, most.get(j, (0, 0))[0]):
                    most[j] = lost, row
    return taken, {j: row for j, (_, row) in most.items() if j not in taken}


@pytest.mark.parametrize("gammas", [(1.0, 0.1), (0.3, 1.0), (0.0, 0.0), (2.0, 5.0)])
@pytest.mark.parametrize("m", [1, 5, 15])
def test_the_paper(gammas: tuple[float, float], m: int) -> None:
    rng = np.random.default_rng(m)
    vectors, hardness = rng.normal(size=(60, 4)).astype(np.float32), rng.exponential(size=60)
    keys = Keys(1, "t", 60)
    for k in (60, 20):
        expected, reasons = slow(vectors, hardness, k, m, *gammas, keys.draw())
        options = {"hardness": hardness, "neighbours": m, "gamma_f": gammas[0], "gamma_r": gammas[1], "keys": keys}
        assert d2(vectors, k, **options).tolist() == expected
        assert {i: w for i, w in enumerate(d2.explain(vectors, k, **options).witness.tolist()) if w >= 0} == reasons


def test_by_hand() -> None:
    # One neighbour each: 0 - 1 (distance 1) and 2 - 3 (distance 2). With gamma_f = ln 2 messages halve per unit:
    # s = 4 + 3/2, 3 + 4/2, 3 + 1/4, 1 + 3/4 = 5.5, 5, 3.25, 1.75. Take 0; with gamma_r = ln 2, 1 falls to 5 - 2.75.
    # Take 2 (3.25); 3 falls to 1.75 - 3.25 / 4 = 0.9375. Then 1 (2.25), which takes nothing from 0, and 3.
    vectors = np.array([[0.0], [1.0], [10.0], [12.0]])
    options = {"neighbours": 1, "gamma_f": np.log(2), "gamma_r": np.log(2)}
    assert d2(vectors, 4, hardness=np.array([4.0, 3.0, 3.0, 1.0]), **options).tolist() == [0, 2, 1, 3]
    found = d2.explain(vectors, 2, hardness=np.array([4.0, 3.0, 3.0, 1.0]), **options)
    assert found.witness.tolist() == [-1, 0, -1, 2]


def test_a_message_crosses_an_edge_that_only_one_end_has_drawn() -> None:
    # The nearest of 2 is 1, that of 1 is 0: taking 2 also lowers 1, whose own list holds 0 alone.
    vectors = np.array([[0.0], [1.0], [2.5]])
    chosen = d2(vectors, 3, hardness=np.array([0.1, 1.0, 10.0]), neighbours=1, gamma_f=50.0, gamma_r=0.0)
    assert chosen.tolist() == [2, 0, 1]


def test_the_order_of_hardness_alone_counts_where_nothing_is_near() -> None:
    hardness = np.random.default_rng(0).permutation(50).astype(float)
    chosen = d2(np.random.default_rng(1).normal(size=(50, 8)) * 1e4, 50, hardness=hardness, gamma_r=1.0)
    assert chosen.tolist() == np.argsort(-hardness).tolist()


def test_negative_hardness_is_shifted_to_start_at_0() -> None:
    rng = np.random.default_rng(0)
    vectors, hardness = rng.normal(size=(40, 3)), rng.normal(size=40)
    expected = d2(vectors, 40, hardness=hardness - hardness.min()).tolist()
    assert d2(vectors, 40, hardness=hardness).tolist() == expected
    assert d2(vectors, 40, hardness=hardness + 100).tolist() != expected
    assert d2(vectors, 40, hardness=np.zeros(40)).tolist() == Keys(0, "select", 40).draw().argsort().tolist()


def test_without_hardness_all_are_equally_hard() -> None:
    vectors = np.random.default_rng(0).normal(size=(40, 3))
    assert d2(vectors, 20).tolist() == d2(vectors, 20, hardness=np.full(40, 7.0)).tolist()


def test_diversity_falls_with_gamma_r() -> None:
    rng = np.random.default_rng(0)
    centres, group = rng.normal(size=(20, 5)) * 10, np.repeat(np.arange(20), 20)
    vectors = centres[group] + 0.1 * rng.normal(size=(400, 5))
    hardness = 20.0 - group + rng.uniform(size=400)
    groups = [len(set(group[d2(vectors, 20, hardness=hardness, neighbours=19, gamma_r=g)])) for g in (0.1, 3.0, 99.0)]
    assert groups[0] == 20 > groups[1] > groups[2]


def test_options_are_checked() -> None:
    vectors = np.eye(4)
    for options, text in (
        ({"gamma_f": -1.0}, "gamma_f=-1.0"),
        ({"gamma_r": np.nan}, "gamma_r=nan"),
        ({"neighbours": 0}, "neighbours=0"),
        ({"hardness": np.ones(3)}, "3 values of hardness for 4 examples: give one per example"),
        ({"hardness": np.array([0.0, 1.0, np.inf, 2.0])}, "hardness goes from 0 to inf: give numbers from"),
        (
            {"hardness": np.array([0.0, 1.0, np.nan, 2.0])},
            "hardness is NaN for 1 of 4 examples, the first at position 2",
        ),
    ):
        with pytest.raises(OptionError, match=text):
            d2(vectors, 2, **options)
    with pytest.raises(BadVector, match="row 1"):
        d2(np.array([[0.0], [np.inf]]), 1)
