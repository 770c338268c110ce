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
    for use in (dd.score, dd.train):
        with pytest.raises(DataError, match=r"all labels of .* are -1, which means unlabelled: give data with labels"):
            use(source, "datadiet:mlp", **({"scorers": "el2n"} if use is dd.score else {}), epochs=1)
    with pytest.raises(DataError, match=r"all labels of .* are -1"):
        dd.train(route(tmp_path, [1, 1, 0]), "datadiet:mlp", eval=source, epochs=1)


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


NAMES = ["a", float("nan"), "b"]


def by_json(path, labels):
    (path / "s.json").write_text(json.dumps({"s": [1.0, 2.0, 3.0], "label": labels}))
    return Scores.read(path / "s.json")


MISSING = {
    "list": lambda path: encode_labels(NAMES, IDS),
    "objects": lambda path: encode_labels(np.array(NAMES, dtype=object), IDS),
    "texts of numpy": lambda path: encode_labels(np.array(NAMES), IDS),
    "with scores": lambda path: class_codes(NAMES, IDS),
    "scores of arrays": lambda path: Scores.from_arrays({"s": np.zeros(3)}, labels=NAMES),
    "scores of texts": lambda path: Scores.from_arrays({"s": np.zeros(3)}, labels=np.array(NAMES)),
    "foreign JSON": lambda path: by_json(path, NAMES),
    "foreign JSON, null": lambda path: by_json(path, ["a", None, "b"]),
    "npz": lambda path: as_npz(path, NAMES),
    "items": lambda path: as_object(path, NAMES),
    "numbers in items": lambda path: as_object(path, [1, None, 0]),
    "NaN in items": lambda path: as_object(path, [1, float("nan"), 0]),
    "masked items": lambda path: as_object(path, np.ma.masked_array([1, 1, 0], mask=[0, 1, 0])),
    "frame": lambda path: open_data(pd.DataFrame({"x": [0.5, 1.5, 2.5], "label": NAMES})),
}


@pytest.mark.parametrize("form", MISSING)
def test_a_missing_label_is_never_a_class(tmp_path, form):
    with pytest.raises(DataError, match=r"missing for example '(1|b)' \(1 in all\)"):
        MISSING[form](tmp_path)


@pytest.mark.parametrize(
    "values", [["a", "nan", "b"], np.array(["a", "nan", "b"]), np.array(["long name", "nan", "b"])]
)
def test_a_class_may_be_called_nan_which_is_noted(values, caplog):
    assert "nan" in encode_labels(values, IDS).names
    assert "label: 1 labels are the text 'nan': if they are missing, leave those examples out" in caplog.text


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("word", ["NaN", "NA", "N/A", "None", "null"])
def test_words_for_a_missing_name_are_kept_with_one_note(tmp_path, route, word, caplog):
    if route is as_csv:
        (tmp_path / "d.csv").write_text(f"x,label\n1,a\n2,{word}\n3,{word}\n")
        source = open_data(tmp_path / "d.csv")
    else:
        source = route(tmp_path, ["a", word, word])
    assert set(source.class_names) == {"a", word}
    notes = [record.getMessage() for record in caplog.records]
    assert len(notes) == 1 and f"2 labels are the text '{word}': if they are missing" in notes[0]


class Declared:
    """A data set with targets that are masked arrays, which the items give in one of two ways."""

    def __init__(self, mask, plain):
        self.targets = np.ma.masked_array([1, 1, 0, 1], mask=mask)
        self.plain = plain

    def __len__(self):
        return 4

    def __getitem__(self, i):
        return np.array([float(i)]), (self.targets.data if self.plain else self.targets)[i]


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_masked_targets_are_missing_labels(plain, on_error):
    with pytest.raises(DataError, match="missing for example '1'"):
        open_data(Declared([0, 1, 0, 0], plain), on_error=on_error)
    assert open_data(Declared([0, 0, 0, 0], plain), on_error=on_error).labels.tolist() == [1, 1, 0, 1]


class Broken:
    """Labels of which one is missing and one cannot be read."""

    def __init__(self, labels):
        self.values = labels

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        if self.values[i] == "broken":
            raise OSError("cannot be read")
        return np.array([float(i)]), self.values[i]


def test_only_what_cannot_be_read_is_skipped():
    source = open_data(Broken([1, "broken", 0, 1]), on_error="skip")
    assert source.labels.tolist() == [1, 0, 1] and source.ids.to_pylist() == ["0", "2", "3"]
    for on_error in ("raise", "skip"):
        with pytest.raises(DataError, match="missing for example '1'"):
            open_data(Broken([1, None, 0, 1]), on_error=on_error)
    with pytest.raises(DataError, match="missing for example '2'"):
        open_data(Broken([1, "broken", None, 1]), on_error="skip")
    with pytest.raises(DataError, match="missing for example '1'"):
        open_data(Broken(["broken", None, 0, 1]), on_error="skip")
