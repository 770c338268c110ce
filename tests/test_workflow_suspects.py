"""Suspects: which examples, what the network says of them, and what is written, on runs made by hand and on digits."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pyarrow as pa
import pytest
import torch

import datadiet as dd
from datadiet.errors import DataError, FingerprintMismatch, MissingSignal, OptionError
from datadiet.files import read_parquet, write_json, write_parquet
from datadiet.models import load_checkpoint, open_model
from datadiet.runtime.layout import Layout

pytestmark = pytest.mark.usefixtures("one_thread")

HOSTILE = ['=1+1,"x"', "a\nb", "\r", "<script>", "é |", "@SUM(A1)"]


@pytest.fixture
def make_run(tmp_path):
    """A new run folder: labels, class names, columns with their orientation, and (pass, epoch) -> signals of seed 0."""

    def make(labels, names, columns, signals, ids=None):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        run, n = Layout(tmp_path / "run"), len(next(iter(columns.values()))[1])
        facts = {"epochs": 2, "num_classes": len(names)}
        write_json(run.manifest, {"plan": {"verb": "score"}, "facts": facts})
        described = {name: {"hardness": sign, "scorer": name} for name, (sign, _) in columns.items()}
        meta = {"facts": facts, "class_names": list(names), "columns": described, "data": {"n": n}}
        arrays = {name: np.array(values, dtype=np.float32) for name, (_, values) in columns.items()}
        dd.Scores(np.arange(n), arrays, ids, None if labels is None else np.array(labels), meta).write(run.scores)
        for (name, epoch), values in signals.items():
            table = {key: np.array(v, dtype=bool if key == "correct" else np.float32) for key, v in values.items()}
            table = pa.table({"index": np.arange(n), **table})
            write_parquet(run.columns(name, 0, epoch, 0, n), table, {}, beside=False)
        return run.path

    return make


def test_golden_aum_of_the_presentations_and_the_other_of_two_classes(make_run):
    """Mean margins over the two epochs: 2, -1, 0, -3. In epoch 2 the network is wrong about the examples 1 and 3."""
    last = {"p_true": [0.9, 0.25, 0.5, 0.125], "doubt": [0.1, 0.25, 0.5, 0.125], "correct": [1, 0, 1, 0]}
    signals = {("train", 1): {"margin": [1, -1, 0, -2]}, ("train", 2): {"margin": [3, -1, 0, -4], **last}}
    found = dd.suspects(make_run([0, 0, 1, 1], ["cat", "dog"], {"el2n": (1, [9, 1, 1, 1])}, signals), top=3)
    assert found.table.to_pydict() == {
        "index": [3, 1, 2],
        "id": ["3", "1", "2"],
        "given": ["dog", "cat", "dog"],
        "predicted": ["cat", "dog", "dog"],
        "p_given": [0.125, 0.25, 0.5],
        "p_predicted": [0.875, 0.75, 0.5],
        "score": [-3, -1, 0],
    }
    assert (found.score, found.suspicious, found.n, len(found), found.notes) == ("aum", "low", 4, 3, ())
    assert repr(found) == "Suspects(3 of 4 examples, by aum)"
    assert found.to_pandas()["index"].tolist() == [3, 1, 2]


def test_which_score_ranks(make_run):
    """A column aum, else aum of the presentations, else a column loss, else the loss of the latest evaluation."""
    evaluated, two = {("eval", 1): {"loss": [3, 1, 2]}}, ["a", "b"]

    def ranked(columns, signals, **options):
        found = dd.suspects(make_run([0, 1, 0], two, columns, signals), top=3, **options)
        return found.score, found.suspicious, found.table["index"].to_pylist()

    assert ranked({"aum": (-1, [0, -1, 1])}, evaluated) == ("aum", "low", [1, 0, 2])
    assert ranked({"loss": (1, [1, 2, 3])}, evaluated) == ("loss", "high", [2, 1, 0])
    assert ranked({"el2n": (1, [1, 2, 3])}, evaluated) == ("loss", "high", [0, 2, 1])
    assert ranked({"el2n": (1, [1, 2, 3])}, evaluated, score="el2n") == ("el2n", "high", [2, 1, 0])
    with pytest.raises(MissingSignal, match=r"score=NAME \(--score NAME\): there is el2n"):
        ranked({"el2n": (1, [1, 2, 3])}, {})


def test_the_class_that_a_comparison_of_two_networks_kept(make_run):
    """Probabilities are those of the same network: of the evaluation at that epoch, never of another."""
    said = {"p_true": [0.25, 0.5], "doubt": [0.5, 0.5], "correct": [0, 1]}
    divergence = ("divergence@against-0123456789ab", 2)
    signals = {divergence: {"divergence": [0, 0], "predicted": [2, 1]}, ("train", 2): {"margin": [-1, 1], **said}}
    columns = {"aum": (-1, [-1, 1])}
    found = dd.suspects(make_run([0, 1], ["a", "b", "c"], columns, signals), top=2)
    assert found.table["predicted"].to_pylist() == ["c", "b"] and "p_given" not in found.table.column_names
    found = dd.suspects(make_run([0, 1], ["a", "b", "c"], columns, {**signals, ("eval", 2): said}), top=2)
    assert found.table["p_given"].to_pylist() == [0.25, 0.5] and found.table["p_predicted"].to_pylist() == [0.5, 0.5]


def test_what_is_not_known_is_left_out_and_a_note_says_what_adds_it(make_run):
    run = make_run([0, 1], ["a", "b", "c"], {"aum": (-1, [-1, 1])}, {})
    found = dd.suspects(run, top=1)
    assert found.table.column_names == ["index", "id", "given", "score"]
    assert "data=DATA (--data DATA)" in found.notes[0] and found.notes[0] in found.text()
    assert "suspects, not errors" in found.text()


def test_an_example_that_the_last_epoch_did_not_present_has_no_prediction(make_run):
    last = {"p_true": [np.nan, 0.5], "doubt": [np.nan, 0.25], "correct": [1, 0]}
    run = make_run([0, 1], ["a", "b"], {"aum": (-1, [-1, 1])}, {("train", 2): last})
    table = pa.table({"index": [1], "p_true": pa.array([0.5], pa.float32()), "doubt": pa.array([0.25], pa.float32())})
    table = table.append_column("correct", pa.array([False]))
    write_parquet(Layout(run).columns("train", 0, 2, 0, 2), table, {}, beside=False)
    rows = dd.suspects(run, top=2).as_dict()["suspects"]
    assert [row["predicted"] for row in rows] == [None, "a"] and [row["p_given"] for row in rows] == [None, 0.5]


def test_ties_are_not_broken_by_position(make_run):
    run = make_run([0, 1] * 50, ["a", "b"], {"aum": (-1, [0.0] * 100)}, {})
    rows = dd.suspects(run, top=10).table["index"].to_pylist()
    assert rows != list(range(10)) and rows == dd.suspects(run, top=20).table["index"].to_pylist()[:10]


def test_hostile_ids_and_classes_survive_every_form(make_run, tmp_path):
    run = make_run([0] * 6, [HOSTILE[1]], {"aum": (-1, range(6)), "x": (1, [np.inf] * 6)}, {}, ids=HOSTILE)
    found = dd.suspects(run, top=6)
    with found.write(tmp_path / "s.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["id"] for row in rows] == HOSTILE and {row["given"] for row in rows} == {HOSTILE[1]}
    assert [row["id"] for row in json.loads(found.write(tmp_path / "s.json").read_text("utf-8"))["suspects"]] == HOSTILE
    table, about = read_parquet(found.write(tmp_path / "p.parquet"))
    assert table["id"].to_pylist() == HOSTILE and about["score"] == "aum" and about["data"]["n"] == 6
    assert "\r" not in found.text() and "a\nb" not in found.text()
    infinite = dd.suspects(run, top=1, score="x").write(tmp_path / "i.json").read_text("utf-8")
    assert json.loads(infinite, parse_constant=pytest.fail)["suspects"][0]["score"] is None
    with pytest.raises(OptionError, match="end the name in one of these"):
        found.write(tmp_path / "s.txt")


def test_unless_told_how_many_it_lists_a_hundred_or_all(make_run):
    for n, listed in ((2, 2), (101, 100)):
        run = make_run([0] * n, ["a"], {"aum": (-1, np.arange(n))}, {})
        assert len(dd.suspects(run).table) == listed


def test_errors_say_what_to_do(make_run, tmp_path):
    with pytest.raises(DataError, match="not a run folder"):
        dd.suspects(tmp_path)
    columns = {"aum": (-1, [0, 1])}
    run = make_run([0, 1], ["a", "b"], columns, {})
    with pytest.raises(OptionError, match="has 2 examples: give a number from 1 to 2"):
        dd.suspects(run, top=3)
    for top in (0, True, 0.5):
        with pytest.raises(OptionError, match="whole number of at least 1"):
            dd.suspects(run, top=top)
    with pytest.raises(OptionError, match=r"did you mean 'aum'"):
        dd.suspects(run, top=1, score="amu")
    with pytest.raises(OptionError, match="give data="):
        dd.suspects(run, top=1, model="datadiet:mlp")
    with pytest.raises(DataError, match="no labels"):
        dd.suspects(make_run(None, ["a", "b"], columns, {}), top=1)
    with pytest.raises(DataError, match="unlabelled"):
        dd.suspects(make_run([0, -1], ["a", "b"], columns, {}), top=1)
    Layout(run).scores.unlink()
    with pytest.raises(DataError, match="not finished"):
        dd.suspects(run, top=1)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory):
    """Digits with a tenth of the labels flipped, which ones, and a run over nine tenths of them."""
    source, run = dd.open_data("digits"), tmp_path_factory.mktemp("suspects") / "run"
    labels, flipped = dd.evaluate.flip_labels(source.labels, 0.1, classes=10)
    data = torch.utils.data.TensorDataset(source.take(np.arange(len(source))), torch.from_numpy(labels))
    dd.score(data, "datadiet:mlp", "el2n", epochs=8, recipe={"batch_size": 64}, eval="10%", out=run)
    return data, labels, flipped, run


def test_flipped_labels_are_found(noisy):
    """Also from a run that was scored by EL2N alone, which finds three quarters of them."""
    flipped, run = noisy[2], noisy[3]
    table = dd.Scores.read(run)
    top = int(flipped[table.index].sum())
    found = dd.suspects(run, top=top)
    assert found.score == "aum" and flipped[found.table["index"].to_numpy()].mean() > 0.85


def test_oracle_the_last_checkpoint_on_every_example(noisy):
    """One by one, by the network itself."""
    data, labels, _, run = noisy
    found = dd.suspects(run, top=60, data=data)
    network = load_checkpoint(open_model("datadiet:mlp", (1, 8, 8), 10).fresh(0), Layout(run).checkpoint(0, 8)).eval()
    scale = json.loads(Layout(run).manifest.read_text())["plan"]["inputs"]["normalisation"]
    for row in found.as_dict()["suspects"]:
        image, _label = data[row["index"]]
        with torch.no_grad():
            p = network(((image.float() - scale["mean"][0]) / scale["std"][0])[None]).softmax(dim=1)[0]
        assert row["given"] == str(labels[row["index"]]) and row["predicted"] == str(int(p.argmax()))
        assert row["p_predicted"] == pytest.approx(float(p.max()), rel=1e-4)
        assert row["p_given"] == pytest.approx(float(p[labels[row["index"]]]), rel=1e-3, abs=1e-7)
    assert found.notes == () and sum(row["given"] != row["predicted"] for row in found.as_dict()["suspects"]) > 30


def test_data_and_model_must_be_those_of_the_run(noisy, tmp_path):
    data, run = noisy[0], tmp_path / "run"
    with pytest.raises(FingerprintMismatch, match="another data set"):
        dd.suspects(noisy[3], top=5, data="digits")
    shutil.copytree(noisy[3], run)
    shutil.rmtree(run / "checkpoints")
    with pytest.raises(DataError, match="holds no checkpoints"):
        dd.suspects(run, top=5, data=data)
    shutil.copytree(noisy[3] / "checkpoints", run / "checkpoints")
    manifest = json.loads((run / "manifest.json").read_text())
    manifest["plan"]["model"] = "py:somewhere:network"
    (run / "manifest.json").write_text(json.dumps({"plan": manifest["plan"], "facts": manifest["facts"]}))
    with pytest.raises(OptionError, match=r"name the network yourself, model='py:somewhere:network' \(--model"):
        dd.suspects(run, top=5, data=data)
    assert len(dd.suspects(run, top=5, data=data, model="datadiet:mlp")) == 5
