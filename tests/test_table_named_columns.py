"""Tables of other programs, by the names of their columns: nothing is oriented, ordered or left out silently."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import datadiet as dd
from datadiet.errors import DataError, FingerprintMismatch, OptionError

# Four files in the order b, d, a, c; the quality of a label is low where it is probably wrong: a is the hardest.
NAMES = ["b", "d", "a", "c"]
FRAME = pd.DataFrame({"file": NAMES, "quality": [0.7, 0.9, 0.1, 0.4], "width": [10, 20, 30, 40], "given": [0, 1, 0, 1]})
DATA = {"id": ["a", "b", "c", "d"], "x": [0.0, 1.0, 2.0, 3.0], "label": [0, 0, 1, 1]}


@pytest.fixture
def source(tmp_path: Path) -> dd.Source:
    pd.DataFrame(DATA).to_parquet(tmp_path / "data.parquet")
    return dd.open_data(f"parquet:{tmp_path / 'data.parquet'}", id="id", label="label")


def from_table(table: Any, **options: Any) -> dd.Scores:
    return dd.Scores.from_table(table, **{"higher_is": {"quality": "easier"}, "id": "file", **options})


class Capsule:
    """A data frame of a library that has no more than Arrow's protocol, such as polars."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._table = pa.table(frame)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


FORMS = {
    "pandas": lambda folder: FRAME,
    "shuffled": lambda folder: FRAME.iloc[[2, 0, 3, 1]],
    "arrow": lambda folder: pa.Table.from_pandas(FRAME),
    "polars": lambda folder: Capsule(FRAME),
    "dict": lambda folder: FRAME.to_dict("list"),
    "csv": lambda folder: FRAME.to_csv(folder / "t.csv") or folder / "t.csv",
    "parquet": lambda folder: FRAME.iloc[[3, 1, 0, 2]].to_parquet(folder / "t.parquet") or folder / "t.parquet",
    "jsonl": lambda folder: FRAME.to_json(folder / "t.jsonl", orient="records", lines=True) or str(folder / "t.jsonl"),
    "json": lambda folder: (folder / "t.json").write_text(json.dumps(FRAME.to_dict("list"))) and folder / "t.json",
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_matched_by_id_in_every_form_and_order(form: str, tmp_path: Path, source: dd.Source) -> None:
    found = from_table(FORMS[form](tmp_path), label="given").placed(source)
    assert list(found.ids) == ["a", "b", "c", "d"] and found.index.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(found["quality"], [0.1, 0.7, 0.4, 0.9])
    assert found.labels.tolist() == [0, 0, 1, 1]
    hardest = dd.select(found, "top_k", keep=2, prefer="hardest", score="quality")
    assert hardest.ranked.tolist() == [0, 2] and hardest.meta["data"] == source.identity()


def test_a_selection_from_unplaced_scores_is_placed_by_id(source: dd.Source) -> None:
    chosen = dd.select(from_table(FRAME), "top_k", keep=1, prefer="hardest", score="quality")
    assert chosen.placed(source).indices.tolist() == [0]


def test_columns_without_a_named_direction_rank_nothing() -> None:
    scores = from_table(FRAME)
    assert scores.names == ("quality",) and set(scores.columns) == {"quality", "width", "given"}
    assert scores.hardness("quality").tolist() == (-scores["quality"]).tolist()
    with pytest.raises(OptionError, match="'width' has no orientation"):
        dd.select(scores, "top_k", keep=1, prefer="hardest", score="width")


def test_one_word_is_about_all_columns_and_each_can_have_its_own() -> None:
    assert from_table(FRAME, higher_is="easier").names == ("quality", "width", "given")
    both = from_table(FRAME, higher_is={"quality": "easier", "width": "harder"})
    assert both.hardness("width").tolist() == [10, 20, 30, 40] and both.hardness("quality")[0] < 0
    with pytest.raises(TypeError, match="higher_is"):
        dd.Scores.from_table(FRAME)


def test_columns_get_the_names_that_are_asked_for() -> None:
    scores = from_table(FRAME, columns={"aum": "quality"})
    assert list(scores.columns) == ["aum"] and scores.meta["columns"]["aum"] == {"hardness": -1, "scorer": "imported"}
    assert list(from_table(FRAME, columns=["quality"]).columns) == ["quality"]


def test_index_says_the_position() -> None:
    frame = FRAME.assign(row=[1, 3, 0, 2])
    scores = from_table(frame, id=None, index="row", columns=["quality"])
    np.testing.assert_allclose(scores["quality"], [0.1, 0.7, 0.4, 0.9])
    with pytest.raises(DataError, match="does not number the examples 0 to 3"):
        from_table(frame.assign(row=[1, 3, 0, 5]), id=None, index="row")


def test_columns_that_happen_to_be_called_index_and_id_do_not_count_beside_a_named_one(source: dd.Source) -> None:
    frame = FRAME.assign(index=[3, 2, 1, 0], id=[7, 7, 7, 7])
    np.testing.assert_allclose(from_table(frame).placed(source)["quality"], [0.1, 0.7, 0.4, 0.9])


def test_without_names_a_table_is_read_as_arrays_are(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "datadiet"):
        plain = from_table({"quality": [0.2, 0.1]}, id=None)
    assert (
        plain["quality"].tolist() == pytest.approx([0.2, 0.1]) and "taken in the order of the data set" in caplog.text
    )
    shuffled = from_table(pd.DataFrame({"quality": [0.2, 0.1]}, index=[1, 0]), id=None)
    assert shuffled["quality"].tolist() == pytest.approx([0.1, 0.2])


def test_ids_that_are_left_out_of_the_table_are_counted(source: dd.Source, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "datadiet"):
        placed = from_table(FRAME.iloc[:2]).placed(source)
    assert placed.index.tolist() == [1, 3]
    assert "has no row for 2 of the 4 examples of the data, such as 'a'" in caplog.text


def test_ids_that_the_data_lacks_are_refused(source: dd.Source) -> None:
    with pytest.raises(FingerprintMismatch, match="no example 'z'"):
        from_table(FRAME.assign(file=["b", "z", "a", "c"])).placed(source)
    with pytest.raises(FingerprintMismatch, match="its ids look like '/d/b', those of the data at hand like 'a'"):
        from_table(FRAME.assign(file=["/d/b", "/d/d", "/d/a", "/d/c"])).placed(source)


BAD = {
    "twice": (FRAME.assign(file=["b", "b", "a", "c"]), {}, "'b' is in rows 0 and 1"),
    "missing": (FRAME.assign(file=["b", None, "a", "c"]), {}, "no id in row 1"),
    "fractional": (FRAME.assign(file=[1, np.nan, 2, 3]), {}, "'file' holds nan in row 1"),
    "texts": (FRAME.assign(name=list("wxyz")), {"columns": ["name"]}, "'name' holds .*not a score"),
    "absent": (FRAME, {"id": "fiel"}, "did you mean 'file'"),
    "absent score": (FRAME, {"columns": {"aum": "qualty"}}, "did you mean 'quality'"),
    "absent direction": (FRAME, {"higher_is": {"qualty": "easier"}}, "did you mean 'quality'"),
    "direction of no score": (FRAME, {"columns": ["width"]}, "'quality' is not a column that is read as a score"),
    "word": (FRAME, {"higher_is": {"quality": "better"}}, "say 'harder' or 'easier'"),
    "no name": (FRAME, {"columns": []}, "names no column"),
    "text": (FRAME, {"columns": "quality"}, "is one text"),
    "reserved": (FRAME, {"columns": {"label": "quality"}}, "cannot be named 'label'"),
    "no table": (3, {}, "type int"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_means_nothing_is_refused(case: str) -> None:
    table, options, words = BAD[case]
    with pytest.raises((DataError, OptionError), match=words):
        from_table(table, **options)


def test_whole_numbers_that_pandas_made_fractional_are_ids() -> None:
    assert list(from_table(FRAME.assign(file=[1.0, 0.0, 2.0, 3.0])).ids) == ["1", "0", "2", "3"]


def test_a_file_that_says_its_directions_itself_is_refused(tmp_path: Path) -> None:
    ours = dd.Scores.from_arrays({"aum": np.arange(3.0)}, higher_is="easier").write(tmp_path / "ours.parquet")
    for given in (ours, tmp_path):
        with pytest.raises(OptionError, match="its columns say what they are"):
            dd.Scores.from_table(given, higher_is="harder")
