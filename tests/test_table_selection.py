"""Selection: what is kept, in which order, with which weight, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datadiet.errors import DataError, OptionError
from datadiet.table import Scores, Selection
from datadiet.table.classes import ClassCounts

# Six examples at 10, 20, … of the source; kept, in rank order: 40 (weight 2), 10 (.5) and 60 (.5).
INDEX = np.arange(10, 70, 10)
CHOSEN = np.array([3, 0, 5])
WEIGHT = np.array([2.0, 0.5, 0.5], dtype=np.float32)
STRATUM = np.array([1, 0, 2, 2, 0, 1], dtype=np.int32)


def make(**changes: Any) -> Selection:
    fields = {
        "weight": WEIGHT,
        "stratum": STRATUM,
        "ids": pa.array(list("abcdef")),
        "meta": {"method": "ccs", "data": {"n": 70}},
    }
    return Selection(INDEX, CHOSEN, **{**fields, **changes})


def test_golden_views() -> None:
    subset = make()
    assert len(subset) == 3
    assert subset.ranked.tolist() == [40, 10, 60] and subset.indices.tolist() == [10, 40, 60]
    assert subset.weights.tolist() == [0.5, 2.0, 0.5], "in the order of indices"
    assert subset.keep.tolist() == [True, False, False, True, False, True]


def test_without_weights_all_count_alike() -> None:
    weights = make(weight=None).weights
    assert weights.tolist() == [1, 1, 1] and weights.dtype == np.float32


def test_golden_file(tmp_path: Path) -> None:
    table = pq.read_table(make().write(tmp_path / "s.parquet"))
    assert table.to_pydict() == {
        "index": [10, 20, 30, 40, 50, 60],
        "id": list("abcdef"),
        "keep": [True, False, False, True, False, True],
        "weight": [0.5, 0, 0, 2, 0, 0.5],
        "rank": [1, -1, -1, 0, -1, 2],
        "stratum": [1, 0, 2, 2, 0, 1],
    }
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        "index": "int64",
        "id": "string",
        "keep": "bool",
        "weight": "float",
        "rank": "int64",
        "stratum": "int32",
    }


@pytest.mark.parametrize("changes", [{}, {"weight": None}, {"stratum": None}, {"ids": None}])
def test_round_trip_keeps_everything_and_rewrites_the_same_bytes(tmp_path: Path, changes: dict) -> None:
    path = make(**changes).write(tmp_path / "a.parquet")
    back = Selection.read(path)
    assert back.index.tolist() == INDEX.tolist() and back.chosen.tolist() == CHOSEN.tolist()
    for name, values in [("weight", WEIGHT), ("stratum", STRATUM)]:
        found = getattr(back, name)
        assert found is None if name in changes else (np.array_equal(found, values) and found.dtype == values.dtype)
    assert back.ids.to_pylist() == ([str(i) for i in INDEX] if "ids" in changes else list("abcdef"))
    assert back.meta["method"] == "ccs" and back.meta["data"] == {"n": 70}
    assert back.write(tmp_path / "b.parquet").read_bytes() == path.read_bytes()


def test_a_pandas_rewrite_is_still_described(tmp_path: Path) -> None:
    path = make().write(tmp_path / "s.parquet")
    pd.read_parquet(path).to_parquet(path)
    back = Selection.read(path)
    assert back.meta["method"] == "ccs" and back.ranked.tolist() == [40, 10, 60]


WITNESS = [None, "d", "a", None, None, None]
SIMILARITY = np.array([np.nan, 0.97, 1 / 3, np.nan, np.nan, np.nan], dtype=np.float32)


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
@pytest.mark.parametrize("by_pandas", [False, True])
def test_reasons_come_back_as_they_were(tmp_path: Path, kind: pa.DataType, by_pandas: bool) -> None:
    path = make(witness=pa.array(WITNESS, kind), similarity=SIMILARITY).write(tmp_path / "s.parquet")
    before, rows = path.read_bytes(), pq.read_table(path)
    if by_pandas:
        pd.read_parquet(path).to_parquet(path)
        assert path.read_bytes() != before
    back = Selection.read(path)
    assert back.witness.to_pylist() == WITNESS and back.meta["method"] == "ccs"
    np.testing.assert_array_equal(back.similarity, SIMILARITY)
    assert back.similarity.dtype == np.float32 and back.ranked.tolist() == [40, 10, 60]
    again = back.write(tmp_path / "again.parquet")
    assert pq.read_table(again).to_pydict()["witness"] == rows.to_pydict()["witness"] == WITNESS
    assert by_pandas or again.read_bytes() == before


@pytest.mark.parametrize("given", [{"witness": pa.array(WITNESS)}, {"similarity": SIMILARITY}, {}])
def test_reasons_that_were_not_told_are_not_made_up(tmp_path: Path, given: dict) -> None:
    back = Selection.read(make(**given).write(tmp_path / "s.parquet"))
    assert (back.witness is None, back.similarity is None) == ("witness" not in given, "similarity" not in given)


def test_a_file_that_lost_both_loads_with_a_warning(tmp_path: Path) -> None:
    path = make().write(tmp_path / "s.parquet")
    pd.read_parquet(path).to_parquet(path)
    path.with_suffix(".json").unlink()
    with pytest.warns(UserWarning, match="has no description"):
        back = Selection.read(path)
    assert back.indices.tolist() == [10, 40, 60] and back.meta == {"data": {"n": 61}}


def test_a_name_whose_description_would_overwrite_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="parquet"):
        make().write(tmp_path / "subset.json")


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("keep", [True] * 6),
        ("keep", [False] * 6),
        ("rank", [1, -1, -1, 1, -1, 2]),
        ("rank", [1, -1, -1, 0, -1, 3]),
        ("rank", [1, -1, 0, 0, -1, 2]),
        ("rank", [-1] * 6),
    ],
)
def test_columns_that_contradict_each_other_are_refused(tmp_path: Path, column: str, values: list) -> None:
    frame = pd.read_parquet(make().write(tmp_path / "s.parquet"))
    frame[column] = values
    frame.to_parquet(tmp_path / "s.parquet")
    with pytest.raises(DataError, match="'keep' and 'rank' contradict"):
        Selection.read(tmp_path / "s.parquet")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.assign(index=10), "'index' holds 10 twice"),
        (lambda frame: frame.assign(id="a"), "is not unique: 'a' is in rows 0 and 1"),
        (lambda frame: frame.drop(columns="rank"), "no column 'rank'"),
        (lambda frame: frame.drop(columns="index"), "no column 'index'"),
        (lambda frame: frame.iloc[:0], "no rows"),
    ],
)
def test_a_file_that_is_not_a_whole_selection_is_refused(tmp_path: Path, change, message: str) -> None:
    path = make().write(tmp_path / "s.parquet")
    change(pd.read_parquet(path)).to_parquet(path, index=False)
    with pytest.raises(DataError, match=message):
        Selection.read(path)


def test_scores_are_not_taken_for_a_selection(tmp_path: Path) -> None:
    path = Scores.from_arrays({"a": np.arange(4.0)}).write(tmp_path / "s.parquet")
    with pytest.raises(DataError, match="not a selection file"):
        Selection.read(path)


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    path = make().write(tmp_path / "s.parquet")
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(DataError, match="not a complete Parquet file"):
        Selection.read(path)


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make().write(tmp_path / "s.parquet")
    before = path.read_bytes()

    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(pq, "write_table", fail)
    with pytest.raises(OSError, match="disk full"):
        make(weight=None).write(path)
    assert path.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["s.json", "s.parquet"]


def test_the_sampler_draws_the_kept_positions() -> None:
    assert list(make().sampler(shuffle=False)) == [10, 40, 60]
    assert sorted(make().sampler(seed=1)) == [10, 40, 60]


@pytest.mark.parametrize(
    ("after", "said"), [([0, 2, 1], "1 of 3 classes keeps nothing"), ([0, 0, 1], "2 of 3 classes keep nothing")]
)
def test_classes_that_keep_nothing_are_counted_in_words(
    after: list[int], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    ClassCounts(("a", "b", "c"), (2, 2, 2), tuple(after)).warn("choose others")
    assert said in caplog.text
    many = ClassCounts(tuple(map(str, range(50))), (2,) * 50, (*after, *(1,) * 47))
    assert f"{after.count(0)} of them {said.split()[4]} nothing" in str(many)
