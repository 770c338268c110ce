"""What a comparison costs: the parts add up, and a run that is there already spares its own."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import datadiet as dd
from datadiet.errors import DataError, MissingSignal, OptionError
from datadiet.workflow.comparing import stopwatch
from datadiet.workflow.comparing.forecast import Forecast
from datadiet.workflow.comparing.screening import Effort

pytestmark = pytest.mark.usefixtures("one_thread")

HOW: dict[str, Any] = {"keep": "50%", "epochs": 4, "seeds": 2}


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """All files below a folder, and when they were written."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "run"
    dd.score("digits", "datadiet:mlp", "forgetting", epochs=4, seeds=3, out=out)
    return out


def test_a_part_within_another_interrupts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that shows 0 1 3 7 15: the outer part takes 1 to 3 and 7 to 15, the inner one 3 to 7."""
    shown = iter([0.0, 1.0, 3.0, 7.0, 15.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(shown))
    watch = stopwatch.Stopwatch()
    with watch.timing("outer"), watch.timing("inner"):
        pass
    assert watch.seconds == {"outer": 10.0, "inner": 4.0}


def test_the_costs_add_up_to_the_wall_clock(tmp_path: Path) -> None:
    """Each part is measured where it happens, the trainings by their own logs; nothing is taken as the rest."""
    x, y = np.random.default_rng(0).normal(size=(700, 1, 8, 8)).astype(np.float32), np.arange(700) % 10
    dd.compare((x[:200], y[:200]), "datadiet:mlp", "herding", keep=100, epochs=1, seeds=2, eval="10%")  # imports
    began = time.perf_counter()
    how = {**HOW, "epochs": 10}  # long enough that what is not timed, making each network, is well below 5 %
    found = dd.compare((x, y), "datadiet:cnn", "aum+ccs,herding", eval="10%", out=tmp_path / "out", **how)
    seconds = time.perf_counter() - began
    assert set(found.seconds) == {
        "opening", "scoring", "selection", "planning", "training", "evaluation", "certifying", "writing",
    }  # fmt: skip
    assert seconds > 3 and min(found.seconds.values()) > 0
    assert sum(found.seconds.values()) == pytest.approx(seconds, rel=0.05), found.seconds
    assert found.seconds["training"] == pytest.approx(2 * sum(row.costs.training for row in found.rows), abs=0.1)


@pytest.mark.parametrize(("max_hours", "said"), [(None, "49 s"), (30 / 3600, "39 s")])
def test_the_forecast_follows_from_the_first_training(
    caplog: pytest.LogCaptureFixture, max_hours: float | None, said: str
) -> None:
    """4 s for 10 steps: 10 steps on all the data take 4 s, 100 of arms 40 s (30 s at most), 12 later ones 4.8 s."""
    base: Any = SimpleNamespace(
        steps=10, full_seconds=lambda: done, left=lambda arms: (Effort(1, 10), Effort(7, 100))
    )  # fmt: skip
    done = list[float]()
    forecast = Forecast(base, [], max_hours, Effort(2, 12))
    with caplog.at_level("INFO", logger="datadiet"):
        forecast()
        assert not caplog.records
        done.append(4.0)
        forecast()
        forecast()
    assert [one.getMessage() for one in caplog.records] == [
        "a training on all the data took 4.0 s; the 10 trainings (122 steps) left will take about "
        f"{said} of training, summed over all workers"
    ]


def test_a_recorded_run_gives_the_same_tables_and_is_not_changed(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """forgetting was scored; ccs reads aum, which follows from the same signals."""
    before = contents(run)
    methods = ["ccs", "forgetting+top_k:prefer=hardest"]
    with caplog.at_level("INFO", logger="datadiet"):
        found = dd.compare("digits", "datadiet:mlp", methods, scores=run, out=tmp_path / "out", **HOW)
    left = (
        f"the {2 * len(found.rows[1:])} trainings ({2 * sum(row.steps for row in found.rows[1:])} steps) left will take"
    )
    assert caplog.text.count(left) == 1
    own = dd.compare("digits", "datadiet:mlp", methods, **HOW)
    assert contents(run) == before and not (tmp_path / "out/scored").exists()
    assert [(row.name, row.accuracy, row.loss) for row in found.rows] == [
        (row.name, row.accuracy, row.loss) for row in own.rows
    ]
    assert any("of another run" in note for note in found.notes)
    trained = sum(row.costs.training for row in found.rows[1:])  # not those on all the data
    assert found.seconds["training"] == pytest.approx(2 * trained, abs=0.01)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"epochs": 5}, "epochs is 4 there and 5 here"),
        ({"seeds": 4}, "no training of seed 3"),
        ({"seed": 2}, "no training of seed 3"),
        ({"recipe": {"lr": 0.3}}, r"recipe.lr is 0.1 there and 0.3 here"),
        ({"model": "datadiet:cnn"}, "model is"),
        ({"eval": "10%"}, "eval|other examples"),
        ({"methods": "el2n+ccs"}, r"el2n\+ccs and scores=.*score the data with this scorer"),
        ({"methods": "herding"}, "recorded none: score with prototypes"),
    ],
)
def test_another_run_is_refused_by_its_first_difference(
    run: Path, tmp_path: Path, options: dict[str, Any], why: str
) -> None:
    given = {"model": "datadiet:mlp", "methods": "ccs", **HOW, **options}
    before = contents(run)
    with pytest.raises((OptionError, MissingSignal), match=why):
        dd.compare("digits", given.pop("model"), given.pop("methods"), scores=run, out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists() and contents(run) == before


def test_a_run_without_scores_is_refused(tmp_path: Path) -> None:
    dd.train("digits", "datadiet:mlp", epochs=1, out=tmp_path / "run")
    with pytest.raises(DataError, match="run of datadiet train, which has no scores"):
        dd.compare("digits", "datadiet:mlp", "ccs", scores=tmp_path / "run", **HOW)
