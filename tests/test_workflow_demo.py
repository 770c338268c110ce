"""The demo, shortened: both tables, all baselines, the page, and the commands it ends with."""

from __future__ import annotations

import html.parser
import json
import re
import shlex
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch

from datadiet.cli import main
from datadiet.data import open_data
from datadiet.models import call
from datadiet.runtime.layout import Layout
from datadiet.workflow.comparing import demo as demo_module
from datadiet.workflow.comparing.comparison import COMMANDS, Comparison, Row, commands_text
from datadiet.workflow.comparing.demo_page import HARDEST, LOOKS
from datadiet.workflow.comparing.examples import predictions
from datadiet.workflow.comparing.findings import answer, differs, leader
from datadiet.workflow.job_spec import JobSpec
from datadiet.workflow.session import open_session

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


def test_it_ends_with_three_commands_that_can_be_read(capsys):
    text = commands_text().replace("\\\n", " ")  # lines that go on
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("datadiet ")]
    assert [shlex.split(line)[1] for line in lines] == ["score", "select", "train"]
    for line in lines:
        with pytest.raises(SystemExit) as stopped:
            main([*shlex.split(line)[1:], "--help"])
        assert stopped.value.code == 0
        options = [word for word in shlex.split(line) if word.startswith("--")]
        help_ = capsys.readouterr().out
        assert all(option in help_ for option in options)


def test_the_page_ends_with_the_commands_and_the_documentation(found):
    text = unescape(re.sub(r"<[^>]+>", "", found.page.read_text()))
    places = [text.index(command) for _, command in COMMANDS]
    assert places == sorted(places)
    pages = re.findall(r"docs/\S+\.md", text[places[-1] :])
    assert pages and all((Path(__file__).parents[1] / page).exists() for page in pages)


def test_the_page_has_two_matrices_and_no_method_in_both(found):
    text = found.page.read_text()
    tables = re.findall(r"<table.*?</table>", text, re.DOTALL)
    rows = [re.findall(r"<span>([^<]+) <small>", table) for table in tables]
    assert rows == [["random", HARDEST, "CCS (AUM)"], ["RS2", "full data, shortened", "static random"]]
    for table, compared in zip(tables, (found.equal[1:], found.reduced), strict=True):
        cells = re.findall(r"<td[^>]*>([\d.]+)", table)
        shown = {f"{100 * row.mean:.1f}" for row in [found.equal[0], *compared]}
        assert len(cells) == 10 and set(cells) == shown


def test_a_method_has_one_look_in_chart_legend_and_matrix(found):
    assert set(LOOKS) == {row.method for row in found.equal + found.reduced}
    distinct = {name: look for name, look in LOOKS.items() if name != "static random"}  # which is random
    assert len({look.colour for look in distinct.values()}) == len(distinct)
    text, end = found.page.read_text(), r' fill="([^"]+)" stroke="[^"]+"/>'
    for name, look in LOOKS.items():
        if name != "full data":
            shown = re.escape(name)
            line = re.search(rf'<g class="dd-series"[^>]*><path[^>]*stroke="([^"]+)"[^\n]*<title>{shown}:', text)
            legend = re.search(rf'{end}<text class="dd-name"[^>]*>{shown}</text>', text)
            row = re.search(rf"{end}</svg><span>{shown} ", text)
            assert line[1] == legend[1] == row[1] == look.colour


def test_captions_give_label_prediction_and_score(found):
    run = found.page.parent / "run"
    predicted = predictions(run, demo_module.MODEL)
    assert sorted(predicted) == sorted({epoch for _, epoch, _ in Layout(run).checkpoints()})
    last = max(Layout(run).checkpoints(), key=lambda place: (-place[0], place[1]))[2]
    session = open_session(JobSpec("digits", demo_module.MODEL, checkpoints=(last,)))
    with torch.no_grad():
        logits = call(session.network(last), session.feed.first(100))
    assert np.array_equal(predicted[max(predicted)][:100], logits.argmax(1).numpy())
    text = found.page.read_text()
    captions = [unescape(re.sub(r"<[^>]+>", "", part)) for part in re.findall(r"<figcaption>(.*?)</figcaption>", text)]
    shown = [re.fullmatch(r"label (\d) predicted (\d)(?:, then (\d))? EL2N \d\.\d\d", one) for one in captions]
    assert len(list(filter(None, shown))) == 24
    names, labels = open_data("digits").class_names, open_data("digits").labels
    rows = [int(row) for row in re.findall(r"digit, number (\d+) of", text)]
    first, final = predicted[min(predicted)], predicted[max(predicted)]
    for row, match in zip(rows, filter(None, shown), strict=True):
        assert (match[1], match[2], match[3] or match[2]) == tuple(names[c[row]] for c in (labels, first, final))


def test_no_number_on_the_page_has_an_exponent(found):
    text = re.sub(r'src="[^"]+"|<style>.*?</style>|<pre>.*?</pre>', "", found.page.read_text(), flags=re.DOTALL)
    assert not re.search(r"\d\.?\d*e[+-]\d", text)


def made(method: str, keep: int, accuracy: list[float], steps: int = 100, n: int = 400) -> Row:
    """A row whose seeds err on the same last examples."""
    right = np.array([[i < round(a * n) for i in range(n)] for a in accuracy])
    return Row(method, keep, tuple(right.mean(1)), steps, 0.5, method != "random", right.mean(0))


def compared(ccs: list[float], random: list[float], full: float = 0.99) -> Comparison:
    equal = [made("full data", 100, [full] * 3), made("random", 50, random), made("CCS (AUM)", 50, ccs)]
    reduced = [made("full data, shortened", 50, [0.985] * 3, 30)]
    return Comparison(equal, reduced, 2.0, 30.0, Path("index.html"))


def test_noise_covers_the_seeds_and_the_held_out_examples():
    # Seeds agree: 3 of 400 examples make a difference of 0.75 points. Its standard error is sqrt(0.0075 * 0.9925 / 399)
    # = 0.43 points, so 0.75 is less than two of them. For 3 points it is 0.85.
    a, b, c = (made("m", 50, [accuracy] * 3) for accuracy in (0.95, 0.9575, 0.98))
    assert not differs(a, b) and differs(a, c) and differs(c, a) and not differs(a, a)
    # Seeds disagree by 0.1 on both sides: s = 0.1, so the seeds alone make it sqrt(0.02 / 3) = 8.2 points.
    assert not differs(made("m", 50, [0.7, 0.8, 0.9]), made("m", 50, [0.8, 0.9, 1.0]))


def test_a_leader_must_differ_from_all_others():
    low, mid, high = (made(name, 50, [a] * 3) for name, a in (("low", 0.8), ("mid", 0.97), ("high", 0.975)))
    assert leader([low, mid]) is mid and leader([low, mid, high]) is None


def test_the_answer_is_honest_about_noise():
    close = answer(compared([0.985, 0.98, 0.985], [0.96, 0.98, 0.99])).replace("\xa0", " ")
    assert close == (
        "50 % of the images, chosen by CCS (AUM), come within 0.7 points of full data in as many training steps "
        "(98.3 % accuracy against 99.0 %); a random 50 % gets 97.7 %, a difference within noise; and stopping after "
        "30 % of the steps on all images gives 98.5 %."
    )
    assert "a random 50\xa0% gets 80.0\xa0%, a difference beyond noise;" in answer(compared([0.985] * 3, [0.8] * 3))
    assert "chosen at random, come within 1.0 points" in answer(compared([0.9] * 3, [0.98] * 3))
    assert "no scored choice of 50\xa0% does better" in answer(compared([0.9] * 3, [0.98] * 3))
    assert "do as well as full data" in answer(compared([0.995] * 3, [0.9] * 3))


def test_the_answer_leads_the_page(found):
    assert f'<p class="lead">{answer(found)}</p>' in found.page.read_text()


@pytest.mark.slow
def test_the_whole_demo_says_what_it_should(tmp_path):
    """The real one: random beats the hardest at 10 %, and nothing beats full data by much."""
    found = demo_module.demo(tmp_path)
    at = {(row.method, row.keep): row.mean for row in found.equal}
    assert at["full data", 100] > 0.95 and at["random", 10] > at["top-k (EL2N, hardest)", 10]
    assert max(at.values()) < at["full data", 100] + 0.02
    assert found.seconds < 180
