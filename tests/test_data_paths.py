"""Files that data names, and files that are named after data: nothing else is read, nothing is renamed without need."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from PIL import Image

import datadiet as dd
from datadiet.cli import main
from datadiet.data import open_data, write_examples
from datadiet.data.paths import CLASS_NAMES, safe_name
from datadiet.errors import DataError


def png(level=0):
    buffer = io.BytesIO()
    Image.new("L", (6, 6), level).save(buffer, format="PNG")
    return buffer.getvalue()


def manifest(folder, paths, name="m.csv"):
    rows = "".join(f"{path},{number % 2}\n" for number, path in enumerate(paths))
    (folder / name).write_text("image,label\n" + rows)
    return folder / name


@pytest.fixture
def here(tmp_path):
    """A folder with an image, a folder beside it with another, and links."""
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "in" / "a.png").write_bytes(png(1))
    (tmp_path / "out" / "b.png").write_bytes(png(2))
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out" / "b.png")
    return tmp_path


def test_paths_start_at_the_table_and_absolute_ones_work(here):
    source = open_data(manifest(here / "in", ["a.png", "../out/b.png", here / "out" / "b.png", "link.png"]))
    assert source.take(range(4))[:, 0, 0, 0].tolist() == [1, 2, 2, 2]


@pytest.mark.parametrize("path", ["../out/b.png", "{here}/out/b.png", "link.png"])
def test_one_folder_may_be_all_that_is_read(here, path):
    table = manifest(here / "in", ["a.png", path.format(here=here)])
    source = open_data(table, allow_paths=here / "in")
    assert source.take([0])[0, 0, 0, 0] == 1
    with pytest.raises(DataError, match=r"b.png is outside .*in, the only folder|link.png is outside"):
        source.take([1])
    assert open_data(table, allow_paths=here).take([1])[0, 0, 0, 0] == 2


@pytest.mark.parametrize("only", [True, False])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("path", ["loop.png", "loop.png/a.png", "a\0.png"])
def test_a_path_that_leads_to_no_file_is_one_sentence(here, kind, path, only):
    (here / "in" / "loop.png").symlink_to("other.png")
    (here / "in" / "other.png").symlink_to("loop.png")
    rows, table = {"image": ["a.png", path], "label": [0, 1]}, here / "in" / f"m.{kind}"
    if kind == "csv":
        pa.csv.write_csv(pa.table(rows), table)
    elif kind == "jsonl":
        table.write_text("".join(json.dumps({key: rows[key][i] for key in rows}) + "\n" for i in range(2)))
    else:
        pq.write_table(pa.table(rows), table)
    source = open_data(table, **{"allow_paths": here / "in"} if only else {})
    with pytest.raises(
        DataError, match=r"example .*(leads to no file|is not a readable image) \([^\n]*(NUL|null|ymbolic)"
    ):
        source.take([1])
    for folder in ("loop.png", "in\0"):
        with pytest.raises(DataError, match="leads to no file"):
            open_data(table, allow_paths=here / "in" / folder).take([0])


def make_pipe(path):
    os.mkfifo(path)


@pytest.mark.parametrize("make", [make_pipe, lambda path: path.symlink_to("/dev/zero"), lambda path: path.mkdir()])
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "folder"])
def test_only_regular_files_are_read(here, make, kind):
    make(here / "in" / "bad.png")
    paths = ["a.png", "bad.png"]
    if kind == "csv":
        source = open_data(manifest(here / "in", paths))
    elif kind == "jsonl":
        (here / "in" / "m.jsonl").write_text("".join(json.dumps({"image": path}) + "\n" for path in paths))
        source = open_data(here / "in" / "m.jsonl")
    elif kind == "parquet":
        pq.write_table(pa.table({"image": paths}), here / "in" / "m.parquet")
        source = open_data(here / "in" / "m.parquet")
    else:
        (here / "in" / "link.png").unlink()
        source = open_data(f"imagefolder:{here}/in")
        if len(source) == 1:
            return  # a folder is not an image
    with pytest.raises(DataError, match=r"device, a pipe or a socket|is a folder"):
        source.take([1])


def test_a_link_to_a_folder_above_ends(tmp_path):
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "a.png").write_bytes(png())
    (tmp_path / "cat" / "again").symlink_to(tmp_path)
    assert open_data(f"imagefolder:{tmp_path}").ids.to_pylist() == ["cat/a.png"]


@pytest.mark.parametrize(
    "name", ["a**b.parquet", "[x].parquet", "a?b.parquet", "ü — 名.parquet", "-o.parquet", "a b.parquet"]
)
def test_names_that_look_like_patterns_are_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    np.save("s.npy", np.arange(9.0))
    for _ in range(2):
        with pytest.raises(SystemExit) as stopped:
            main(["select", "s.npy", "--method", "random", "--keep", "n=3", "--overwrite", f"--out={name}"])
        assert stopped.value.code == 0
    assert len(dd.Selection.read(name)) == 3
    pq.write_table(pa.table({"x": [0.0, 1.0], "label": [0, 1]}), f"data {name}")
    assert len(open_data(f"parquet:data {name}")) == 2


def test_a_path_that_is_not_utf8(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"caf\xe9.npy")
    np.save("s.npy", np.arange(9.0))
    Path("s.npy").rename(name)
    with pytest.raises(SystemExit) as stopped:
        main(["select", name, "--method", "random", "--keep", "n=3", "--out", "c.parquet"])
    assert stopped.value.code == 0
    folder = os.fsdecode(b"kl\xe4sse")
    Path("images", folder).mkdir(parents=True)
    Path("images", folder, "a.png").write_bytes(png())
    with pytest.raises(DataError, match=r"is not a name in UTF-8"):
        open_data("imagefolder:images")
    pq.write_table(pa.table({"x": [0.0, 1.0]}), "d.parquet")
    Path("d.parquet").rename(os.fsdecode(b"d\xe9.parquet"))
    assert len(open_data("parquet:" + os.fsdecode(b"d\xe9.parquet"))) == 2
    with pytest.raises(SystemExit) as stopped:
        main(["inspect", os.fsdecode(b"no\xe9.parquet")])
    assert stopped.value.code == 3 and "does not exist" in capsys.readouterr().err


def test_lone_surrogates_are_one_sentence(tmp_path):
    """They come from damaged text and cannot be written as UTF-8."""
    for data in ([("\ud800", 0), ("fine", 1)], [(np.array([1.0]), "\ud800"), (np.array([2.0]), "a")]):
        try:
            source = open_data(data)
            write_examples(source, np.arange(2), "jsonl", tmp_path / "out.jsonl")
        except DataError as error:
            assert "\n" not in str(error)
    assert not (tmp_path / "out.jsonl").exists()
    assert len(dd.select(["\ud800", "b"], "exact_dedup")) == 2


# Exporting.

ALLOWED = [
    "R&D", "a+b", "100 %", "C#", "très bon", "日本", "dog", "Dog", "it's", 'say "hi"', "a:b", "x" * 100,
]  # fmt: skip
NAMES = [*ALLOWED, "..", "a/b", ".hidden", "n" * 300, "tab\there"]


def named_images(folder, names):
    blobs = [png(level) for level in range(2 * len(names))]
    pq.write_table(pa.table({"image": blobs, "label": names * 2}), folder / "d.parquet")
    return open_data(folder / "d.parquet")


def test_class_names_survive_a_folder_of_images(tmp_path):
    source = named_images(tmp_path, NAMES)
    write_examples(source, np.arange(len(source)), "imagefolder", tmp_path / "out")
    kept = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
    assert set(ALLOWED) <= kept, "what the system allows stays"
    assert all(len(os.fsencode(name)) <= 255 for name in kept)
    back = open_data(tmp_path / "out")
    assert back.class_names == source.class_names
    mapping = json.loads((tmp_path / "out" / CLASS_NAMES).read_text())
    assert set(mapping.values()) == set(NAMES) - set(ALLOWED)


def test_training_on_an_export_with_the_held_out_folder(tmp_path):
    source = named_images(tmp_path, ["R&D", "a/b"] * 5)
    write_examples(source, np.arange(0, 20), "imagefolder", tmp_path / "train")
    write_examples(source, np.arange(4, 16), "imagefolder", tmp_path / "held-out")
    result = dd.train(tmp_path / "train", "datadiet:mlp", eval=open_data(f"imagefolder:{tmp_path}/held-out"), epochs=1)
    assert result.accuracy is not None


def test_a_damaged_mapping_is_one_sentence(tmp_path):
    source = named_images(tmp_path, ["a/b", "c"])
    write_examples(source, np.arange(4), "imagefolder", tmp_path / "out")
    for text in ("{", "[1]", '{"a": 1}'):
        (tmp_path / "out" / CLASS_NAMES).write_text(text)
        with pytest.raises(DataError, match="does not map folders to class names"):
            open_data(tmp_path / "out")


@pytest.mark.parametrize("text", ["é" * 300, "日" * 200, "x" * 4096])
def test_long_names_are_cut_by_bytes(text):
    name = safe_name(text)
    assert len(os.fsencode(name)) <= 220 and name != safe_name(text + "y")


def test_exported_json_lines_are_json(tmp_path):
    pq.write_table(pa.table({"x": [0.5, float("nan")], "label": [0, 1]}), tmp_path / "d.parquet")
    write_examples(open_data(tmp_path / "d.parquet"), np.arange(2), "jsonl", tmp_path / "out.jsonl")
    rows = [json.loads(line, parse_constant=pytest.fail) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["x"] for row in rows] == [0.5, None]
    pq.write_table(pa.table({"x": [0.5, float("inf")], "label": [0, 1]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="JSON has no infinite numbers"):
        write_examples(open_data(tmp_path / "d.parquet"), np.arange(2), "jsonl", tmp_path / "inf.jsonl")
    assert not (tmp_path / "inf.jsonl").exists()


@pytest.mark.parametrize("to", ["parquet", "jsonl", "hf", "indices"])
def test_overwriting_is_asked_for(tmp_path, to):
    np.savez(tmp_path / "d.npz", x=np.arange(8.0).reshape(4, 2), y=[0, 1, 0, 1])
    source, out = open_data(tmp_path / "d.npz"), tmp_path / "out"
    write_examples(source, np.arange(4), to, out)
    with pytest.raises(dd.OptionError, match=r"already exists.*--overwrite"):
        write_examples(source, np.arange(2), to, out)
    before = out.stat().st_mtime_ns
    write_examples(source, np.arange(2), to, out, overwrite=True)
    assert out.stat().st_mtime_ns != before and [path.name for path in tmp_path.iterdir() if path.name[0] == "."] == []


def test_no_two_classes_share_a_folder(tmp_path):
    """Also where one has the very name that another gets, or that of the file of names."""
    names = ["a/b", safe_name("a/b"), "class_names.json", ".x", safe_name(".x"), f"{safe_name('a/b')}-0"]
    source = named_images(tmp_path, names)
    write_examples(source, np.arange(len(source)), "imagefolder", tmp_path / "out")
    back = open_data(tmp_path / "out")
    assert sorted(back.class_names) == sorted(names) and len(back) == len(source)
    assert np.bincount(back.labels).tolist() == np.bincount(source.labels).tolist()


LONG, RAW = "x" * 300, os.fsdecode(b"o\xff")


@pytest.mark.skipif(os.name == "nt", reason="names of files are texts there")
@pytest.mark.parametrize("name", [LONG, RAW, f"{RAW}/b", f"a/{LONG}", "a\0b"])
@pytest.mark.parametrize(
    "line",
    [
        "score digits --model datadiet:mlp --scorer el2n --epochs 1 --out {}",
        "train digits --model datadiet:mlp --epochs 1 --out {}",
        "embed digits --model datadiet:mlp --checkpoint w.safetensors --out {}",
        "select s.npy --method random --keep n=2 --out {}.parquet",
        "export kept.parquet {} --data digits --to indices",
        "demo --out {}",
    ],
)
def test_a_name_that_cannot_be_written_is_refused_before_any_work(tmp_path, monkeypatch, capsys, name, line):
    from safetensors.torch import save_file

    from datadiet.models import open_model

    monkeypatch.chdir(tmp_path)
    np.save("s.npy", np.arange(1438.0))
    dd.select(np.arange(1438.0), "random", keep=2).write("kept.parquet")
    save_file(open_model("datadiet:mlp", (1, 8, 8), 10).fresh(0).state_dict(), "w.safetensors")
    there = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        main(line.format(name).split(" "))
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert "too long" in said or "cannot be the name of a file" in said
    assert sorted(path.name for path in tmp_path.rglob("*")) == there


@pytest.mark.parametrize("given", ["parquet", "glob", "selection", "imagefolder", "manifest", "hf"])
def test_an_export_never_replaces_what_it_reads(tmp_path, monkeypatch, given):
    """The data as a file, as a folder, and as the files that a table names; and the selection."""
    monkeypatch.chdir(tmp_path)
    source = named_images(tmp_path, ["a", "b"])
    rows = np.arange(len(source))
    for to in ("imagefolder", "parquet", "hf"):
        write_examples(source, rows, to, Path(f"{to}.parquet"))
    images = sorted(str(path) for path in Path("imagefolder.parquet").rglob("*.png"))
    pq.write_table(pa.table({"image": images, "label": [0, 1] * 2}), "manifest.parquet")
    data, to, target = {
        "parquet": ("parquet:parquet.parquet", "parquet", "parquet.parquet"),
        "glob": ("parquet:parq*.parquet", "parquet", "parquet.parquet"),
        "selection": ("parquet:parquet.parquet", "parquet", "kept.parquet"),
        "imagefolder": ("imagefolder:imagefolder.parquet", "imagefolder", "imagefolder.parquet"),
        "manifest": ("parquet:manifest.parquet", "imagefolder", "imagefolder.parquet"),
        "hf": ("hf:hf.parquet", "hf", "./x/../hf.parquet"),
    }[given]
    Path("x").mkdir()
    scores = dd.Scores.from_arrays({"s": np.arange(4.0)})
    dd.select(scores, "random", keep=2).write("kept.parquet")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(dd.OptionError, match=r"its own input|which is read to make it"):
        dd.export("kept.parquet", data, to, target, overwrite=True)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("to", ["imagefolder", "hf"])
def test_a_folder_of_somebody_else_is_never_replaced(tmp_path, to):
    source = named_images(tmp_path, ["a", "b"])
    mine = tmp_path / "photos"
    mine.mkdir()
    (mine / "holiday.jpg").write_bytes(png())
    with pytest.raises(dd.OptionError, match="is a folder that datadiet did not write"):
        write_examples(source, np.arange(4), to, mine, overwrite=True)
    assert [path.name for path in mine.iterdir()] == ["holiday.jpg"]
    write_examples(source, np.arange(4), to, tmp_path / "out")
    write_examples(source, np.arange(2), to, tmp_path / "out", overwrite=True)
    assert len(open_data(tmp_path / "out")) == 2
