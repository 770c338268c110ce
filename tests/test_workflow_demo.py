"""The demo, shortened: both tables, all baselines, the page, and the commands it ends with."""

from __future__ import annotations

import html.parser
import json
import shlex

import pytest

from datadiet.cli import main
from datadiet.cli.demo import COMMANDS
from datadiet.workflow.comparing import demo as demo_module

NAMES = {"full data", "random", "top-k (EL2N, hardest)", "CCS (AUM)"}


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(demo_module, "EPOCHS", 3)
    patch.setattr(demo_module, "SEEDS", 2)
    with patch.context():
        yield demo_module.demo(tmp_path_factory.mktemp("demo"))
    patch.undo()


def test_equal_steps_are_equal(found):
    assert {row.steps for row in found.equal} == {3 * 23}  # 1438 in batches of 64
    assert {row.method for row in found.equal} == NAMES
    assert [row.keep for row in found.equal] == [100] + [10] * 3 + [30] * 3 + [50] * 3
    assert all(len(row.accuracy) == 2 and all(0 < a <= 1 for a in row.accuracy) for row in found.equal)


def test_reduced_steps_are_those_of_rs2(found):
    methods = ["RS2", "full data, shortened", "static random"]
    assert [(row.method, row.keep) for row in found.reduced] == [(m, k) for k in (10, 30, 50) for m in methods]
    steps = {10: 3 * 3, 30: 3 * 7, 50: 3 * 12}  # 144, 431 and 719 an epoch
    assert all(row.steps == steps[row.keep] for row in found.reduced)


def test_the_cost_of_scoring_is_counted_where_scores_are_used(found):
    assert found.scoring_seconds > 0
    assert {row.method for row in found.equal + found.reduced if row.scored} == {"top-k (EL2N, hardest)", "CCS (AUM)"}


def test_everything_is_on_disk(found):
    folder = found.page.parent
    assert json.loads((folder / "comparison.json").read_text()) == json.loads(json.dumps(found.as_dict()))
    assert (folder / "run/scores.parquet").exists()
    assert {p.name for p in (folder / "selections").glob("*.parquet")} == {
        f"{method}-{keep}.parquet" for method in ("random", "top_k", "ccs") for keep in (10, 30, 50)
    }


def test_the_page_needs_nothing_from_elsewhere(found):
    text = found.page.read_text()
    links = []

    class Links(html.parser.HTMLParser):
        def handle_starttag(self, tag, attributes):
            links.extend(v for k, v in attributes if k in ("src", "href") and not (v or "").startswith(("data:", "#")))

    Links().feed(text)
    assert links == [] and "@import" not in text and "url(http" not in text
    for words in ("Hardest", "Easiest", "Just above the cut", "Just below the cut", "<svg", "EL2N"):
        assert words in text


def test_it_ends_with_three_commands_that_can_be_read(found, monkeypatch, capsys):
    text = COMMANDS.replace("\\\n", " ")  # lines that go on
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("datadiet ")]
    assert [shlex.split(line)[1] for line in lines] == ["score", "select", "train"]
    for line in lines:
        with pytest.raises(SystemExit) as stopped:
            main([*shlex.split(line)[1:], "--help"])
        assert stopped.value.code == 0
        options = [word for word in shlex.split(line) if word.startswith("--")]
        help_ = capsys.readouterr().out
        assert all(option in help_ for option in options)


@pytest.mark.slow
def test_the_whole_demo_says_what_it_should(tmp_path):
    """The real one: random beats the hardest at 10 %, and nothing beats full data by much."""
    found = demo_module.demo(tmp_path)
    at = {(row.method, row.keep): row.mean for row in found.equal}
    assert at["full data", 100] > 0.95 and at["random", 10] > at["top-k (EL2N, hardest)", 10]
    assert max(at.values()) < at["full data", 100] + 0.02
    assert found.seconds < 180
