"""Files: whole or not at all, the same bytes for the same content, and never read wrongly."""

from __future__ import annotations

import errno
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.files import (
    array_digest,
    canonical,
    digest,
    parquet_identity,
    read_json,
    read_parquet,
    sidecar,
    write_json,
    write_parquet,
)
from datadiet.files.writing import atomic_write

TABLE = pa.table({"index": [0, 1, 2], "score": pa.array([1.0, 2.0, 3.0], pa.float32())})
IDENTITY = {"format": "datadiet.scores", "version": 1, "name": "größer", "list": [1, 2.5, None]}


def test_canonical_text_does_not_depend_on_order():
    assert canonical({"b": 1, "a": [1.0, "ü"]}) == '{"a":[1.0,"ü"],"b":1}'
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


def test_digests_are_fixed_forever():
    """They stand in files: another value would make every existing run foreign."""
    assert digest({"a": 1}) == "2c6b113b8dd15ffbded9860b43eb0c6c"
    assert array_digest(np.arange(3, dtype="<i8")) == "ab25350e3e65efebe24584461683ecda"
    assert array_digest(np.arange(3)) == array_digest(np.arange(3).copy()) != array_digest(np.arange(3, dtype=np.int32))


def test_a_file_appears_when_it_is_complete(tmp_path):
    seen = []
    atomic_write(tmp_path / "deep/er/a.txt", lambda path: (path.write_text("new"), seen.append(path)))
    assert (tmp_path / "deep/er/a.txt").read_text() == "new"
    assert seen[0].parent == tmp_path / "deep/er" and not seen[0].exists() and seen[0].name != "a.txt"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("bad")])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")

    def half(path):
        path.write_text("ne")
        raise error

    with pytest.raises(type(error)):
        atomic_write(tmp_path / "a.txt", half)
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_a_failing_rename_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("old")

    def full(*paths):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError):
        atomic_write(tmp_path / "a.txt", lambda path: path.write_text("new"))
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"] and (tmp_path / "a.txt").read_text() == "old"


def test_json_round_trip(tmp_path):
    write_json(tmp_path / "a.json", IDENTITY)
    assert read_json(tmp_path / "a.json") == IDENTITY
    assert (tmp_path / "a.json").read_text(encoding="utf-8").startswith('{\n  "format"')


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00", b"{'a': 1}"])
def test_a_damaged_json_file(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DataError, match=r"a.json is not a JSON file .*: write it again or remove it"):
        read_json(tmp_path / "a.json")


def test_parquet_round_trip_with_two_copies_of_the_identity(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, TABLE, IDENTITY)
    table, identity = read_parquet(path)
    assert table.equals(TABLE) and identity == IDENTITY
    assert json.loads(sidecar(path).read_text()) == IDENTITY
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    assert read_parquet(path, ["score"])[0].column_names == ["score"]


def test_the_same_table_gives_the_same_bytes(tmp_path):
    write_parquet(tmp_path / "a.parquet", TABLE, {"x": 1, "y": 2})
    write_parquet(tmp_path / "b.parquet", pa.Table.from_batches(TABLE.to_batches()), {"y": 2, "x": 1})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_the_identity_survives_a_rewrite_that_drops_metadata(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(path, TABLE, IDENTITY)
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    identity, schema, rows = parquet_identity(path)
    assert (identity, schema.names, rows) == (IDENTITY, ["index", "score"], 3)
    sidecar(path).unlink()
    assert parquet_identity(path)[0] is None


@pytest.mark.parametrize("beside", [[1, 2], {"mine": True}, "text"])
def test_a_json_file_of_something_else_is_not_taken_for_the_identity(tmp_path, beside):
    """data.json beside data.parquet is common."""
    pq.write_table(TABLE, tmp_path / "a.parquet")
    (tmp_path / "a.json").write_text(json.dumps(beside))
    assert parquet_identity(tmp_path / "a.parquet")[0] is None


LONG = ["x" * 300, "é" * 150, "y" * 300 + "/s", "d/" * 3000 + "s"]


@pytest.mark.parametrize("name", [*LONG, "a\0b", "o\udcff", "a\ud800"])
@pytest.mark.parametrize("write", ["table", "scores", "selection"])
def test_a_name_that_no_file_can_have_is_refused_before_anything_is_written(tmp_path, monkeypatch, name, write):
    monkeypatch.chdir(tmp_path)
    scores = dd.Scores.from_arrays({"s": np.arange(4.0)})
    writes = {
        "table": lambda path: write_parquet(path, TABLE, IDENTITY),
        "scores": scores.write,
        "selection": dd.select(scores, "random", keep=2).write,
    }
    with pytest.raises(OptionError, match=r"(too long for|cannot be) the name of a file") as caught:
        writes[write](Path(f"{name}.parquet"))
    assert str(caught.value).encode() and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["s.json", "s.npy", "s"])
def test_a_parquet_file_is_called_one(tmp_path, name):
    """Otherwise its own description would be written over s.json, and s.npy would be read as an array."""
    with pytest.raises(OptionError, match=r"give a name that ends in \.parquet"):
        write_parquet(tmp_path / name, TABLE, IDENTITY)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda b: b[:-20], "is not a complete Parquet file"),
        (lambda b: b"", "is not a complete Parquet file"),
        (lambda b: b"PAR1" + b"x" * 50 + b"PAR1", "is not a complete Parquet file"),
        (lambda b: b"something else", "is not a complete Parquet file"),
        (lambda b: b[:4] + bytes(60) + b[64:], "is not a complete Parquet file"),
    ],
)
def test_a_damaged_parquet_file_gets_one_sentence(tmp_path, damage, words):
    path = tmp_path / "a.parquet"
    write_parquet(path, TABLE, IDENTITY)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataError, match=words) as caught:
        read_parquet(path)
    assert "\n" not in str(caught.value) and "a.parquet" in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(DataError, match="does not exist"):
        parquet_identity(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="is a folder, not a complete Parquet file"):
        parquet_identity(tmp_path)


def test_what_a_killed_write_left_is_removed_by_the_next(tmp_path):
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    names = []
    atomic_write(tmp_path / "a.json", lambda path: names.append(path.name))
    stray, alive, elsewhere = (
        tmp_path / re.sub(r"[0-9a-f]{6}-\d+-", f"{host}-{pid}-", names[0])
        for host, pid in (
            (names[0].split(".")[-2][:6], dead.stdout.strip()),
            (names[0].split(".")[-2][:6], os.getppid()),
            ("000000", dead.stdout.strip()),
        )
    )
    stray.write_text("half")
    alive.write_text("in the making")
    elsewhere.write_text("of another machine that shares this folder")
    write_json(tmp_path / "a.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, elsewhere.name, "a.json"])


@pytest.mark.parametrize("content", ["{broken", "", "{"])
def test_a_description_of_ours_that_is_damaged_is_written_again(tmp_path, content):
    """The table beside it says whose it is."""
    path = dd.Scores.from_arrays({"s": np.arange(3.0)}).write(tmp_path / "s.parquet")
    wanted = (tmp_path / "s.json").read_bytes()
    (tmp_path / "s.json").write_text(content)
    dd.Scores.read(path).write(path)
    assert (tmp_path / "s.json").read_bytes() == wanted


@pytest.mark.parametrize("content", ["{broken", "[1, 2]", '{"format": "other"}'])
def test_a_description_of_somebody_else_is_left_alone(tmp_path, content):
    (tmp_path / "s.json").write_text(content)
    with pytest.raises(OptionError, match="would be overwritten by the description"):
        dd.Scores.from_arrays({"s": np.arange(3.0)}).write(tmp_path / "s.parquet")
    assert (tmp_path / "s.json").read_text() == content and not (tmp_path / "s.parquet").exists()


def test_scores_and_selections_do_not_replace_each_other(tmp_path):
    scores = dd.Scores.from_arrays({"s": np.arange(9.0)})
    chosen = dd.select(scores, "top_k", keep=3, prefer="hardest")
    for first, second, kind in ((scores, chosen, "scores"), (chosen, scores, "selection")):
        path = first.write(tmp_path / f"{kind}.parquet")
        before = path.read_bytes()
        with pytest.raises(OptionError, match=f"holds {kind}, which would be lost: give another name"):
            second.write(path)
        assert path.read_bytes() == before and first.write(path)
