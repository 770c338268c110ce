"""Reports: page and JSON have the same numbers, hostile text stays text, and what cannot be reported on is refused."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from html import unescape
from pathlib import Path

import browser
import numpy as np
import pyarrow as pa
import pytest
import torch
from browser import look

import datadiet as dd
from datadiet.cli import main
from datadiet.errors import DataError, FingerprintMismatch, OptionError
from datadiet.report.markup import clean
from datadiet.runtime.layout import Layout
from datadiet.workflow.reporting.example_panels import _border
from datadiet.workflow.reporting.subject import Subject

HOSTILE = "<script>window.ran = 1</script><img src=x onerror='window.ran = 1'>\"'&{{ 7 * 7 }}\x00" + "w" * 90
WIDTHS = (390, 820, 1600)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "run"
    dd.score("digits", "datadiet:mlp", ["aum", "el2n"], epochs=3, seeds=2, out=folder)
    return folder


@pytest.fixture(scope="module")
def selection(run):
    return dd.select(run, "ccs", keep=0.3)


@pytest.fixture(scope="module")
def full(run, selection):
    return dd.make_report(selection, scores=run, data="digits")


@pytest.fixture(scope="module")
def screened(run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "screened"
    methods = ["ccs", "aum+top_k:prefer=hardest", "aum+top_k:prefer=easiest"]
    dd.compare("digits", "datadiet:mlp", methods, keep="50%", epochs=4, seeds=2, screen=2, out=folder)
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report") / "compared"
    dd.compare(
        "digits", "datadiet:mlp", ["ccs", "random"], keep=["30%", "50%"], epochs=2, seeds=2, budget="both", out=folder
    )
    return folder


def words(page: str) -> str:
    """What a reader reads, on one line."""
    page = re.sub(r"<style>.*?</style>", " ", page, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).replace("\xa0", " ").split())


def test_the_histogram_on_the_page_is_that_of_the_json_and_of_the_scores(run, selection, full):
    scores, found = dd.Scores.read(run), full.as_dict()["histograms"]
    assert list(found) == ["aum", "el2n"]
    bars = [(int(a), int(k)) for a, k in re.findall(r'data-all="(\d+)" data-kept="(\d+)"><title>', full.html())]
    expected = []
    for name, bins in found.items():
        every = np.histogram(scores[name], bins["edges"])[0]
        kept = np.histogram(scores[name][selection.keep], bins["edges"])[0]
        assert bins["every"] == tuple(every) and bins["kept"] == tuple(kept) and every.sum() == 1438
        expected += [(a, k) for a, k in zip(every, kept, strict=True) if a]
    expected += [(a, k) for *_, a, k in full.as_dict()["agreement"]["cells"]]
    strata = full.as_dict()["strata"]["strata"]
    expected += [(row["before"], row["after"]) for row in strata]
    assert bars == expected


def test_score_against_score_counts_every_example_once(run, selection, full):
    found, scores = full.as_dict()["agreement"], dd.Scores.read(run)
    assert sum(cell[2] for cell in found["cells"]) == 1438 and sum(cell[3] for cell in found["cells"]) == len(selection)
    rank = [np.argsort(np.argsort(scores.hardness(name))) for name in ("aum", "el2n")]  # hardly any ties
    assert found["rank_correlation"]["aum"]["el2n"] == pytest.approx(np.corrcoef(rank)[0, 1], abs=1e-3)


def test_classes_and_card_are_those_of_the_selection(selection, full):
    counts, found = selection.meta["classes"], full.as_dict()
    expected = list(zip(counts["names"], counts["before"], counts["after"], strict=True))
    assert [(row["name"], row["before"], row["after"]) for row in found["classes"]] == expected
    page = words(full.html())
    assert found["card"][0] == {"name": "Kept", "value": "431", "note": "of 1,438 examples, 29.97 %"}
    for line in found["card"]:
        assert f"{line['name']} {line['value']} {line['note']}" in page
    assert found["lead"] in page


def test_the_scores_agree_as_the_run_says(run, full):
    stability = dd.Scores.read(run).meta["stability"]
    rows = {row["score"]: row for row in full.as_dict()["scores"]}
    assert rows["aum"]["spearman"] == stability["aum"]["spearman"] and rows["aum"]["harder"] == "low"
    assert f"{rows['aum']['spearman']:.4g}" in words(full.html())


def test_examples_have_the_label_prediction_and_score_that_they_have(run, selection, full):
    scores, found = dd.Scores.read(run), full.as_dict()["examples"]
    assert {"Hardest kept", "Easiest kept", "Hardest left out", "Easiest left out"} <= set(found)
    hardness, keep = scores.hardness("aum"), selection.keep
    for name, kept, hardest in (("Hardest kept", True, True), ("Easiest left out", False, False)):
        rows = [int(np.searchsorted(scores.index, entry["index"])) for entry in found[name]]
        assert all(keep[row] == kept for row in rows)
        values = np.sort(hardness[keep == kept])
        extreme = values[::-1][:6] if hardest else values[:6]
        assert hardness[rows].tolist() == extreme.tolist()
    captions = words(full.html())
    wrong = 0
    for entry in (entry for group in found.values() for entry in group):
        row = int(np.searchsorted(scores.index, entry["index"]))
        assert entry["label"] == str(scores.labels[row]) and entry["score"] == "aum"
        assert entry["value"] == pytest.approx(float(scores["aum"][row]))
        assert f"{entry['id']} label {entry['label']} predicted {entry['predicted']} aum" in captions
        wrong += entry["label"] != entry["predicted"]
    assert wrong and full.html().count("<strong>predicted") >= wrong


def test_suspects_are_those_of_the_command(run, full):
    assert full.as_dict()["suspects"] == json.loads(json.dumps(dd.suspects(run, 12, data="digits").as_dict()))


def test_how_well_a_score_decides_by_hand():
    # Kept are the hardest two: one value separates them. Then one of them changes places with the easiest.
    hardness = np.array([5.0, 4.0, 3.0, 2.0, 1.0])
    decided, groups = _border(hardness, np.array([True, True, False, False, False]))
    assert decided == 1.0 and [(name, rows.tolist()) for name, _, rows in groups] == [
        ("Borderline, kept", [0, 1]),
        ("Borderline, left out", [2, 3, 4]),
    ]
    # After the hardest: 1/2 of the kept, none of the others. After four: 1/2 and 3/3, so the gap is -1/2 there.
    decided, _ = _border(hardness, np.array([True, False, False, False, True]))
    assert decided == 0.5
    easiest, groups = _border(hardness, np.array([False, False, False, True, True]))
    assert easiest == 1.0 and [name for name, *_ in groups] == ["Borderline, left out", "Borderline, kept"]
    assert _border(np.zeros(4), np.array([True, False, True, False]))[0] == 0.0  # ties lie on one side
    assert _border(np.full(4, np.inf), np.array([True, False, True, False]))[0] == 0.0


def test_how_well_a_score_separates_is_said_where_something_is_left_out(run):
    part, whole = (dd.make_report(dd.select(run, "random", keep=keep), scores=run) for keep in (0.3, 1.0))
    said = (
        r"No single value of aum separates the kept examples from the rest: the best one reaches \d+ % \(100 % = comp"
    )
    assert re.search(said, words(part.html())) and "separates" not in words(whole.html())
    cut = dd.make_report(dd.select(run, "top_k", score="aum", keep=0.3, prefer="hardest"), scores=run)
    assert "A single value of aum separates the kept examples from the rest." in words(cut.html())


def test_a_threshold_shows_both_sides_of_its_cut(run):
    hard = dd.select(run, "top_k", score="el2n", keep=0.3, prefer="hardest")
    found, scores = dd.make_report(hard, scores=run).as_dict()["examples"], dd.Scores.read(run)
    cut = float(np.sort(scores["el2n"])[::-1][len(hard) - 1])
    assert found["Easiest kept"][0]["value"] == pytest.approx(cut)
    assert all(entry["value"] <= cut for entry in found["Hardest left out"])
    # Neither random ones, which are for where there is no cut, nor the same ones again as borderline.
    assert list(found) == ["Hardest kept", "Easiest kept", "Hardest left out", "Easiest left out"]
    page = words(dd.make_report(hard, scores=run).html())
    assert "Easiest kept just on the kept side" in page and "Hardest left out just left out" in page


def test_both_sides_of_the_cut_are_shown_where_no_other_examples_are_they():
    kept = np.arange(60) >= 30
    kept[:6], kept[-6:] = True, False  # the easiest are kept, and the hardest left out
    scores = dd.Scores.from_arrays({"a": np.arange(60.0)})
    chosen = dd.Selection.from_ids([str(row) for row in np.flatnonzero(kept)], scores)
    found = dd.make_report(chosen, scores=scores).as_dict()["examples"]
    assert [entry["value"] for entry in found["Borderline, kept"]] == [35, 34, 33, 32, 31, 30]
    assert [entry["value"] for entry in found["Borderline, left out"]] == [29, 28, 27, 26, 25, 24]


@pytest.fixture
def repeated(tmp_path):
    """Ten vectors, of which the last two repeat the first two."""
    vectors = np.vstack([np.eye(8, dtype=np.float32), np.eye(8, dtype=np.float32)[:2]])
    return vectors, dd.select(vectors, "exact_dedup", keep=8)


def test_duplicates_stand_beside_what_they_repeat(repeated):
    vectors, chosen = repeated
    report = dd.make_report(chosen, data=dd.open_data(torch.tensor(vectors)))
    found = report.as_dict()["duplicates"]
    assert found["left_out"] == 2
    assert {frozenset((pair["id"], pair["like"])) for pair in found["pairs"]} == {frozenset("08"), frozenset("19")}
    first, kept = found["pairs"][0], set(map(str, chosen.indices))
    assert first["like"] in kept and first["id"] not in kept
    assert f"{first['id']} is like {first['like']}" in words(report.html())
    shown = [" ".join(f"{value:.0f}" for value in vectors[int(first[key])]) for key in ("id", "like")]
    assert shown[0] == shown[1] and f"{shown[0]} {first['id']} {shown[1]} {first['like']}" in words(report.html())
    assert dd.make_report(chosen).as_dict()["duplicates"] == found
    for page in (words(report.html()), words(dd.make_report(chosen).html())):  # all have a similarity of 1
        assert "Which examples are copies of which?" in page
        assert "least alike" not in page and "similarity" not in page.partition("Provenance")[0]


def test_of_duplicates_that_differ_the_least_alike_are_shown():
    rng = np.random.default_rng(0)
    vectors = np.repeat(rng.normal(size=(5, 8)), 2, axis=0) + 0.05 * rng.normal(size=(10, 8))
    page = words(dd.make_report(dd.select(vectors, "semdedup", epsilon=0.1, clusters=2)).html())
    assert "Which examples are copies of which?" in page and "least alike first" in page and "similarity" in page


def test_what_leaked_is_shown_without_an_example_of_ours_that_has_the_number_of_its_witness():
    vectors = np.eye(8, dtype=np.float32)
    chosen = dd.select(vectors, "decontaminate", reference=vectors[[0, 5]], epsilon=0.1)
    report = dd.make_report(chosen, data=dd.open_data(torch.tensor(vectors)))
    page = words(report.html())
    assert "5 is like 1 of the reference data" in page and "much like one of the reference data" in page
    third = re.search(r"5 is like 1 of the reference data(.*?)(To make|Not shown)", page)[1]
    assert third.count("0 0 0 0") == 1  # the example itself, not our second one
    assert report.as_dict()["duplicates"]["of_reference"]
    assert "-p reference=REFERENCE" in report.commands[0] and report.commands[0].startswith("datadiet select VECTORS ")


def test_the_nearest_kept_example_is_not_called_a_duplicate():
    chosen = dd.select(np.random.default_rng(0).normal(size=(20, 4)), "k_center", keep=5)
    page = words(dd.make_report(chosen).html())
    assert "the one that k_center keeps in its place" in page and "repeat" not in page and "copies" not in page
    assert "What is kept in place of those left out?" in page


def test_a_command_names_what_the_selection_was_made_from(tmp_path):
    texts = dd.open_data(pa.table({"text": ["a b c", "a b c", "d e f"]}), text="text")
    assert dd.make_report(dd.select(texts, "exact_dedup")).commands[0].startswith("datadiet select DATA --text COLUMN ")
    easy = dd.select(np.arange(5.0), "top_k", keep=2, prefer="hardest", higher_is="easier")
    assert "datadiet select SCORES --higher-is score=easier " in dd.make_report(easy).commands[0]
    vectors = np.random.default_rng(0).normal(size=(20, 4))
    clustered = dd.select(vectors, "semdedup", epsilon=0.1, clusters=dd.kmeans(vectors, 2))
    assert dd.make_report(clustered).commands == []


def test_without_data_or_scores_it_says_what_would_add_them(run, selection):
    alone = dd.make_report(selection)
    assert [panel.name for panel in alone.panels] == ["classes", "strata", "examples"]
    assert any("scores= (--scores RUN)" in note for note in alone.notes)
    assert any("data= (--data DATA)" in note for note in alone.notes)
    assert "Not shown" in words(alone.html()) and "Not shown" not in words(dd.make_report(run, data="digits").html())


def test_a_run_shows_all_its_scores_and_which_classes_are_hard(run):
    found = dd.make_report(run).as_dict()
    assert found["kind"] == "run" and all(bins["kept"] is None for bins in found["histograms"].values())
    scores = dd.Scores.read(run)
    hardness = scores.hardness("aum")
    share = (np.argsort(np.argsort(hardness)) + 0.5) / len(hardness)
    row = next(row for row in found["classes"] if row["name"] == "8")
    assert row["mean_rank"] == pytest.approx(share[scores.labels == 8].mean(), abs=1e-3)
    assert row["hardest_tenth"] == pytest.approx((share[scores.labels == 8] > 0.9).mean(), abs=1e-3)
    assert set(found["history"]) == {"0", "1"} and len(found["history"]["0"]) == 3


def test_a_network_that_has_learned_nothing_is_named(run):
    scores = dd.Scores.read(run)
    for accuracy, warned in ((0.1, True), (0.18, True), (0.2, False), (0.9, False)):
        meta = {**scores.meta, "facts": {**scores.meta["facts"], "accuracy": accuracy}}
        found = dd.Scores(scores.index, scores.columns, scores.ids, scores.labels, meta)
        lead = dd.make_report(found).lead
        assert (f"gets only {100 * accuracy:.3g} % of the held-out examples right" in lead) == warned
        assert ("guessing among 10 classes gets 10 %" in lead) == warned
        assert ("guessing" in dd.make_report(dd.select(found, "ccs", keep=0.3), scores=found).lead) == warned


def test_a_training_shows_how_it_went(run, selection, tmp_path):
    result = dd.train("digits", "datadiet:mlp", selection, epochs=3, out=tmp_path / "trained")
    report = dd.make_report(tmp_path / "trained")
    found = report.as_dict()
    assert found["kind"] == "training" and len(found["history"]["0"]) == 3
    assert found["card"][0]["value"] == f"{100 * result.accuracy:.1f} %" and len(found["recall"]) == 10
    assert "--selection SELECTION.parquet --epochs 3" in " ".join(report.commands)
    for option in ("data", "score", "model"):
        with pytest.raises(OptionError, match=rf"{option}= \(--{option}\) is about scores"):
            dd.make_report(tmp_path / "trained", **{option: "digits"})
    (tmp_path / "trained" / "run.json").unlink()
    with pytest.raises(DataError, match="not finished"):
        dd.make_report(tmp_path / "trained")


def test_the_commands_make_the_same_again(run, tmp_path, monkeypatch):
    chosen = dd.select(run, "ccs", keep="30%", score="el2n", strata=20, seed=3, by_class=True)
    chosen.write(tmp_path / "selection.parquet")
    commands = [command for command in dd.make_report(chosen, scores=run).commands if not command.startswith("#")]
    monkeypatch.chdir(tmp_path)
    for command in commands:
        given = command.replace("DATA", "digits").replace(" --eval EVAL", "").replace("\\\n", " ")
        with pytest.raises(SystemExit) as stopped:
            main(shlex.split(given)[1:])
        assert stopped.value.code == 0
    again = dd.Selection.read("SELECTION.parquet")
    assert np.array_equal(again.chosen, chosen.chosen)
    assert np.array_equal(dd.Scores.read("RUN")["aum"], dd.Scores.read(run)["aum"])


def test_a_comparison_shows_what_comparison_json_says(compared):
    told, report = json.loads(Layout(compared).comparison.read_text()), dd.make_report(compared, data="digits")
    found, page = report.as_dict(), words(report.html())
    rows = told["rows"][1:]
    assert found["equal"] + found["reduced"] == [row for row in rows if row["budget"] == "equal"] + [
        row for row in rows if row["budget"] == "reduced"
    ]
    for row in rows:
        mean, spread = 100 * np.mean(row["accuracy"]), 100 * np.std(row["accuracy"], ddof=1)
        assert f"{mean:.1f} ± {spread:.1f}" in page
        assert f"{100 * row['kept'] / 1438:.3g} %, {row['name']}:" in page
    assert f"{100 * np.mean(told['rows'][0]['accuracy']):.1f} %" == found["card"][0]["value"]
    assert {"histograms", "examples", "suspects", "costs"} <= set(found)
    assert all(f"{row['costs']['training']:.4g}" in page for row in rows)
    assert all(f"{part} {seconds:.4g}" in page for part, seconds in told["seconds"].items())


def test_a_screening_is_shown_and_called_uncertified(screened):
    told, report = json.loads(Layout(screened).comparison.read_text()), dd.make_report(screened)
    page = words(report.html())
    assert report.as_dict()["screening"] == told["screening"] and "Screening (uncertified)" in page
    for rung in told["screening"]["rungs"]:
        assert all(f"{name} {loss:.4g}" in page for name, loss in rung["losses"].items())
    assert [row["part"] for row in report.as_dict()["costs"]["parts"]] == sorted(
        told["seconds"], key=lambda part: -told["seconds"][part]
    )
    command = " ".join(report.commands[0].split())
    named = re.search(r"--methods (\S+)", command)[1].split(",")
    assert set(named) == {"ccs", "aum+top_k:prefer=hardest", "aum+top_k:prefer=easiest"} and "--screen 2" in command


def test_a_comparison_that_took_the_scores_of_another_run(run, tmp_path):
    options = {"keep": "50%", "epochs": 3, "seeds": 2}
    dd.compare("digits", "datadiet:mlp", ["ccs"], scores=run, out=tmp_path / "reused", **options)
    found = dd.make_report(tmp_path / "reused", data="digits").as_dict()
    assert "equal" in found and "histograms" not in found and any("Scores" in note for note in found["notes"])


def test_the_lead_of_a_comparison_follows_the_certificate(compared):
    from datadiet.workflow.reporting.comparison_panels import comparison_lead

    told = json.loads(Layout(compared).comparison.read_text())
    for row in told["rows"]:
        row["verdict"] = row["verdict"] and {"within": False, "worse": True}
    lead = comparison_lead(told).replace("\xa0", " ")
    assert lead.startswith("With as many training steps, no choice of examples is shown to be within 2 points of all")
    by_class = comparison_lead({**told, "metric": "worst_class"})
    assert "of all of them in every class" in by_class and re.search(
        r"RS2 loses \S+ points in the class that loses most, ", by_class
    )
    for row in told["rows"]:
        if row["name"] == "ccs" and row["budget"] == "equal":
            row["verdict"], row["loss"]["mean"] = {"within": True, "worse": False}, 0.1
        if row["name"] == "random" and row["budget"] == "equal" and row["kept"] == 431:
            row["loss"]["mean"] = 1.234
    lead = comparison_lead(told).replace("\xa0", " ")
    assert lead.startswith("With as many training steps, 30 % of the examples, chosen by ccs, are shown to be within 2")
    assert "For comparison, at 30 %: random examples lose 1.2 points. With" in lead
    for row in told["rows"]:
        if row["name"] == "RS2":
            row["loss"]["mean"] = -0.31
    reduced = comparison_lead(told).replace("\xa0", " ")
    reduced = reduced[reduced.index("With fewer steps") :]
    assert "of all of them. For comparison, at 50 %: RS2 gains 0.3 points, " in reduced
    assert re.search(r"points, all the data with as few steps loses [\d.]+, random examples [\d.]+\.$", reduced)


@pytest.mark.parametrize(
    ("metric", "heading", "shown"),
    [
        ("worst_class", "Recall of the worst class in %", "30.0 ± 14.1"),
        ("loss", "Mean loss in nats", "0.300 ± 0.141"),
        ("accuracy", "Accuracy in %", "30.0 ± 14.1"),
    ],
)
def test_a_comparison_shows_the_metric_that_was_asked_for(compared, metric, heading, shown):
    """Values of 0.2 and 0.4: their mean is 0.3, their standard deviation 0.1 * sqrt(2)."""
    from datadiet.workflow.reporting.comparison_panels import comparison_card, comparison_panels

    told = json.loads(Layout(compared).comparison.read_text()) | {"metric": metric}
    accuracy = 100 * np.mean(told["rows"][0]["accuracy"])
    for row in told["rows"]:
        row["measured"] = [0.2, 0.4]
    assert comparison_card(told)[0][1] == f"{shown.split()[0]} {heading.split()[-1]}"
    body = words(" ".join(str(part) for panel in comparison_panels(told) for part in panel.body))
    assert heading in body and shown in body and f"{heading.partition(' in ')[0]} by share" in body
    for row in told["rows"]:
        del row["measured"]  # as in files of older versions
    assert comparison_card(told)[0][1] == f"{accuracy:.1f} %" and "accuracy, mean of" in comparison_card(told)[0][2]


def test_what_is_not_within_the_margin_never_pays_off(compared):
    from datadiet.workflow.reporting.comparison_panels import comparison_panels

    told = json.loads(Layout(compared).comparison.read_text())
    for row in told["rows"]:
        row["pays_after"] = 7  # as older versions wrote, whatever the verdict
        row["verdict"] = row["verdict"] and {"within": row["name"] == "ccs", "worse": True}
    costs = next(panel for panel in comparison_panels(told) if panel.name == "costs").values["rows"]
    assert {row["pays_after"] for row in costs if row["name"] == "ccs"} == {7}
    assert {row["pays_after"] for row in costs if row["name"] != "ccs"} == {None}


def test_what_limits_a_comparison_is_not_among_what_is_missing(compared):
    told, report = json.loads(Layout(compared).comparison.read_text()), dd.make_report(compared)
    assert told["notes"] and report.as_dict()["cautions"] == told["notes"]
    page = words(report.html())
    assert not set(told["notes"]) & set(report.notes)
    assert page.index("What limits this comparison?") < page.index(told["notes"][0]) < page.index("Not shown ")


def test_a_loss_in_nats_has_the_digits_that_its_margin_needs(compared):
    from datadiet.workflow.reporting.comparison_panels import comparison_lead

    told = json.loads(Layout(compared).comparison.read_text()) | {"metric": "loss", "margin": 0.05}
    for row in told["rows"]:
        if row["name"] == "random":
            row["loss"]["mean"] = 0.0187
    assert "random examples lose 0.019 nats" in comparison_lead(told)


def test_a_training_with_masks_says_that_its_command_is_missing(tmp_path):
    dd.train("digits", "datadiet:mlp", epochs=1, sparsify="global_magnitude:0.5", out=tmp_path / "sparse")
    report = dd.make_report(tmp_path / "sparse")
    assert report.commands == [] and report.notes[0].startswith("The command: only plain trainings")


@pytest.mark.filterwarnings("ignore:.*py:")
def test_a_network_of_code_is_not_asked_and_no_path_is_told(tmp_path, monkeypatch):
    (tmp_path / "own_network.py").write_text(
        "import torch\n\ndef net():\n    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    dd.score("digits", "py:own_network:net", ["aum"], epochs=1, out=tmp_path / "run")
    report = dd.make_report(tmp_path / "run", data="digits")
    assert [note.partition(":")[0] for note in report.notes] == ["What the network predicts"]
    assert "RUN/checkpoints" in report.notes[0] and str(tmp_path) not in report.html()
    assert "predicted" not in report.as_dict()["suspects"]["suspects"][0]
    asked = dd.make_report(tmp_path / "run", data="digits", model="py:own_network:net")
    assert not asked.notes and "predicted" in asked.as_dict()["suspects"]["suspects"][0]


def test_pictures_that_are_not_finite_are_drawn_without_a_warning():
    images = torch.rand(20, 1, 9, 9)
    images[0], images[1, 0, 0, 0] = torch.nan, torch.inf
    data = dd.open_data((images, torch.zeros(20, dtype=torch.int64)))
    assert dd.make_report(dd.Scores.from_arrays({"a": -np.arange(20.0)}), data=data).html().count("<img ") == 18


def test_the_name_of_a_picture_cannot_reverse_what_is_read_aloud():
    rng = np.random.default_rng(0)
    table = pa.table({"id": ["photo\u202egnp.exe", "b"], "x": [rng.random((9, 9)).tolist()] * 2})
    scores = dd.Scores.from_arrays({"id": table["id"].to_pylist(), "a": [1.0, 2.0]})
    data = dd.open_data(table, id="id", image="x")
    page = dd.make_report(scores, data=data).html()
    assert 'alt="example photo\\u202egnp.exe"' in page


def test_what_does_not_belong_together_is_refused(run, selection, tmp_path):
    scores = dd.Scores.read(run)
    other = dd.Scores(
        scores.index, {**scores.columns, "aum": scores["aum"] + 1}, scores.ids, scores.labels, scores.meta
    )
    with pytest.raises(FingerprintMismatch, match=r"column aum has changed.*--scores RUN"):
        dd.make_report(selection, scores=other)
    with pytest.raises(FingerprintMismatch):
        dd.make_report(selection, data=dd.open_data((torch.zeros(1438, 4), torch.zeros(1438, dtype=torch.int64))))
    with pytest.raises(OptionError, match="is for a selection, and this is a run"):
        dd.make_report(run, scores=run)
    with pytest.raises(OptionError, match=r"did you mean 'aum'"):
        dd.make_report(run, score="aun")
    with pytest.raises(OptionError, match="no scores are given"):
        dd.make_report(selection, score="aum")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no run"):
        dd.make_report(tmp_path / "empty")
    with pytest.raises(OptionError, match=r"of type ndarray.*from_arrays"):
        dd.make_report(np.arange(4.0))
    unfinished = shutil.copytree(run, tmp_path / "unfinished")
    (unfinished / "scores.parquet").unlink()
    with pytest.raises(DataError, match="not finished: run the command that made it again"):
        dd.make_report(unfinished)
    dd.embed("digits", "datadiet:mlp", checkpoint=run, out=tmp_path / "vectors")
    with pytest.raises(DataError, match="no score to report on"):
        dd.make_report(tmp_path / "vectors")


@pytest.mark.parametrize(
    "values",
    [
        {"a": np.full(9, 2.0), "b": np.arange(9.0)},
        {"a": np.array([np.nan, np.inf, *np.arange(7.0)])},
        {"a": np.full(9, np.nan), "b": np.full(9, np.nan)},
        {"a": np.arange(9) % 2 == 0},
        {"a": np.array([1e-30, *[1e30] * 8])},
        {"a": np.full(9, 1e30), "b": np.arange(9.0)},
    ],
)
def test_odd_scores_make_a_page(values):
    scores = dd.Scores.from_arrays(values)
    report = dd.make_report(scores)
    json.loads(json.dumps(report.as_dict(), allow_nan=False))
    assert report.html().endswith("</html>\n") or "</html>" in report.html()


def test_a_selection_of_unlabelled_examples_says_nothing_of_classes():
    scores = dd.Scores.from_arrays({"a": np.arange(9.0)}, labels=np.full(9, -1))
    chosen = dd.select(scores, "top_k", keep=3, prefer="hardest")
    for report in (dd.make_report(chosen, scores=scores), dd.make_report(chosen)):
        assert "classes" not in report.as_dict() and "Classes" not in words(report.html())


def test_examples_without_a_score_make_no_class_easy():
    values = np.array([np.nan, np.nan, 1.0, 2.0])
    found = dd.make_report(dd.Scores.from_arrays({"a": values}, labels=[0, 1, 0, 1])).as_dict()["classes"]
    # Ranks among the two that have one: 25 and 75 %.
    assert [(row["name"], row["examples"], row["mean_rank"]) for row in found] == [("0", 1, 0.25), ("1", 1, 0.75)]


def test_the_stratum_that_ccs_drops_is_not_one_that_gets_a_share(run):
    dropped = words(dd.make_report(dd.select(run, "ccs", keep=0.3)).html())
    assert "0 holds those that ccs drops first" in dropped
    assert "drops first" not in words(dd.make_report(dd.select(run, "ccs", keep=0.6)).html())


def test_scores_may_have_the_names_of_what_else_is_said():
    values = {"score": np.arange(9.0), "predicted": np.arange(9.0)[::-1], "value": np.arange(9.0)}
    found = dd.make_report(dd.Scores.from_arrays(values), score="predicted").as_dict()
    assert found["agreement"]["rank_correlation"]["predicted"] == {
        "score": pytest.approx(-1),
        "value": pytest.approx(-1),
    }
    assert found["examples"]["Hardest"][0] == {"index": 0, "id": "0", "score": "predicted", "value": 8.0}


def test_a_selection_knows_what_its_scores_from_elsewhere_mean(tmp_path):
    values = np.arange(10.0, dtype=np.float32)
    np.save(tmp_path / "quality.npy", values)
    chosen = dd.select(values, "top_k", keep=3, prefer="hardest", higher_is="easier")
    found = dd.make_report(chosen, scores=tmp_path / "quality.npy").as_dict()
    assert found["histograms"]["score"]["harder"] == "low"
    assert [entry["index"] for entry in found["examples"]["Hardest kept"]] == [0, 1, 2]


def test_a_score_file_that_does_not_say_what_is_hard_is_told(tmp_path, capsys):
    np.save(tmp_path / "quality.npy", np.arange(10.0))
    for word, hardest in (("harder", 9), ("easier", 0)):
        out = str(tmp_path / f"{word}.html")
        assert run_cli("report", str(tmp_path / "quality.npy"), "--higher-is", word, "--out", out, "--json") == 0
        assert json.loads(capsys.readouterr().out)["examples"]["Hardest"][0]["index"] == hardest
        said = "score comes from another program. Unless higher_is= (--higher-is) says otherwise, a high value is"
        assert said in words(Path(out).read_text())


def test_scores_from_elsewhere_are_named_in_a_sentence():
    for names, said in ((["a", "b"], "a and b come from"), (["a", "b", "c"], "a, b and c come from")):
        values = {name: np.arange(9.0) for name in names}
        assert said in words(dd.make_report(dd.Scores.from_arrays(values)).html())


def test_scores_that_are_not_drawn_are_counted():
    page = words(dd.make_report(dd.Scores.from_arrays({f"s{i}": np.arange(9.0) for i in range(8)})).html())
    assert "2 more are not drawn" in page


@pytest.mark.parametrize(("labels", "sentence"), [([0, 0, 1, 1], "Classes keep 50 %"), ([0, 0, 0, 0], None)])
def test_the_lead_does_not_give_a_range_of_one(labels, sentence):
    scores = dd.Scores.from_arrays({"a": np.arange(4.0)}, labels=labels)
    lead = dd.make_report(dd.select(scores, "top_k", keep=2, prefer="hardest", by_class=True), scores=scores).lead
    assert "by top_k (a) within each class." in lead
    assert sentence in lead if sentence else "Classes" not in lead


def test_scores_are_missed_only_where_there_may_be_some(repeated):
    by_vectors, by_chance = repeated[1], dd.select(np.arange(3.0), "random", keep=1)
    assert not any("Scores" in note for note in dd.make_report(by_vectors).notes)
    assert any("Scores" in note for note in dd.make_report(by_chance).notes)


def test_one_example_makes_a_page():
    page = words(dd.make_report(dd.Scores.from_arrays({"a": [1.0]}, labels=[0])).html())
    assert "1 example of 1 class has 1 score." in page and "1 examples" not in page


def test_what_leaves_the_axis_of_the_certificate_ends_in_an_arrow():
    from datadiet.report.intervals import Interval, intervals
    from datadiet.report.palette import look as looks

    rows = [Interval("far", 40.0, 30.0, 50.0, looks(0)), Interval("any", 1.0, -np.inf, np.inf, looks(1), "not shown")]
    drawing = str(intervals(rows, 2.0, title="t", x_label="x"))
    arrows = re.findall(r'd="M[^"]*Z" fill="var\(--dd-\d\)"/>', drawing)
    assert len(arrows) == 2 and "far: 40.0 (30.0 to 50.0)" in drawing  # both of the second row
    assert "any: 1.0 (any to any), not shown" in drawing


def hostile(n: int = 240) -> tuple[dd.Scores, dd.Selection, dd.Source]:
    """Scores, a selection and texts, whose ids, classes, columns and texts try to break out."""
    rng = np.random.default_rng(0)
    ids = [f"{i} {HOSTILE}" for i in range(n)]
    names = [f"class {c} {HOSTILE}" for c in range(30)]
    labels = np.array([names[i % 30] for i in range(n)])
    score = clean(HOSTILE)
    table = pa.table({"text": [f"{HOSTILE} {i} " * 9 for i in range(n)], "label": labels, "id": ids})
    source = dd.open_data(table, text="text", id="id")
    columns = {"id": ids, score: rng.normal(size=n), f"other {score}": rng.normal(size=n)}
    scores = dd.Scores.from_arrays(columns, labels=labels).placed(source)
    return scores, dd.select(scores, "top_k", keep=0.3, score=score, prefer="hardest"), source


def test_hostile_text_stays_text():
    scores, chosen, source = hostile()
    report = dd.make_report(chosen, scores=scores, data=source)
    page = report.html()
    assert "<script" not in page and "onerror" not in re.sub(r"&lt;.*?&gt;", "", page) and "\x00" not in page
    assert not re.search(r"url\(|@import|(?:src|href)=\"(?!data:image/png)", page)
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "").replace("http-equiv", "")
    assert "{{ 7 * 7 }}" in words(page) and "49" not in re.findall(r"(?<=')&(\S+)", words(page))
    assert report.as_dict()["examples"]["Hardest kept"][0]["id"].endswith(HOSTILE)
    assert len(page) < 2_000_000


@pytest.mark.skipif(browser.CHROMIUM is None, reason="there is no Chromium: install it to look at the pages")
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS)
def test_in_a_browser_it_fits_runs_nothing_and_can_be_read(compared, tmp_path, width, dark):
    scores, chosen, source = hostile()
    pages = (dd.make_report(chosen, scores=scores, data=source), dd.make_report(compared, data="digits"))
    for number, report in enumerate(pages):
        (tmp_path / str(number)).mkdir()
        seen = look(report.html(), tmp_path / str(number), width, dark)
        assert seen["over"] == 0 and seen["wide"] == []
        assert seen["scripts"] == 0 and seen["ran"] == "undefined" and seen["unnamed"] == 0
        assert seen["title"] == report.title and seen["headings"][0] == "H1"
        assert contrast(seen["paper"], seen["ink"]) > 7 and (luminance(seen["paper"]) < 0.1) == dark
    assert clean(HOSTILE)[:60] in look(pages[0].html(), tmp_path, width, dark)["text"]


def luminance(colour: str) -> float:
    """Relative luminance of "rgb(r, g, b)", as WCAG 2 defines it."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def contrast(a: str, b: str) -> float:
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


def test_the_page_of_a_large_data_set_stays_small(tmp_path):
    n, rng = 200_000, np.random.default_rng(0)
    scores = dd.Scores.from_arrays({f"score {i}": rng.normal(size=n) for i in range(10)}, labels=np.arange(n) % 1000)
    report = dd.make_report(dd.select(scores, "top_k", keep=0.3, score="score 0", prefer="hardest"), scores=scores)
    assert len(report.html()) < 2_000_000 and len(report.as_dict()["classes"]) == 1000


def run_cli(*words: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(words))
    return int(stopped.value.code or 0)


def test_the_command_writes_a_page_and_says_what_it_found(run, selection, tmp_path, capsys):
    selection.write(tmp_path / "s.parquet")
    given = ["report", str(tmp_path / "s.parquet"), "--scores", str(run), "--out", str(tmp_path / "s.html")]
    assert run_cli(*given, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "selection" and (tmp_path / "s.html").read_text().startswith("<!doctype html>")
    assert run_cli(*given) == 2 and "--overwrite" in capsys.readouterr().err
    assert run_cli(*given, "--overwrite", "--data", "digits") == 0
    assert "431 of 1,438" in capsys.readouterr().out
    assert run_cli("report", str(run), "--out", str(tmp_path / "r.txt")) == 2
    assert run_cli("report", str(run), "--image", "jpeg", "--out", str(tmp_path / "r.html")) == 2
    assert run_cli("report", str(tmp_path / "nothing"), "--out", str(tmp_path / "r.html")) == 3
    assert not (tmp_path / "r.html").exists()


def test_with_json_the_command_writes_only_what_is_named(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run_cli("report", str(run), "--json") == 0
    assert json.loads(capsys.readouterr().out)["out"] is None and not list(tmp_path.iterdir())
    assert run_cli("report", str(run)) == 0 and Path("report.html").exists()
    assert run_cli("report", str(run), "--json") == 0
    for name in ("nothing", "nothing.csv"):
        assert run_cli("report", name) == 3 and f"{name} does not exist" in capsys.readouterr().err
        assert run_cli("report", "report.html", "--scores", name) == 3
    Path("suspects.csv").write_text("x")
    assert run_cli("suspects", "nothing") == 3 and "nothing" in capsys.readouterr().err


def test_no_path_of_this_machine_is_on_the_page(run, selection, compared, tmp_path):
    selection.write(tmp_path / "s.parquet")
    for report in (dd.make_report(tmp_path / "s.parquet", scores=run, data="digits"), dd.make_report(compared)):
        for folder in (tmp_path, run.parent, compared.parent, Path.home()):
            assert f"{folder}/" not in report.html() and f"{folder}/" not in json.dumps(report.as_dict())


def test_a_subject_needs_scores_or_a_selection():
    with pytest.raises(OptionError, match="give one of them"):
        Subject.of(None, None, None, score=None, data=None)
