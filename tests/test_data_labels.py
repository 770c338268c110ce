"""Labels on every route: one rule for what is a class, what is missing, and what means unlabelled."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.data import open_data
from datadiet.data.labels import class_codes, encode_labels
from datadiet.errors import DataError, OptionError
from datadiet.table import Scores

IDS = pa.array(["a", "b", "c"])


def as_csv(path, labels):
    pd.DataFrame({"x": [0.5, 1.5, 2.5], "label": labels}).to_csv(path / "d.csv", index=False)
    return open_data(path / "d.csv")


def as_jsonl(path, labels):
    rows = [{"x": x, "label": label} for x, label in zip([0.5, 1.5, 2.5], labels, strict=True)]
    (path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return open_data(path / "d.jsonl")


def as_parquet(path, labels):
    pq.write_table(pa.table({"x": [0.5, 1.5, 2.5], "label": labels}), path / "d.parquet")
    return open_data(path / "d.parquet")


def as_npz(path, labels):
    np.savez(path / "d.npz", x=np.array([[0.5], [1.5], [2.5]]), y=np.array(labels))
    return open_data(path / "d.npz")


def as_object(path, labels):
    return open_data([(np.array([x]), label) for x, label in zip([0.5, 1.5, 2.5], labels, strict=True)])


def as_hf(path, labels):
    datasets = pytest.importorskip("datasets")
    return open_data(datasets.Dataset.from_dict({"x": [0.5, 1.5, 2.5], "label": labels}))


ROUTES = [as_csv, as_jsonl, as_parquet, as_npz, as_object, as_hf]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("missing", ["", "  "])
def test_an_empty_name_is_a_missing_label(tmp_path, route, missing):
    with pytest.raises(DataError, match="missing for example '1'"):
        route(tmp_path, ["yes", missing, "no"])


@pytest.mark.parametrize("route", ROUTES)
def test_white_space_around_a_name_makes_no_second_class(tmp_path, route, caplog):
    source = route(tmp_path, [" yes", "yes", "no\t"])
    assert source.class_names == ("no", "yes") and source.labels.tolist() == [1, 1, 0]
    assert "white space around 2 names" in caplog.text


@pytest.mark.parametrize("route", ROUTES)
def test_minus_one_is_refused_only_where_labels_are_used(tmp_path, route):
    source = route(tmp_path, [1, -1, 0])
    assert source.labels.tolist() == [1, -1, 0] and source.class_names == ("0", "1")
    assert source.split_off(0.34, 0)[1].labels is not None
    with pytest.raises(DataError, match="example '1' has the label -1, which means unlabelled"):
        dd.score(source, "datadiet:mlp", "el2n", epochs=1)
    with pytest.raises(DataError, match="unlabelled"):
        dd.train(source, "datadiet:mlp", epochs=1)
    with pytest.raises(DataError, match="unlabelled"):
        dd.train(route(tmp_path, [1, 1, 0]), "datadiet:mlp", eval=source, epochs=1)


@pytest.mark.parametrize("route", ROUTES)
def test_data_whose_labels_are_all_minus_one_has_none(tmp_path, route):
    source = route(tmp_path, [-1, -1, -1])
    assert source.labels is None
    with pytest.raises(DataError, match="has no labels"):
        dd.score(source, "datadiet:mlp", "el2n", epochs=1)


@pytest.mark.parametrize("route", [as_parquet, as_npz, as_object, as_hf])
@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0.0, 0.5, 1.0], "not a whole number"),
        ([0.0, np.nan, 1.0], "missing"),
        ([0.0, np.inf, 1.0], "too large"),
        ([0.0, 1e300, 1.0], "too large"),
        ([0, -2, 1], "negative"),
    ],
)
def test_what_is_not_a_class_is_refused_by_row(tmp_path, route, labels, words):
    with pytest.raises(DataError, match=f"{words}.* for example '1'"):
        route(tmp_path, labels)


@pytest.mark.parametrize("labels", [[0, 2**63 - 1, 1], [0, 10**11, 1], [0, 2**40, 2**40]])
@pytest.mark.parametrize("route", ROUTES)
def test_huge_numbers_are_classes_like_others(tmp_path, route, labels):
    source = route(tmp_path, labels)
    assert source.labels.max() == len(set(labels)) - 1 and source.class_names[0] == "0"
    assert source.split_off(0.34, 0)[0].labels is not None


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (["dog", "cat", "dog"], [1, 0, 1]),
        ([2.0, 0.0, 5.0], [2, 0, 5]),
        ([True, False, True], [1, 0, 1]),
        (pa.array(["x", "y", "x"]).dictionary_encode(), [0, 1, 0]),
        (np.ma.masked_array([1, 2, 3], mask=[0, 0, 0]), [1, 2, 3]),
    ],
)
def test_labels_that_come_with_scores_are_read_as_those_of_data(tmp_path, values, codes):
    assert class_codes(values, IDS).values.tolist() == codes
    listed = values.to_pylist() if isinstance(values, pa.Array) else list(values)
    scores = {"s": [1.0, 2.0, 3.0]}
    found = [Scores.from_arrays({"s": np.array([1.0, 2, 3])}, labels=values)]
    frame = pd.DataFrame({**scores, "label": listed})
    frame.to_csv(tmp_path / "s.csv", index=False)
    frame.to_parquet(tmp_path / "s.parquet", index=False)
    (tmp_path / "s.json").write_text(
        json.dumps({**scores, "label": [v.item() if hasattr(v, "item") else v for v in listed]})
    )
    np.savez(tmp_path / "s.npz", **scores, label=np.array(listed))
    found += [Scores.read(tmp_path / name) for name in ("s.csv", "s.parquet", "s.json", "s.npz")]
    recorder = dd.Recorder(n=3)
    recorder.update(range(3), np.eye(3, dtype=np.float32), np.arange(3))
    recorder.end_epoch()
    found.append(dd.score(recorder.finish(labels=values), scorers="aum"))
    assert [scores.labels.tolist() for scores in found] == [codes] * 6


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["a", "", "b"], "missing for example 'b'"),
        ([0.5, 1.0, 2.0], "not a whole number.* 'a'"),
        ([0.0, np.nan, 1.0], "missing"),
        ([0, -3, 1], "negative.* 'b'"),
        ([0, 2**63 - 1, 1], r"2\^31 or more.* 'b'"),
        ([0, 10**11, 1], r"2\^31 or more"),
        (np.ma.masked_array([1, 2, 3], mask=[0, 1, 0]), "missing for example 'b'"),
        ([[1, 0], [0, 1], [1, 0]], "type|one label per example"),
        ([1 + 2j, 1, 0], "cannot be read"),
    ],
)
def test_labels_of_scores_that_are_not_classes_are_refused(values, words):
    with pytest.raises(DataError, match=words):
        class_codes(values, IDS)


def test_selecting_by_class_needs_a_label_for_every_example():
    scores = Scores.from_arrays({"s": np.arange(4.0)}, labels=[0, -1, 1, 1])
    assert len(dd.select(scores, "random", keep=2)) == 2
    with pytest.raises(DataError, match="example '1' has the label -1"):
        dd.select(scores, "random", keep=2, by_class=True)


def test_class_names_index_the_labels_and_leave_minus_one():
    found = encode_labels([1, -1, 0], IDS, names=("zero", "one"))
    assert found.values.tolist() == [1, -1, 0] and found.names == ("zero", "one")
    with pytest.raises(DataError, match="outside the 2 class names for example 'c'"):
        encode_labels([1, -1, 2], IDS, names=("zero", "one"))


def test_plain_functions_refuse_labels_that_are_no_class_numbers():
    with pytest.raises(OptionError):
        dd.scorers.moderate(np.eye(3), np.array([0, -1, 1]))
