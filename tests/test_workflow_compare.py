"""Comparisons with a certificate, on the bundled digits."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.evaluate import loss_interval
from datadiet.workflow.comparing.arms import affordable, arms_of
from datadiet.workflow.comparing.certificate import Examined, certified
from datadiet.workflow.comparing.compared import ArmResult, Compared, Costs
from datadiet.workflow.selecting.choice import Choice

pytestmark = pytest.mark.usefixtures("one_thread")


def compared(out: Path, methods: Any = "ccs,el2n+top_k:prefer=hardest", **more: Any) -> Compared:
    how = {"keep": "30%,50%", "epochs": 4, "seeds": 3, "budget": "both", **more}
    return dd.compare("digits", "datadiet:mlp", methods, out=out, **how)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compared]:
    out = tmp_path_factory.mktemp("compare") / "out"
    return out, compared(out)


def row(found: Compared, name: str, budget: str, kept: int) -> ArmResult:
    return next(one for one in found.rows if (one.name, one.budget, one.kept) == (name, budget, kept))


def test_baselines_are_always_there_and_tables_are_not_mixed(both: tuple[Path, Compared]) -> None:
    _, found = both
    methods = ["ccs", "el2n+top_k:prefer=hardest"]
    names = {budget: [one.name for one in found.table(budget)] for budget in ("equal", "reduced")}
    assert names["equal"] == ["full data", *["random", *methods] * 2]
    assert names["reduced"] == ["full data", *["RS2", "full data, shortened", "random", *methods] * 2]
    assert {one.steps for one in found.table("equal")} == {48}
    assert {one.kept: one.steps for one in found.table("reduced")[1:]} == {719: 24, 431: 16}
    assert found.rows[0].kept == found.n == 1438 and found.examples == 359


def test_the_numbers_are_those_of_trainings_by_hand(both: tuple[Path, Compared]) -> None:
    """The seed 1 of a method: scored alone, selected and trained with the usual functions."""
    out, found = both
    scores = dd.score("digits", "datadiet:mlp", "aum", epochs=4, seed=1)
    chosen = dd.select(scores, "ccs", keep=431, seed=1)
    by_hand = dd.train("digits", "datadiet:mlp", chosen, epochs=4, match="full-steps", seed=1)
    assert row(found, "ccs", "equal", 431).accuracy[1] == by_hand.accuracy
    full = [dd.train("digits", "datadiet:mlp", epochs=4, seed=seed).accuracy for seed in range(3)]
    assert found.rows[0].accuracy == tuple(full)
    short = dd.train("digits", "datadiet:mlp", steps=16, seed=2)
    assert row(found, "full data, shortened", "reduced", 431).accuracy[2] == short.accuracy
    right = [pq.read_table(out / f"scored/evaluation/seed-{s}.parquet")["correct"].to_numpy() for s in range(3)]
    files = sorted((out / "trainings/cells").glob("equal-ccs-*-keep-431-seed-*/evaluation/*.parquet"))
    mine = [pq.read_table(path)["correct"].to_numpy() for path in files]
    loss = loss_interval(100 * (np.stack(right).astype(float) - np.stack(mine)), 0.05 / 2)
    assert row(found, "ccs", "equal", 431).loss == loss


def test_the_file_says_what_the_table_says(both: tuple[Path, Compared]) -> None:
    out, found = both
    said = json.loads((out / "comparison.json").read_text())
    assert said["methods"] == 2 and said["margin"] == 2.0 and said["seeds"] == [0, 1, 2]
    assert [one["accuracy"] for one in said["rows"]] == [list(one.accuracy) for one in found.rows]
    text = str(found)
    assert "Equal steps: every training takes 48" in text and "Reduced steps" in text
    assert "3 seeds and 359 evaluation examples" in text and "shared by 2 methods" in text
    assert {one.verdict for one in found.rows if one.name in ("full data", "random", "RS2")} == {None}
    assert "best" not in text and "the upper limit is below 2 points. Worse: the lower limit is above zero." in text


def test_the_same_call_again_trains_nothing_and_says_the_same(
    both: tuple[Path, Compared], caplog: pytest.LogCaptureFixture
) -> None:
    out, found = both
    with caplog.at_level("INFO", logger="datadiet"):
        again = compared(out)
    assert "0 steps to take" in caplog.text
    assert [(one.accuracy, one.loss, one.verdict) for one in again.rows] == [
        (one.accuracy, one.loss, one.verdict) for one in found.rows
    ]


def test_scoring_costs_what_the_scores_need(both: tuple[Path, Compared]) -> None:
    _, found = both
    assert row(found, "random", "equal", 431).costs.scoring == 0
    early, late = (row(found, name, "reduced", 431) for name in ("el2n+top_k:prefer=hardest", "ccs"))
    assert early.costs.scoring > 0 and late.costs.scoring > 0


def test_only_what_is_within_the_margin_pays_off() -> None:
    """Half of the steps spare 5 s of 10 s, and choosing takes 11 + 1 s: paid for by the third training."""
    right, labels = np.ones((3, 40), dtype=bool), np.arange(40) % 2
    wrong = right & (np.arange(40) % 4 > 0)  # loses 25 points, all in the class 0
    full = Examined(right, np.where(right, 0.1, 0.3), 80, 100, Costs(training=10.0))
    costs = Costs(scoring=11.0, selection=1.0, training=5.0)
    arms = {
        (name, "reduced", 40): replace(full, correct=correct, losses=np.where(correct, 0.1, 0.3), steps=50, costs=costs)
        for name, correct in (("good", right), ("bad", wrong), ("baseline", right))
    }
    found = certified(full, arms, labels, "accuracy", 2.0, 0.05, ["good", "bad"])
    assert [one.pays_after for one in found] == [None, 3, None, None]
    assert [str(one.verdict) for one in found] == ["None", "within the margin", "worse", "None"]
    measured = {
        metric: certified(full, arms, labels, metric, 2.0, 0.05, ["bad"])[2].measured
        for metric in ("accuracy", "worst_class", "loss")
    }
    assert measured == {"accuracy": (0.75,) * 3, "worst_class": (0.5,) * 3, "loss": pytest.approx((0.15,) * 3)}


def test_a_killed_comparison_continues_to_the_same_verdict(both: tuple[Path, Compared], tmp_path: Path) -> None:
    _, found = both
    out = tmp_path / "out"
    code = (
        "import torch; torch.set_num_threads(1); import datadiet as dd\n"
        "dd.compare('digits', 'datadiet:mlp', 'ccs,el2n+top_k:prefer=hardest', keep='30%,50%', epochs=4, seeds=3,\n"
        f"           budget='both', out={str(out)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    cells = out / "trainings" / "cells"
    while process.poll() is None and len([*cells.glob("*/run.json")]) < 5:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert 0 < len([*cells.glob("*/run.json")]) < 48
    again = compared(out)
    assert [(one.accuracy, one.loss, one.verdict) for one in again.rows] == [
        (one.accuracy, one.loss, one.verdict) for one in found.rows
    ]


def test_a_third_of_tripled_digits_is_certified(tmp_path: Path) -> None:
    digits = dd.open_data("digits")
    x, y = digits.take(range(len(digits))).numpy()[:300], np.asarray(digits.labels)[:300]
    thrice = (np.concatenate([x] * 3), np.concatenate([y] * 3))
    held = dd.open_data("digits", split="eval")
    found = dd.compare(
        thrice,
        "datadiet:mlp",
        ["exact_dedup"],
        keep=300,
        epochs=20,
        seeds=10,
        margin=2,
        eval=held,
        out=tmp_path / "out",
    )
    result = row(found, "exact_dedup", "equal", 300)
    assert str(result.verdict) == "within the margin" and abs(result.loss.mean) < 1


def test_a_certificate_that_rests_on_few_examples_says_so() -> None:
    """40 of 500 evaluation examples differ, then 41."""
    from datadiet.workflow.comparing.certificate import Examined, certified, rare_note
    from datadiet.workflow.comparing.compared import Costs

    labels, right = np.arange(500) % 2, np.ones((3, 500), dtype=bool)

    def networks(wrong: int) -> Examined:
        correct = right.copy()
        correct[0, :wrong] = False
        return Examined(correct, np.zeros((3, 500)), 100, 10, Costs(training=1.0))

    def note(wrong: int, metric: Any) -> str:
        full, arms = networks(0), {("ccs", "equal", 100): networks(wrong)}
        rows = certified(full, arms, labels, metric, 50, 0.05, ["ccs"])
        assert rows[1].verdict is not None and rows[1].verdict.within
        return " ".join(rare_note(full, arms, rows, labels, metric))

    few = note(40, "accuracy")
    assert few.startswith("ccs with 100 examples") and "differ on only 40 evaluation examples:" in few
    assert note(41, "accuracy") == note(41, "loss") == ""
    assert "only 20 evaluation examples of a class" in note(41, "worst_class") and note(90, "worst_class") == ""


@pytest.mark.parametrize("metric", ["loss", "worst_class"])
def test_other_metrics(tmp_path: Path, metric: Any, caplog: pytest.LogCaptureFixture) -> None:
    found = compared(tmp_path / "out", "random", metric=metric, margin=5, budget="equal", keep=719, seeds=2)
    assert "%%" not in caplog.text and found.notes and all(note in caplog.text for note in found.notes)
    unit, head = ("nats", "mean loss (nats)") if metric == "loss" else ("points", "worst class (%)")
    text, limits = found.text(), found.rows[1].loss
    assert (
        found.unit == unit and f"| {head} |" in " ".join(text.split()) and "accuracy" not in text and limits is not None
    )
    column = re.search(r"^\| random .*?\|.*?\| +([\d.]+) ±", text, flags=re.MULTILINE)
    full, half = (np.mean(one.measured) for one in found.rows)
    assert column is not None and float(column[1]) == pytest.approx(half * (1 if metric == "loss" else 100), abs=0.05)
    if metric == "loss":
        assert limits.mean == pytest.approx(half - full, abs=1e-5)
    assert all(np.mean(one.measured) < np.mean(one.accuracy) for one in found.rows) or metric == "loss"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"methods": ""}, "at least one way to choose"),
        ({"methods": "ccs,ccs"}, "each once"),
        ({"methods": "paser"}, "compares the model with another network"),
        ({"methods": "influence+top_k"}, "reference"),
        ({"methods": "ccs,minhash"}, "minhash: these are vectors, and this method compares texts"),
        ({"methods": "decontaminate"}, "vectors of other examples"),
        ({"methods": "semdedup:epsilon=0.1"}, "both decide how much is kept"),
        ({"methods": "semdedup:clusters=5000"}, "clusters=5000 of 1438"),
        ({"methods": "el2n+top_k"}, "top_k needs prefer"),
        ({"methods": "cartography+ccs"}, "did you mean 'cartography.confidence'"),
        ({"methods": "exact_dedup:normalise=true"}, "for texts"),
        ({"keep": "100%"}, "below 100 %"),
        ({"keep": "30%,431"}, "each once"),
        ({"margin": 0}, "above 0"),
        ({"seeds": 1}, "seeds"),
        ({"budget": "equl"}, "budget="),
        ({"metric": "f1"}, "metric"),
        ({"screen": 2}, "nothing to leave out"),
        ({"screen": 1, "epochs": 3}, "give at least 4"),
        ({"screen": 0}, "screen"),
        ({"scores": "nosuch"}, "not a run folder"),
    ],
)
def test_what_is_refused_before_any_work(tmp_path: Path, options: dict[str, Any], why: str) -> None:
    with pytest.raises((OptionError, dd.DataError), match=why):
        compared(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_what_would_take_too_long_is_left_out_in_a_stated_order() -> None:
    arms = arms_of({"ccs": Choice.read("ccs")}, [100, 500], ["reduced"], epochs=1, batch_size=100)
    assert [arm.steps(100, 10) for arm in arms] == [5, 5, 5, 5, 1, 1, 1, 1]  # 24 of each seed, 360 s a step
    for hours, kept, seeds, said in (
        (None, {100, 500}, 5, ""),
        (12.0, {100, 500}, 5, ""),
        (8.0, {100, 500}, 3, "2 seeds"),
        (4.8, {100, 500}, 2, "3 seeds"),
        (4.0, {500}, 2, "3 seeds and shares below 500"),
    ):
        some, left, notes = affordable(arms, range(5), 100, 10, 3600.0, hours)
        assert ({arm.kept for arm in some}, left) == (kept, list(range(seeds)))
        assert (said in notes[0]) if said else not notes
    with pytest.raises(OptionError, match="would take 4 hours"):
        affordable(arms, range(5), 100, 10, 3600.0, 3.9)
