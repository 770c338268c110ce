"""Reports on scores of other programs: their rows belong to examples by id, whatever their order."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import datadiet as dd
from datadiet.cli import main
from datadiet.errors import DataError, FingerprintMismatch, OptionError

N, KEPT = 60, 20


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """60 examples u00 … u59 whose label and score, 0 … 59, follow from their number; scores in two other orders."""
    monkeypatch.chdir(tmp_path)
    names = [f"u{number:02}" for number in range(N)]
    vectors = np.random.default_rng(0).random((N, 4)).tolist()
    pd.DataFrame({"uid": names, "vec": vectors, "kind": np.arange(N) % 3}).to_parquet("data.parquet")
    scores = pd.DataFrame({"uid": names, "tool": np.arange(N, dtype=float)})
    for name, seed in (("one", 1), ("two", 2)):
        scores.sample(frac=1, random_state=seed).to_csv(f"{name}.csv", index=False)
    np.save("array.npy", np.arange(N, dtype=float))
    return tmp_path


def data() -> dd.Source:
    return dd.open_data("parquet:data.parquet", image="vec", label="kind", id="uid")


def selected(**given) -> dd.Selection:
    scores = dd.Scores.from_table("one.csv", id="uid", higher_is="harder")
    return dd.select(scores, "top_k", keep=KEPT, prefer="hardest", **given)


def check_examples(report: dd.Report, placed: bool) -> None:
    """Every example shown has the score, the label and the place that its id says."""
    groups = report.as_dict()["examples"]
    for entry in (entry for group in groups.values() for entry in group):
        number = int(entry["id"][1:])
        assert entry["value"] == number
        if placed:
            assert entry["index"] == number and entry["label"] == str(number % 3)
    if "Hardest kept" in groups:
        assert [entry["id"] for entry in groups["Hardest kept"]] == [f"u{number}" for number in range(59, 53, -1)]
        assert groups["Hardest left out"][0]["id"] == f"u{N - KEPT - 1}"
        assert sum(report.as_dict()["histograms"]["tool"]["kept"][-13:]) == KEPT  # of 40 bins over 0 … 59


@pytest.mark.parametrize("table", ["one.csv", "two.csv"])
def test_the_rows_of_a_table_belong_to_the_examples_that_their_ids_name(folder, table):
    check_examples(dd.make_report(table, scores_id="uid", data=data()), placed=True)
    check_examples(dd.make_report(selected(), scores=table, scores_id="uid", data=data()), placed=True)
    check_examples(dd.make_report(selected(), scores=table, scores_id="uid"), placed=False)


def test_a_column_that_is_named_id_needs_no_option(folder):
    pd.read_csv("two.csv").rename(columns={"uid": "id"}).to_csv("named.csv", index=False)
    check_examples(dd.make_report("named.csv", data=data()), placed=True)
    check_examples(dd.make_report(selected(), scores="named.csv", data=data()), placed=True)


def test_an_array_has_the_order_of_the_data_also_beside_a_selection_by_ids(folder):
    values = dd.Scores.read("array.npy")
    assert dd.make_report(values, data=data()).as_dict()["examples"]["Hardest"][0]["id"] == "u59"
    found = dd.make_report(selected(), scores="array.npy", data=data()).as_dict()["examples"]
    assert [entry["id"] for entry in found["Hardest kept"]] == [f"u{number}" for number in range(59, 53, -1)]
    with pytest.raises(OptionError, match=r"the selection .* by their ids.*data= \(--data DATA\)"):
        dd.make_report(selected(), scores="array.npy")
    by_place = dd.select("array.npy", "top_k", keep=KEPT, prefer="hardest")
    check_examples(dd.make_report(by_place, scores="one.csv", scores_id="uid", data=data()), placed=True)


def test_a_table_whose_rows_have_no_names_is_refused_where_examples_have_some(folder):
    unnamed = r"no column of the table of scores says which example a row is, and the examples of the "
    with pytest.raises(OptionError, match=unnamed + r"data have ids: .*scores_id= \(--scores-id COLUMN\)"):
        dd.make_report("one.csv", data=data())
    with pytest.raises(OptionError, match=unnamed + "data"):
        dd.make_report(selected(), scores="one.csv", data=data())
    with pytest.raises(OptionError, match=unnamed + "selection"):
        dd.make_report(selected(), scores="one.csv")
    by_row = dd.open_data("parquet:data.parquet", image="vec", label="kind")  # these have no ids but their numbers
    assert dd.make_report("one.csv", data=by_row).as_dict()["examples"]["Hardest"][0]["value"] == 59
    numbered = pd.read_csv("one.csv").assign(index=lambda table: table["uid"].str[1:].astype(int))
    numbered.drop(columns="uid").to_csv("numbered.csv", index=False)
    assert dd.make_report("numbered.csv", data=data()).as_dict()["examples"]["Hardest"][0]["id"] == "u59"


def test_scores_of_other_examples_or_of_other_values_are_refused(folder):
    table = pd.read_csv("two.csv")
    table[:-1].to_csv("fewer.csv", index=False)
    table.assign(uid="x" + table["uid"]).to_csv("others.csv", index=False)
    table.assign(tool=-table["tool"]).to_csv("changed.csv", index=False)
    for name, words in (("fewer", r"there are scores of 59, .*none of 'u\d+'"), ("others", "not of the same ones")):
        with pytest.raises(FingerprintMismatch, match=words):
            dd.make_report(selected(), scores=f"{name}.csv", scores_id="uid")
    with pytest.raises(FingerprintMismatch, match="its ids look like 'xu"):
        dd.make_report("others.csv", scores_id="uid", data=data())
    for given in ({}, {"data": data()}):
        with pytest.raises(FingerprintMismatch, match="column tool has changed"):
            dd.make_report(selected(), scores="changed.csv", scores_id="uid", **given)


def test_a_table_whose_ids_and_positions_were_mixed_up_is_refused(folder):
    table = pd.read_csv("one.csv").rename(columns={"uid": "id"}).assign(index=np.arange(N))
    table.to_csv("mixed.csv", index=False)
    with pytest.raises((DataError, FingerprintMismatch), match=r"ids|rows were changed"):
        dd.make_report("mixed.csv", data=data())


def test_a_column_of_ids_is_named_only_for_a_table(folder):
    scores = dd.Scores.read("array.npy")
    scores.write("ours.parquet")
    for what, given in ((scores, {}), ("ours.parquet", {}), (selected(), {}), (selected(), {"scores": scores})):
        with pytest.raises(OptionError, match=r"scores_id='uid' \(--scores-id\) .* no such table here"):
            dd.make_report(what, scores_id="uid", **given)


def test_the_command_takes_the_column_of_ids(folder, capsys):
    selected().write("kept.parquet")
    words = ["--data", "parquet:data.parquet", "--image", "vec", "--label", "kind", "--id", "uid", "--json"]
    with pytest.raises(SystemExit) as stopped:
        main(["report", "kept.parquet", "--scores", "two.csv", "--scores-id", "uid", *words])
    assert stopped.value.code == 0
    assert json.loads(capsys.readouterr().out)["examples"]["Hardest kept"][0]["id"] == "u59"
    with pytest.raises(SystemExit) as stopped:
        main(["report", "kept.parquet", "--scores", "two.csv", *words])
    assert stopped.value.code == 2 and "--scores-id COLUMN" in capsys.readouterr().err
