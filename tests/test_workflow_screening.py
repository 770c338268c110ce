"""Screening methods by short trainings before the rest are certified."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.evaluate import loss_interval
from datadiet.workflow.comparing.compared import Compared
from datadiet.workflow.comparing.screening import Effort, Rung, Screening, halves, rung_plan, survivors

pytestmark = pytest.mark.usefixtures("one_thread")

METHODS = ["ccs", "el2n+top_k:prefer=hardest", "el2n+top_k:prefer=easiest", "aum+ccs"]  # the last is the first


def screened(out: Path, methods: Any = METHODS, **more: Any) -> Compared:
    how = {"keep": "30%,50%", "epochs": 8, "seeds": 2, "screen": 1, **more}
    return dd.compare("digits", "datadiet:mlp", methods, out=out, **how)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Compared]:
    out = tmp_path_factory.mktemp("screen") / "out"
    return out, screened(out)


@pytest.mark.parametrize(
    ("methods", "left", "epochs", "plan"),
    [
        (3, 2, 10, [(5, 2)]),
        (8, 2, 20, [(5, 4), (10, 2)]),
        (10, 3, 16, [(4, 5), (8, 3)]),
        (16, 2, 10, [(2, 4), (5, 2)]),  # 10 / 8 epochs are too few, so that two rungs are one
        (100, 1, 4, [(2, 1)]),
    ],
)
def test_each_rung_is_twice_as_long_and_halves(
    methods: int, left: int, epochs: int, plan: list[tuple[int, int]]
) -> None:
    assert rung_plan(methods, left, epochs) == plan


def test_the_better_half_goes_on_by_hand() -> None:
    """Of 5 losses the best 3 are -1, 0.5 and 2; a second 2 ties and stays."""
    losses = {"a": 2.0, "b": 3.0, "c": -1.0, "d": 2.0, "e": 0.5}
    assert survivors(losses, 3) == ("a", "c", "d", "e")
    assert survivors({**losses, "d": 2.1}, 3) == ("a", "c", "e")
    assert survivors(dict.fromkeys("abc", 0.0), 1) == ("a", "b", "c")


def test_the_halves_are_disjoint_and_stratified() -> None:
    labels = np.repeat(np.arange(4), [10, 7, 2, 21])
    one, other = halves(labels, np.arange(40))
    assert sorted([*one, *other]) == list(range(40)) and not set(one) & set(other)
    assert np.abs(np.bincount(labels[one]) - np.bincount(labels[other])).max() <= 1


def test_the_table_says_that_it_is_uncertified() -> None:
    rungs = [Rung(5, {"a": 1.0, "b": 2.5, "c": 0.5}, ("a", "c"), 3.0), Rung(10, {"a": 0.25, "c": 0.75}, ("a",), 1.5)]
    screening = Screening(rungs, (5, 6, 7), 180, "points", Effort(27, 900), Effort(10, 800), Effort(20, 1600))
    text = screening.text()
    assert text.startswith("Screening, uncertified: mean loss beyond the full data, in points")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    assert rows[0] == ["method", "5 epochs", "10 epochs", "compared"]
    assert rows[2:] == [["a", "1", "0.25", "yes"], ["b", "2.5", "–", "no"], ["c", "0.5", "0.75", "no"],
                        ["random", "3", "1.5", "–"]]  # fmt: skip
    assert "27 trainings (900 steps)" in text and "would have taken 20 trainings (1,600 steps)" in text
    assert screening.as_dict()["label"] == "uncertified"


def test_the_certificate_counts_all_methods_and_uses_other_seeds_and_examples(found: tuple[Path, Compared]) -> None:
    out, result = found
    screening = result.screening
    assert screening is not None and result.methods == len(METHODS) == 4
    assert screening.rungs[0].losses["ccs"] == screening.rungs[0].losses["aum+ccs"]  # the same choice
    assert screening.rungs[-1].kept == ("ccs", "aum+ccs")  # they tie, so both are compared
    assert {row.name for row in result.rows} == {"full data", "random", "ccs", "aum+ccs"}
    assert result.seeds == (0, 1) and screening.seeds == (2, 3, 4)
    assert result.examples + screening.examples == 359
    trained = {path.name for path in (out / "scored/evaluation").iterdir()}
    short = {path.name for path in out.glob("screening/rung-*/scored/evaluation/*")}
    assert len(trained) == 2 and len(short) == 3 and not trained & short
    # by hand, on the half of the certificate, at 5 % / 4
    held = dd.open_data("digits", split="eval")
    mine, theirs = halves(np.asarray(held.labels), np.asarray(held.index))
    cells = sorted((out / "trainings/cells").glob("equal-ccs-*-keep-719-*/evaluation/*.parquet"))
    full = [pq.read_table(out / f"scored/evaluation/seed-{seed}.parquet")["correct"].to_numpy() for seed in (0, 1)]
    losses = 100 * (
        np.stack(full).astype(float) - np.stack([pq.read_table(path)["correct"].to_numpy() for path in cells])
    )
    row = next(one for one in result.rows if (one.name, one.kept) == ("ccs", 719))
    assert row.loss == loss_interval(losses[:, theirs], 0.05 / 4) and len(mine) == screening.examples


def test_the_screening_ranks_by_mean_loss_over_the_shares(found: tuple[Path, Compared]) -> None:
    """The losses of the first rung from its own files, on the half of the screening."""
    out, result = found
    assert result.screening is not None
    rung, path = result.screening.rungs[0], out / "screening/rung-1"
    held = dd.open_data("digits", split="eval")
    mine, _ = halves(np.asarray(held.labels), np.asarray(held.index))

    def right(pattern: str) -> np.ndarray:
        return np.stack([pq.read_table(one)["correct"].to_numpy()[mine] for one in sorted(path.glob(pattern))])

    full = right("scored/evaluation/*.parquet")
    for name in ("random", "ccs"):
        arms = [right(f"trainings/cells/equal-{name}-*-keep-{kept}-*/evaluation/*.parquet") for kept in (719, 431)]
        loss = np.mean([100 * (full.mean() - arm.mean()) for arm in arms])
        assert (rung.random if name == "random" else rung.losses[name]) == pytest.approx(loss)


def test_what_was_tried_and_what_was_spared(found: tuple[Path, Compared]) -> None:
    """rung_plan(4, 1, 8) is 2 epochs for 4 methods and 4 epochs for the 2 that are left (here 2, which tie)."""
    out, result = found
    assert result.screening is not None
    screening, said = result.screening, json.loads((out / "comparison.json").read_text())["screening"]
    assert [(rung.epochs, len(rung.losses)) for rung in screening.rungs] == [(2, 4), (4, 2)]
    # 3 seeds: (4 methods + random) x 2 shares + full data of 2 x 12 steps; then 3 x 2 + 1 trainings of 4 x 12
    assert screening.tried == Effort(3 * (11 + 7), 3 * (11 * 24 + 7 * 48))
    assert screening.certified == Effort(2 * 7, 2 * 7 * 96) and screening.without == Effort(2 * 11, 2 * 11 * 96)
    assert len(list(out.glob("screening/*/trainings/cells/*"))) == 3 * (10 + 6)
    assert said["label"] == "uncertified" and said["rungs"][0]["kept"] == list(screening.rungs[0].kept)
    assert "Screening, uncertified" in str(result)


def test_a_screening_killed_in_the_middle_continues_to_the_same_result(
    found: tuple[Path, Compared], tmp_path: Path
) -> None:
    _, before = found
    out = tmp_path / "out"
    code = (
        "import torch; torch.set_num_threads(1); import datadiet as dd\n"
        f"dd.compare('digits', 'datadiet:mlp', {METHODS!r}, keep='30%,50%', epochs=8, seeds=2, screen=1,\n"
        f"           out={str(out)!r})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
    second = out / "screening/rung-2/trainings/cells"
    while process.poll() is None and len([*second.glob("*/run.json")]) < 3:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "comparison.json").exists()
    again = screened(out)
    assert again.screening == before.screening
    assert [(row.name, row.accuracy, row.loss) for row in again.rows] == [
        (row.name, row.accuracy, row.loss) for row in before.rows
    ]


def test_a_score_that_needs_longer_trainings_is_refused_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"screening by 4 epochs: dual uses windows of 10 presentations"):
        screened(tmp_path / "out", ["ccs", "dual+beta", "herding"], screen=2)
    assert not (tmp_path / "out").exists()


def test_a_class_too_small_for_two_halves_is_refused_before_any_work(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    data = rng.normal(size=(60, 4)).astype(np.float32), np.arange(60) % 2
    held = rng.normal(size=(9, 4)).astype(np.float32), np.array([0] * 6 + [1] * 3)
    with pytest.raises(OptionError, match="one evaluation example of the class '1' in a half"):
        dd.compare(
            data, "datadiet:mlp", ["exact_dedup", "herding"], keep=20, epochs=4, seeds=2, screen=1,
            metric="worst_class", eval=held, out=tmp_path / "out",
        )  # fmt: skip
    assert not (tmp_path / "out").exists()
