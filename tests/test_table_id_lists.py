"""Selections as lists of ids: out and back in, and what such a list cannot say is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import datadiet as dd
from datadiet.cli import main
from datadiet.errors import DataError

NAMES = ["b/1.png", "a/1.png", " c", "d"]


@pytest.fixture
def source(tmp_path: Path) -> dd.Source:
    pd.DataFrame({"id": NAMES, "x": np.arange(4.0), "label": [0, 1, 0, 1]}).to_parquet(tmp_path / "data.parquet")
    return dd.open_data(f"parquet:{tmp_path / 'data.parquet'}", id="id", label="label")


def scores_of(ids: list[str]) -> dd.Scores:
    return dd.Scores(np.arange(len(ids)), {"el2n": np.arange(len(ids), dtype=np.float32)}, pa.array(ids))


KINDS = {"list": list, "arrow": pa.array, "numpy": np.array, "pandas": pd.Series, "chunked": pa.chunked_array}


@pytest.mark.parametrize("as_given", KINDS.values(), ids=KINDS)
def test_ids_are_ranked_as_they_are_listed(as_given: Any, source: dd.Source) -> None:
    listed = ["d", "b/1.png", " c"]
    chosen = dd.Selection.from_ids(as_given([listed] if as_given is pa.chunked_array else listed), source)
    assert chosen.ranked.tolist() == [3, 0, 2] and chosen.indices.tolist() == [0, 2, 3]
    assert chosen.weights.tolist() == [1, 1, 1] and chosen.meta["data"] == source.identity()


def test_a_list_of_ids_is_written_in_the_order_of_the_data_and_read_again(tmp_path: Path, source: dd.Source) -> None:
    chosen = dd.Selection.from_ids(["d", "b/1.png", " c"], source)
    path = chosen.write_ids(tmp_path / "ids.txt")
    assert path.read_bytes() == b"b/1.png\n c\nd\n"
    for of in (source, chosen, scores_of(NAMES)):
        assert dd.Selection.from_ids(path, of).indices.tolist() == [0, 2, 3]
    path.write_bytes(b"\xef\xbb\xbfd\r\n c")  # as Windows writes it, and without a last end of line
    assert dd.Selection.from_ids(path, source).ranked.tolist() == [3, 2]


def test_a_selection_from_ids_is_a_selection_like_any_other(tmp_path: Path, source: dd.Source) -> None:
    chosen = dd.Selection.from_ids(["d", "a/1.png"], source)
    back = dd.Selection.read(chosen.write(tmp_path / "s.parquet"))
    assert back.ranked.tolist() == [3, 1] and list(back.ids) == NAMES and "by ids" in repr(back)
    table = chosen.to_pandas()
    again = dd.Selection.from_ids(table.loc[table["keep"], "id"], source)
    assert again.indices.tolist() == chosen.indices.tolist()


def test_scores_without_ids_are_named_by_position() -> None:
    scores = dd.Scores.from_arrays({"el2n": np.arange(5.0)})
    assert dd.Selection.from_ids(["4", "1"], scores).ranked.tolist() == [4, 1]
    assert dd.Selection.from_ids([4, 1], scores).ranked.tolist() == [4, 1]


def test_ids_of_scores_that_are_known_by_id_find_their_place(source: dd.Source) -> None:
    """The table is in another order than the data: position 0 of one is position 3 of the other."""
    table = dd.Scores.from_table({"file": NAMES[::-1], "q": [4.0, 3, 2, 1]}, id="file", higher_is="easier")
    assert dd.Selection.from_ids(["b/1.png"], table).placed(source).indices.tolist() == [0]


BAD = {
    "unknown": (["b/1.png", "/photos/d", "z"], "names '/photos/d', 'z', which is not .*2 such of 3.*such as 'b/1.png'"),
    "twice": (["d", " c", "d"], "names 'd' 2 times"),
    "none": ([], "is empty"),
    "missing": (["d", None], "names None"),
    "kind": ([["d"], ["e"]], "cannot be read|shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_lists_that_name_no_examples_are_refused(case: str, source: dd.Source) -> None:
    with pytest.raises(DataError, match=BAD[case][1]):
        dd.Selection.from_ids(BAD[case][0], source)


def test_files_that_are_no_lists_are_refused(tmp_path: Path, source: dd.Source) -> None:
    for content, words in ((b"d\n\n c\n", "line 2 is empty"), (b"", "is empty"), (b"\xff\xfe", "UTF-8")):
        (tmp_path / "ids.txt").write_bytes(content)
        with pytest.raises(DataError, match=words):
            dd.Selection.from_ids(tmp_path / "ids.txt", source)
    with pytest.raises(DataError, match="does not exist"):
        dd.Selection.from_ids(tmp_path / "nothing.txt", source)


@pytest.mark.parametrize("id", ["a\nb", "a\r", "a\x0bb", "a\x1cb", "a\x85b", "a\u2028b", "\ufeffa", ""], ids=repr)
def test_an_id_that_is_not_one_line_is_refused(id: str, tmp_path: Path) -> None:
    chosen = dd.Selection.from_ids(["x", id], scores_of([id, "x", "y"]))
    with pytest.raises(DataError, match="does not fit in one line"):
        chosen.write_ids(tmp_path / "ids.txt")
    assert not list(tmp_path.iterdir())
    others = dd.Selection.from_ids(["x"], scores_of([id, "x", "y"]))
    assert others.write_ids(tmp_path / "ids.txt").read_text() == "x\n"


def test_export_writes_and_reads_lists_of_ids(
    tmp_path: Path, source: dd.Source, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(given: str, path: str, to: str) -> tuple[object, str]:
        data = ["--data", source.spec, "--id", "id", "--label", "label", "--json", "--overwrite"]
        with pytest.raises(SystemExit) as stopped:
            main(["export", given, path, "--to", to, *data])
        code, (out, err) = stopped.value.code, capsys.readouterr()
        return code, err or json.loads(out)["k"]

    monkeypatch.chdir(tmp_path)
    dd.Selection.from_ids(["d", "b/1.png"], source).write("s.parquet")
    assert export("s.parquet", "ids.txt", "ids") == (0, 2) and Path("ids.txt").read_text() == "b/1.png\nd\n"
    assert export("ids.txt", "k.parquet", "parquet") == (0, 2)
    assert pd.read_parquet("k.parquet")["id"].tolist() == ["b/1.png", "d"]
    Path("ids.txt").write_text("d\nnowhere\n")
    code, err = export("ids.txt", "l.parquet", "parquet")
    assert code == 3 and "names 'nowhere'" in str(err) and not Path("l.parquet").exists()


def test_training_takes_a_list_of_ids(tmp_path: Path) -> None:
    data = dd.open_data("digits")
    kept = [data.ids[row].as_py() for row in range(0, 600, 2)]
    (tmp_path / "ids.txt").write_text("\n".join(kept))
    options = {"recipe": dd.Recipe(batch_size=100), "epochs": 1}
    by_ids = dd.train("digits", "datadiet:mlp", tmp_path / "ids.txt", **options)
    by_selection = dd.train("digits", "datadiet:mlp", dd.Selection.from_ids(kept, data), **options)
    assert by_ids.accuracy == by_selection.accuracy and by_ids.steps == by_selection.steps == 3
