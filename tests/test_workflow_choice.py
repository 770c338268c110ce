"""A way to choose, as users name it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.scorers import SCORERS
from datadiet.selectors import SELECTORS
from datadiet.table import Scores
from datadiet.workflow.selecting.choice import RANDOM, Choice, try_choices

SOURCE = dd.open_data((np.zeros((6, 2), np.float32), np.array([0, 0, 0, 1, 1, 1])))


@pytest.mark.parametrize(
    ("text", "score", "params", "by_class", "scorers"),
    [
        ("random", "", {}, None, []),
        ("ccs", "aum", {}, None, ["aum"]),
        ("dual+beta", "dual", {}, None, ["dual"]),
        ("el2n+ccs:beta=0.2,by_class=true", "el2n", {"beta": 0.2}, True, ["el2n"]),
        ("margin+top_k:prefer=easiest,by_class=false", "margin", {"prefer": "easiest"}, False, ["margin"]),
        ("k_center", "", {}, None, ["prototypes"]),
        ("paser", "divergence", {}, None, ["divergence", "prototypes"]),
        ("divergence.predicted+band", "divergence.predicted", {}, None, ["divergence"]),
    ],
)
def test_what_a_user_writes(
    text: str, score: str, params: dict[str, Any], by_class: bool | None, scorers: list[str]
) -> None:
    found = Choice.read(text)
    assert (found.score, found.params, found.by_class, found.scorers) == (score, params, by_class, scorers)
    assert found.sees_two == ("divergence" in scorers)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("rnadom", "random"),
        ("top_k", "selects by a score: name one"),
        ("nosuch+top_k", "nosuch"),
        ("el2n+random", "selects by no score"),
        ("el2n+ccs:beta", "PARAMETER=VALUE"),
        ("el2n+ccs:beta=0.1,beta=0.2", "PARAMETER=VALUE"),
        ("el2n+ccs:bta=0.1", "beta"),
        ("el2n+ccs:beta=much", "a number"),
        ("el2n+ccs:by_class=maybe", "true or false"),
    ],
)
def test_what_is_refused(text: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        Choice.read(text)


def test_a_choice_does_not_depend_on_what_else_was_scored() -> None:
    """CCS cuts off by AUM if there is one: a choice by another score must not change when AUM is scored too."""
    el2n = np.arange(6, dtype=np.float32)
    alone = Scores.from_arrays({"el2n": el2n})
    beside = Scores.from_arrays({"el2n": el2n, "aum": el2n[::-1].copy()})
    choice = Choice.read("el2n+ccs:beta=0.34")
    found = [choice.select(table, 2, SOURCE, 0) for table in (alone, beside)]
    assert (found[0].indices == found[1].indices).all()
    assert found[1].meta["columns"] == {"score": "el2n", "cutoff_scores": "el2n"}


def test_random_needs_no_scores() -> None:
    found = RANDOM.select(None, 3, SOURCE, 1)
    assert len(found) == 3 and found.ids is not None
    assert (found.indices == dd.select(np.zeros(6), "random", keep=3, seed=1).indices).all()


def test_contents_are_compared_by_the_inputs_themselves() -> None:
    x = np.repeat(np.arange(3, dtype=np.float32), 2)[:, None] * np.ones((1, 2), np.float32)
    source = dd.open_data((x, np.array([0, 0, 1, 1, 0, 0])))
    found = Choice.read("exact_dedup").select(None, 3, source, 0)
    assert sorted(found.indices // 2) == [0, 1, 2]


DIGITS = dd.open_data("digits")
IMPOSSIBLE = {"minhash": "compares texts", "decontaminate": "needs reference"}


@pytest.mark.parametrize("name", list(SELECTORS))
def test_every_method_can_be_tried_before_anything_is_scored(name: str, caplog: pytest.LogCaptureFixture) -> None:
    choice = Choice.of(name, usual="el2n", params={"prefer": "hardest"} if name == "top_k" else {})
    if name in IMPOSSIBLE:
        with pytest.raises(OptionError, match=IMPOSSIBLE[name]):
            choice.try_on(DIGITS, [700])
        return
    choice.try_on(DIGITS, [700])
    assert not caplog.records  # a note about made-up scores would mislead


@pytest.mark.parametrize("name", [name for name in SCORERS if name != "cartography"])
def test_the_columns_of_every_score_are_known(name: str) -> None:
    choice = Choice.of("ccs", score=name)
    choice.try_on(DIGITS, [700])
    assert name in choice.scorers


def test_a_column_that_a_score_does_not_give_is_refused() -> None:
    Choice.read("cartography.variability+ccs").try_on(DIGITS, [700])
    with pytest.raises(OptionError, match=r"did you mean 'cartography\.confidence'"):
        Choice.read("cartography+ccs").try_on(DIGITS, [700])


def test_the_smallest_and_the_largest_size_are_tried() -> None:
    def middle(hardness: np.ndarray, k: int, *, keys: object) -> np.ndarray:
        if not 2 <= k <= 4:
            raise OptionError(f"k={k}: give 2 to 4.")
        return np.arange(k)

    choices = {"mine": Choice.of(middle, score="el2n")}
    try_choices(choices, SOURCE, [2, 3, 4])
    for sizes in ([3, 5], [1, 3]):
        with pytest.raises(OptionError, match=r"mine: k=[15]: give 2 to 4"):
            try_choices(choices, SOURCE, sizes)
