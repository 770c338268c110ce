"""Scores: orientation, files, and scores from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datadiet.errors import DataError, OptionError
from datadiet.table import Scores


def make(n: int = 5, **rest: Any) -> Scores:
    """A run's scores of every third example, with a spread and a bool column."""
    columns = {
        "aum": np.linspace(3, -1, n, dtype=np.float32),
        "el2n": np.linspace(0, 1, n, dtype=np.float32),
        "el2n.std": np.full(n, 0.25, dtype=np.float32),
        "forgetting.never_learned": np.arange(n) % 2 == 0,
    }
    described: dict[str, Any] = {name: {"scorer": name} for name in columns}
    for name, sign in [("aum", -1), ("el2n", 1), ("forgetting.never_learned", 1)]:
        described[name]["hardness"] = sign
    rest = {"ids": pa.array([f"class ü/{i}.png" for i in range(n)]), "labels": np.arange(n) % 3, **rest}
    return Scores(
        3 * np.arange(n), columns, meta={"columns": described, "facts": {"epochs": 4}, "data": {"n": 15}}, **rest
    )


def check_same(a: Scores, b: Scores) -> None:
    assert np.array_equal(a.index, b.index) and a.index.dtype == b.index.dtype == np.int64
    assert list(a.columns) == list(b.columns)
    for name in a.columns:
        assert a[name].dtype == b[name].dtype and np.array_equal(a[name], b[name]), name
    assert pa.chunked_array(a.ids).to_pylist() == pa.chunked_array(b.ids).to_pylist()
    assert np.array_equal(a.labels, b.labels)


def test_hardness_turns_a_column_the_one_way() -> None:
    scores = make()
    assert scores.hardness("aum").tolist() == [-3, -2, -1, 0, 1]
    assert scores.hardness("el2n").tolist() == [0, 0.25, 0.5, 0.75, 1]
    never = scores.hardness("forgetting.never_learned")
    assert never.tolist() == [1, 0, 1, 0, 1] and never.dtype == np.float32


def test_a_spread_ranks_nothing() -> None:
    scores = make()
    assert scores.names == ("aum", "el2n", "forgetting.never_learned")
    with pytest.raises(OptionError, match=r"'el2n.std' has no orientation.*aum, el2n"):
        scores.hardness("el2n.std")


def test_an_unknown_column_is_answered_with_near_names() -> None:
    with pytest.raises(OptionError, match="'el2m' is not a score column here: did you mean 'el2n'"):
        make()["el2m"]


def test_round_trip_keeps_everything_and_rewrites_the_same_bytes(tmp_path: Path) -> None:
    path = make().write(tmp_path / "a" / "scores.parquet")
    back = Scores.read(path)
    check_same(make(), back)
    assert {**back.meta, "format": None, "version": None} == {**make().meta, "format": None, "version": None}
    again = back.write(tmp_path / "b" / "scores.parquet")
    assert again.read_bytes() == path.read_bytes()
    assert again.with_suffix(".json").read_bytes() == path.with_suffix(".json").read_bytes()
    assert [p.name for p in sorted(path.parent.iterdir())] == ["scores.json", "scores.parquet"]


def test_the_file_has_the_types_that_the_design_says(tmp_path: Path) -> None:
    schema = pq.read_schema(make().write(tmp_path / "s.parquet"))
    assert {name: str(schema.field(name).type) for name in schema.names} == {
        "index": "int64", "id": "string", "label": "int64", "aum": "float", "el2n": "float", "el2n.std": "float",
        "forgetting.never_learned": "bool",
    }  # fmt: skip
    assert pq.read_metadata(tmp_path / "s.parquet").row_group(0).column(0).compression == "ZSTD"
    assert json.loads(schema.metadata[b"datadiet"]) == json.loads((tmp_path / "s.json").read_text())


def test_a_run_folder_is_read_through_its_scores(tmp_path: Path) -> None:
    make().write(tmp_path / "scores.parquet")
    check_same(Scores.read(tmp_path), make())


def test_scores_without_ids_have_their_positions_as_ids(tmp_path: Path) -> None:
    back = Scores.read(make(ids=None, labels=None).write(tmp_path / "s.parquet"))
    assert back.ids.to_pylist() == ["0", "3", "6", "9", "12"] and back.labels is None


def test_a_pandas_rewrite_loses_the_description_and_the_json_beside_it_helps(tmp_path: Path) -> None:
    path = make().write(tmp_path / "s.parquet")
    pd.read_parquet(path).to_parquet(path)
    assert b"datadiet" not in pq.read_schema(path).metadata
    back = Scores.read(path)
    check_same(back, make())
    assert back.hardness("aum").tolist() == [-3, -2, -1, 0, 1] and back.meta["facts"] == {"epochs": 4}


@pytest.mark.parametrize(("higher_is", "sign"), [("harder", 1), ("easier", -1)])
def test_a_file_that_lost_both_loads_with_a_warning(tmp_path: Path, higher_is: str, sign: int) -> None:
    path = make().write(tmp_path / "s.parquet")
    pd.read_parquet(path).to_parquet(path)
    path.with_suffix(".json").unlink()
    with pytest.warns(UserWarning, match=f"has no description.*higher = {higher_is}"):
        back = Scores.read(path, higher_is=higher_is)
    check_same(back, make())
    assert back.hardness("el2n").tolist() == (sign * make()["el2n"]).tolist() and back.meta["data"] == {"n": 13}


def test_what_a_described_file_says_beats_higher_is(tmp_path: Path) -> None:
    back = Scores.read(make().write(tmp_path / "s.parquet"), higher_is="harder")
    assert back.hardness("aum").tolist() == [-3, -2, -1, 0, 1]


def write_table(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"index": [0, 1, 2], "id": ["a", "b", "a"], "s": [1.0, 2, 3]}, "is not unique: 'a' is in rows 0 and 2"),
        ({"index": [0, 1, 1], "id": ["a", "b", "c"], "s": [1.0, 2, 3]}, "'index' holds 1 twice"),
        ({"index": [-1, 0, 1], "id": ["a", "b", "c"], "s": [1.0, 2, 3]}, "'index' holds the negative -1"),
        ({"index": ["x", "y"], "id": ["a", "b"], "s": [1.0, 2]}, "'index' holds string: give whole numbers"),
        ({"index": [0, 2], "s": [1.0, 2]}, "'index' does not number the examples 0 to 1"),
        ({"image": ["a"], "label": [1]}, "holds no numbers"),
        ({"index": [0, 1], "id": ["a", "b"], "label": [0, 1]}, "no score column"),
        ({"index": [0, 1], "id": ["a", "b"], "s": ["1", "2"]}, "'s' holds string: give real numbers"),
        ({"index": pa.array([], "int64"), "id": pa.array([], "string"), "s": pa.array([], "float")}, "no rows"),
    ],
)  # fmt: skip
def test_a_parquet_file_that_is_not_whole_scores_is_refused(tmp_path: Path, columns: dict, message: str) -> None:
    path = write_table(tmp_path / "s.parquet", **columns)
    with pytest.raises(DataError, match=message):
        Scores.read(path)


@pytest.mark.parametrize("keep", [0, 4, 100, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = make().write(tmp_path / "s.parquet")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="not a complete Parquet file"):
        Scores.read(path)


def test_a_damaged_middle_is_refused_or_read_right(tmp_path: Path) -> None:
    path = make(5000).write(tmp_path / "s.parquet")
    whole = bytearray(path.read_bytes())
    whole[500:900] = bytes(400)
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"s.parquet"):
        Scores.read(path)


def test_a_missing_file_and_a_damaged_description_are_named(tmp_path: Path) -> None:
    for name in ("s.parquet", "s.npy", "s.csv", "s.json"):
        with pytest.raises(DataError, match=f"{name} does not exist"):
            Scores.read(tmp_path / name)
    path = make().write(tmp_path / "s.parquet")
    pd.read_parquet(path).to_parquet(path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(DataError, match=r"s.json is not a JSON file"):
        Scores.read(path)


def test_a_selection_is_not_taken_for_scores(tmp_path: Path) -> None:
    from datadiet.workflow.selecting.select import select

    path = select(np.arange(6.0), "random", keep=3).write(tmp_path / "subset.parquet")
    with pytest.raises(DataError, match="selection"):
        Scores.read(path)


@pytest.mark.parametrize("name", ["scores.json", "scores.npy", "scores.csv"])
def test_a_name_that_could_not_be_read_back_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(OptionError, match="parquet"):
        make().write(tmp_path / name)


def test_bare_arrays_become_a_column_called_score(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([0.5, 0.25, 1.0]))
    (tmp_path / "s.json").write_text("[0.5, 0.25, 1]")
    for name in ("s.npy", "s.json"):
        scores = Scores.read(tmp_path / name, higher_is="easier")
        assert scores.names == ("score",) and scores["score"].dtype == np.float32
        assert scores.hardness("score").tolist() == [-0.5, -0.25, -1.0] and scores.index.tolist() == [0, 1, 2]


def test_named_columns_and_labels_are_taken_over(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", loss=[1.0, 2.0], wrong=[True, False], label=[7, 8])
    (tmp_path / "s.csv").write_text("id,loss,wrong,label\na,1.0,true,7\nb,2.0,false,8\n")
    (tmp_path / "lists.json").write_text('{"loss": [1, 2], "wrong": [true, false], "label": [7, 8], "id": ["a", "b"]}')
    (tmp_path / "rows.json").write_text(
        '[{"loss": 1, "wrong": true, "label": 7}, {"loss": 2, "wrong": false, "label": 8}]'
    )
    for name in ("s.npz", "s.csv", "lists.json", "rows.json"):
        scores = Scores.read(tmp_path / name)
        assert scores["loss"].tolist() == [1, 2] and scores["wrong"].tolist() == [True, False], name
        assert scores["wrong"].dtype == bool and scores.labels.tolist() == [7, 8] and scores.names == ("loss", "wrong")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.npy", b""), ("s.npy", b"\x93NUMPY\x01\x00v\x00{'descr'"), ("s.npy", b"PK\x03\x04 half an archive"),
        ("s.npz", b""), ("s.npz", b"PK\x03\x04 half an archive"), ("s.npz", b"text"),
        ("s.csv", b""), ("s.csv", b"a,b\n1\n"), ("s.csv", b"name\nx\ny\n"), ("s.csv", b"s,s\n1,2\n3,4\n"),
        ("s.json", b"{"), ("s.json", b"\xff\xfe"), ("s.json", b"{}"), ("s.json", b'["a", "b"]'),
        ("s.json", b"[[1, 2], [3]]"),
        ("s.json", b'[{"a": 1}, {"b": 2}]'), ("s.json", b'[{"a": 1}, 2]'),
    ],
)  # fmt: skip
def test_damaged_scores_from_elsewhere_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        Scores.read(tmp_path / name)


def test_an_archive_under_the_name_of_an_array_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "s.npz", a=np.arange(3.0))
    (tmp_path / "s.npz").rename(tmp_path / "s.npy")
    with pytest.raises(DataError, match=r"s.npy"):
        Scores.read(tmp_path / "s.npy")


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.array([{"a": 1}]), allow_pickle=True)
    np.savez(tmp_path / "s.npz", a=np.array([None]))
    for name in ("s.npy", "s.npz"):
        with pytest.raises(DataError, match="holds Python objects"):
            Scores.read(tmp_path / name)


def test_a_csv_without_a_header_loses_no_score(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "s.csv", [0.5, 0.25, 1.0])
    try:
        assert Scores.read(tmp_path / "s.csv").to_pandas().iloc[:, -1].tolist() == [0.5, 0.25, 1.0]
    except DataError as error:
        assert "header" in str(error)


@pytest.mark.parametrize(
    ("name", "text"), [("s.csv", "index,s\n2,20\n0,0\n1,10\n"), ("s.json", '{"index": [2, 0, 1], "s": [20, 0, 10]}')]
)
def test_an_index_column_from_elsewhere_is_heeded_or_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    try:
        assert Scores.read(tmp_path / name)["s"].tolist() == [0, 10, 20]
    except DataError as error:
        assert "index" in str(error)


@pytest.mark.parametrize("index", [[1, 0], [3, 2, 1, 0]])
def test_an_index_of_another_length_is_refused(tmp_path: Path, index: list[int]) -> None:
    np.savez(tmp_path / "s.npz", index=index, s=[1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="index"):
        Scores.read(tmp_path / "s.npz")


def test_scores_do_not_change_with_the_file_they_came_from(tmp_path: Path) -> None:
    np.save(tmp_path / "s.npy", np.arange(3, dtype=np.float32))
    scores = Scores.read(tmp_path / "s.npy")
    np.save(tmp_path / "s.npy", np.full(3, 9, dtype=np.float32))
    assert scores["score"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "columns", [{}, {"a": np.zeros(3), "b": np.zeros(4)}, {"a": np.zeros((3, 2))}, {"a": np.zeros(())}]
)
def test_arrays_that_are_not_one_number_per_example_are_refused(columns: dict) -> None:
    with pytest.raises(OptionError, match="one number per example"):
        Scores.from_arrays(columns)


def test_labels_of_another_number_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="label"):
        Scores.from_arrays({"a": np.zeros(3)}, labels=np.zeros(4, dtype=int))


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(OptionError, match="'harder' or 'easier'"):
        Scores.from_arrays({"a": np.zeros(3)}, higher_is="better")


def test_further_columns_join_and_the_same_again_replaces() -> None:
    scores = make().with_columns({"loss": np.ones(5)}, {"loss": {"hardness": 1}})
    assert scores.names[-1] == "loss" and "loss" not in make().columns
    assert scores.with_columns({"loss": np.zeros(5)}, {"loss": {"hardness": 1}})["loss"].tolist() == [0] * 5


def test_a_column_with_other_parameters_is_refused() -> None:
    with pytest.raises(OptionError, match=r"'el2n' exists with other parameters.*--as NAME"):
        make().with_columns({"el2n": np.ones(5)}, {"el2n": {"hardness": 1, "scorer": "el2n", "params": {"a": 7}}})


def test_the_digest_names_the_values(tmp_path: Path) -> None:
    back = Scores.read(make().write(tmp_path / "s.parquet"))
    digests = {name: make().digest(name) for name in make().columns}
    assert {name: back.digest(name) for name in back.columns} == digests and len(set(digests.values())) == 4


def test_to_pandas_has_all_columns() -> None:
    frame = make().to_pandas()
    assert list(frame.columns[:3]) == ["index", "id", "label"] and frame["aum"].tolist() == [3, 2, 1, 0, -1]


def test_a_column_whose_name_cannot_be_written_is_refused(tmp_path):
    bad, good = {"a\ud800": np.arange(3.0)}, Scores.from_arrays({"s": np.arange(3.0)})
    for make in (
        lambda: Scores.from_arrays(bad),
        lambda: good.with_columns(bad, {}),
        lambda: Scores(np.arange(3), bad),
    ):
        with pytest.raises(OptionError, match=r"named 'a\\ud800', which is not UTF-8: give it another name"):
            make()
    (tmp_path / "s.json").write_text('{"a\\ud800": [1, 2]}')
    with pytest.raises(DataError, match=r"s\.json is not a JSON file of scores \(.*surrogates not allowed\)"):
        Scores.read(tmp_path / "s.json")
