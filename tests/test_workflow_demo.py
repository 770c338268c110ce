"""The demo, shortened: a comparison with all baselines, its page, and the commands that it ends with."""

from __future__ import annotations

import json
import shlex

import pytest

from datadiet.cli import main
from datadiet.workflow.comparing import demo as demo_module
from datadiet.workflow.comparing.demo import commands_text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def found(folder):
    patch = pytest.MonkeyPatch()
    patch.setattr(demo_module, "EPOCHS", 2)
    patch.setattr(demo_module, "SEEDS", 2)
    with patch.context():
        yield demo_module.demo(folder)
    patch.undo()


def test_both_tables_have_all_baselines_and_all_shares(found):
    methods = {"random", "ccs", "el2n+top_k:prefer=hardest"}
    assert {row.name for row in found.table("equal")} == {"full data"} | methods
    assert {row.name for row in found.table("reduced")} == {"full data", "RS2", "full data, shortened"} | methods
    assert {row.kept for row in found.rows} == {1438, 719, 431, 144}
    assert {row.steps for row in found.table("equal")} == {2 * 23}  # 1438 in batches of 64


def test_everything_is_on_disk_and_the_page_is_the_report(found, folder):
    from datadiet.workflow.reporting.report import make_report

    told = json.loads((folder / "comparison.json").read_text())
    assert told["rows"] == json.loads(json.dumps(found.as_dict()))["rows"]
    page = (folder / "index.html").read_text()
    assert page == make_report(folder, data="digits").html()
    for text in ("Equal steps", "Fewer steps", "Hardest", "Easiest", "Which labels may be wrong?", "<svg", "<img"):
        assert text in page


def test_it_ends_with_commands_that_can_be_read(capsys):
    text = commands_text().replace("\\\n", " ")  # lines that go on
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("datadiet ")]
    assert [shlex.split(line)[1] for line in lines] == ["score", "select", "report", "train"]
    for line in lines:
        with pytest.raises(SystemExit) as stopped:
            main([*shlex.split(line)[1:], "--help"])
        assert stopped.value.code == 0
        help_ = capsys.readouterr().out
        assert all(option in help_ for option in shlex.split(line) if option.startswith("--"))


@pytest.mark.slow
def test_the_whole_demo_says_what_it_should(tmp_path):
    """The real one: the hardest tenth is far worse than random, and nothing beats full data by much."""
    found = demo_module.demo(tmp_path)
    at = {(row.name, row.kept): row.mean for row in found.table("equal")}
    assert at["full data", 1438] > 0.95 and at["random", 144] > at["el2n+top_k:prefer=hardest", 144] + 0.1
    assert max(at.values()) < at["full data", 1438] + 0.02
