"""Texts as inputs: a named column, items of a Python object, and refusals."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.data import open_data, write_examples

WORDS = ["one", "two words", "", "vier ä"]


@pytest.fixture
def table(tmp_path):
    """Two columns of texts, a column of numbers, labels and ids."""
    columns = {"body": WORDS, "title": list("abcd"), "size": [1, 2, 3, 4], "label": [0, 1, 0, 1], "id": list("wxyz")}
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return f"parquet:{tmp_path}/t.parquet"


def test_a_column_of_texts(table):
    source = open_data(table, text="body")
    assert source.holds_texts and source.texts([3, 0]) == ["vier ä", "one"]
    assert source.ids.to_pylist() == list("wxyz") and source.labels.tolist() == [0, 1, 0, 1]
    assert source.subset([1, 3]).texts(range(2)) == ["two words", "vier ä"]
    assert not open_data(table).holds_texts
    source.look_through()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_all_kinds_of_text_columns(tmp_path, kind):
    pq.write_table(pa.table({"body": pa.array(WORDS).cast(kind)}), tmp_path / "t.parquet")
    assert open_data(tmp_path / "t.parquet", text="body").texts(range(4)) == WORDS


@pytest.mark.parametrize("given", [WORDS, [(word, 1) for word in WORDS], [{"text": word, "y": 1} for word in WORDS]])
def test_texts_of_python_objects(given):
    source = open_data(given, text="text") if isinstance(given[0], dict) else open_data(given)
    assert source.holds_texts and source.texts(range(4)) == WORDS
    assert (source.labels is None) == (given is WORDS)


def test_texts_of_a_hugging_face_data_set():
    datasets = pytest.importorskip("datasets")
    source = open_data(datasets.Dataset.from_dict({"body": WORDS}), text="body")
    assert source.texts(range(4)) == WORDS


def test_anything_but_texts_is_refused(table):
    with pytest.raises(dd.DataError, match=r"'size' of type int64 does not hold texts: .* 'body', 'title'"):
        open_data(table, text="size")
    with pytest.raises(dd.DataError, match=r"'boddy' is not a column: did you mean 'body'"):
        open_data(table, text="boddy")
    with pytest.raises(dd.OptionError, match="one input"):
        open_data(table, text="body", image="size")
    with pytest.raises(dd.OptionError, match="one input"):
        open_data([{"a": "x"}], text="a", image="a")
    with pytest.raises(dd.DataError, match="name it with --text"):
        open_data(table, image="body")
    with pytest.raises(dd.DataError, match="does not hold texts"):
        open_data([{"a": 1.0}], text="a")
    with pytest.raises(dd.OptionError, match="text= does not apply to digits"):
        open_data("digits", text="body")
    with pytest.raises(dd.DataError, match="not texts"):
        open_data("digits").texts([0])


def test_a_missing_text_is_named_or_skipped(tmp_path):
    pq.write_table(pa.table({"body": ["a", None, "c"], "id": list("xyz")}), tmp_path / "t.parquet")
    with pytest.raises(dd.DataError, match="example 'y': its text is missing"):
        open_data(tmp_path / "t.parquet", text="body").look_through()
    source = open_data(tmp_path / "t.parquet", text="body", on_error="skip")
    assert source.texts(range(2)) == ["a", "c"] and source.skipped == ((1, "y", "its text is missing."),)


def test_networks_of_images_refuse_texts(table):
    source = open_data(table, text="body")
    for ask in (lambda: source.shape, lambda: source.take([0]), lambda: source.uniform):
        with pytest.raises(dd.DataError, match="neither an image nor an array"):
            ask()
    with pytest.raises(dd.DataError, match="datadiet embed"):
        dd.score(source, "datadiet:mlp", "el2n")


def test_the_identity_is_that_of_the_texts_and_does_not_ask_for_the_option_again(table, tmp_path):
    named, plain = open_data(table, text="body"), open_data(table)
    assert named.identity()["content_kind"] == "text"
    assert named.identity()["content"] != open_data(table, text="title").identity()["content"]
    from datadiet.data import check_identity

    check_identity(named.identity(), plain.identity(), "a selection")
    with pytest.raises(dd.FingerprintMismatch, match="content"):
        check_identity(named.identity(), open_data(table, text="title").identity(), "a selection")


def test_texts_are_exported(table, tmp_path):
    write_examples(open_data(table, text="body"), np.array([1, 2]), "parquet", tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet")["body"].to_pylist() == WORDS[1:3]
    write_examples(
        open_data([(word, i % 2) for i, word in enumerate(WORDS)]), np.array([0, 3]), "jsonl", tmp_path / "o.jsonl"
    )
    assert open_data(tmp_path / "o.jsonl", text="text").texts(range(2)) == [WORDS[0], WORDS[3]]
    with pytest.raises(dd.DataError, match="holds no images"):
        write_examples(open_data(WORDS), np.array([0]), "imagefolder", tmp_path / "images")
