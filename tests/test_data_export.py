"""export: round trips, unchanged bytes, and paths that stay inside."""

from __future__ import annotations

import csv
import gzip
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import datadiet as dd
from datadiet.data import EXPORT_FORMS, identity_of, open_data, write_examples
from datadiet.data.decode import encode_png
from datadiet.data.paths import safe_name
from datadiet.errors import DataError, OptionError


def pictures(n=6, channels=3, size=8):
    return np.random.default_rng(2).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def image_table(tmp_path):
    blobs = [encode_png(image) for image in pictures()]
    table = pa.table(
        {"id": [f"p{i}" for i in range(6)], "jpeg": blobs, "label": [2, 0, 1, 2, 0, 1], "note": list("abcdef")}
    )
    pq.write_table(
        table.replace_schema_metadata({"class_names": json.dumps(["ant", "bee", "cow"])}), tmp_path / "in.parquet"
    )
    return open_data(f"parquet:{tmp_path}/in.parquet")


def same(a, b):
    assert identity_of(a) == identity_of(b) and a.class_names == b.class_names
    return True


def test_parquet_keeps_columns_metadata_and_bytes(tmp_path):
    source = image_table(tmp_path)
    out = write_examples(source, np.array([5, 1, 2]), "parquet", tmp_path / "out.parquet")
    again = open_data(f"parquet:{out}")
    assert again.table.schema.equals(source.table.schema, check_metadata=True)
    assert again.table.equals(source.table.take([1, 2, 5])) and same(again, source.subset([1, 2, 5]))


def test_hf_round_trip(tmp_path):
    source = image_table(tmp_path)
    write_examples(source, np.arange(6), "hf", tmp_path / "out")
    assert same(open_data(tmp_path / "out"), source)
    assert datasets.load_from_disk(tmp_path / "out").column_names == ["id", "jpeg", "label", "note"]


def test_imagefolder_copies_bytes(tmp_path):
    source = image_table(tmp_path)
    out = write_examples(source, np.arange(6), "imagefolder", tmp_path / "out")
    again = open_data(out)
    assert again.ids.to_pylist() == ["ant/p1.png", "ant/p4.png", "bee/p2.png", "bee/p5.png", "cow/p0.png", "cow/p3.png"]
    assert (out / "bee" / "p2.png").read_bytes() == source.table["jpeg"][2].as_py()
    assert again.labels.tolist() == [0, 0, 1, 1, 2, 2]
    copy = write_examples(again, np.arange(6), "imagefolder", tmp_path / "copy")
    assert same(open_data(copy), again)


@pytest.mark.parametrize("to", ["parquet", "hf"])
def test_array_images_become_png(tmp_path, to):
    source = open_data("digits").subset([7, 3, 30, 31])
    out = write_examples(source, np.arange(4), to, tmp_path / "out.x")
    again = open_data(f"{to}:{out}")
    assert torch.equal(again.take(range(4)), source.take(range(4))) and again.class_names == source.class_names
    found, expected = identity_of(again), identity_of(source)
    assert all(found[key] == expected[key] for key in ("n", "ids", "labels", "positional_ids"))
    if to == "parquet":
        loaded = datasets.Dataset.from_parquet(str(out), cache_dir=str(tmp_path / "cache"))
        assert isinstance(loaded.features["image"], datasets.Image) and loaded.features["label"].num_classes == 10


@pytest.mark.parametrize("to", ["parquet", "hf", "jsonl"])
@pytest.mark.parametrize("shape", [(4,), (2, 5, 5)])
def test_arrays_become_lists(tmp_path, to, shape):
    x = np.random.default_rng(0).normal(size=(5, *shape)).astype(np.float32)
    np.savez(tmp_path / "a.npz", x=x, y=np.array(["v", "u", "v", "w", "u"]), ids=np.array(list("klmno")))
    source = open_data(tmp_path / "a.npz")
    again = open_data(f"{to}:{write_examples(source, np.arange(5), to, tmp_path / 'out.x')}")
    assert same(again, source) and torch.equal(again.take(range(5)), source.take(range(5)))


def test_text_round_trips(tmp_path):
    rows = [{"text": f"Zeile {i} ä\n\u2028", "label": "ja" if i % 3 else "nein", "n": [i]} for i in range(7)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    source = open_data(tmp_path / "in.jsonl", image="n")
    out = write_examples(source, np.arange(7), "jsonl", tmp_path / "out.jsonl.gz")
    with gzip.open(out, "rt", encoding="utf-8", newline="\n") as file:
        assert [json.loads(line) for line in file.read().split("\n")[:-1]] == rows
    assert same(open_data(out, image="n"), source)
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], ["a,b\nc", "x"], ["d", "y"]])
    table = open_data(tmp_path / "t.csv")
    assert same(open_data(write_examples(table, np.arange(2), "parquet", tmp_path / "t.parquet")), table)


def test_indices_count_in_what_was_opened(tmp_path):
    part = open_data("digits").subset([10, 20, 30, 40])
    assert np.load(write_examples(part, np.array([3, 1]), "indices", tmp_path / "a.npy")).tolist() == [20, 40]
    assert write_examples(part, np.array([3, 1]), "indices", tmp_path / "a.txt").read_text() == "20\n40\n"


def test_ids_never_escape_the_folder(tmp_path):
    ids = ["../../evil", "/etc/passwd", "a/../../b", "..", "a\\b", "CON", "x" * 300, "tab\there", ".hidden"]
    labels = ["..", "a/b", "ok", "ok", "ok", "ok", "ok", "ok", "ok"]
    blob = encode_png(pictures()[0])
    pq.write_table(pa.table({"id": ids, "image": [blob] * 9, "label": labels}), tmp_path / "in.parquet")
    out = tmp_path / "deep" / "out"
    write_examples(open_data(tmp_path / "in.parquet"), np.arange(9), "imagefolder", out)
    assert len([path for path in out.rglob("*.png") if path.is_file()]) == 9
    assert {path.name for path in tmp_path.iterdir()} == {"in.parquet", "deep"}
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"] and len(open_data(out)) == 9


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "é x", "nul.txt", "a:b", "\0"])
def test_safe_names_are_single_components(text):
    name = safe_name(text)
    assert name not in ("", ".", "..") and not set("/\0") & set(name) and not name.startswith(".")
    assert safe_name(name) == name


def test_refusals_leave_nothing_behind(tmp_path):
    source = image_table(tmp_path)
    full = tmp_path / "full"
    full.mkdir()
    (full / "x").write_text("mine")
    for to in EXPORT_FORMS:
        with pytest.raises(OptionError, match="already exists"):
            write_examples(source, np.arange(2), to, full)
    for to, positions, words in (
        ("parket", [0], "'parquet'"), ("hf", [], "nothing"), ("hf", [1, 1], "twice"), ("hf", [9], "outside"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=words):
            write_examples(source, np.array(positions), to, tmp_path / "new")
    with pytest.raises(DataError, match="parquet"):
        write_examples(source, np.arange(2), "jsonl", tmp_path / "new")
    with pytest.raises(DataError, match="parquet"):
        write_examples(open_data("digits"), np.arange(2), "jsonl", tmp_path / "new")
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "text.parquet")
    with pytest.raises(DataError, match="--image"):
        write_examples(open_data(tmp_path / "text.parquet"), np.arange(1), "imagefolder", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "in.parquet", "text.parquet"]


def test_an_empty_folder_may_be_the_target(tmp_path):
    (tmp_path / "out").mkdir()
    write_examples(open_data("digits"), np.arange(3), "imagefolder", tmp_path / "out")
    assert len(open_data(tmp_path / "out")) == 3


def images_on_disk(folder, count=12):
    for place in range(count):
        path = folder / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_png(np.full((3, 4, 4), place, dtype=np.uint8)))
    return folder


def test_a_packed_file_depends_on_its_content_alone(tmp_path):
    source = open_data((np.eye(4), np.arange(4)))
    for place in ("one", "two"):
        write_examples(source, np.arange(4), "jsonl", tmp_path / place / "d.jsonl.gz")
    assert (tmp_path / "one/d.jsonl.gz").read_bytes() == (tmp_path / "two/d.jsonl.gz").read_bytes()
    assert b"d.jsonl" not in (tmp_path / "one/d.jsonl.gz").read_bytes()


@pytest.mark.parametrize("ids", [["a.png", "a.png/b"], ["a.png/b", "a.png"], ["x/y.png", "x/y.png/z.png"]])
def test_ids_that_are_folders_of_others_are_one_sentence(tmp_path, ids):
    blobs = [encode_png(np.zeros((3, 4, 4), dtype=np.uint8))] * 2
    pq.write_table(pa.table({"image": blobs, "id": ids, "label": [0, 0]}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="where another example is, or below it: give the examples ids that differ"):
        write_examples(open_data(tmp_path / "d.parquet"), np.arange(2), "imagefolder", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("use", ["export", "embed", "score", "train"])
def test_all_bad_images_are_named_wherever_they_are_read(tmp_path, use):
    folder = images_on_disk(tmp_path / "photos")
    for place in (1, 4, 7):
        (folder / "ab"[place % 2] / f"{place}.png").write_bytes(b"\x89PNG and no more" if place != 4 else b"")
    data = f"imagefolder:{folder}"
    calls = {
        "export": lambda: write_examples(open_data(data), np.arange(12), "imagefolder", tmp_path / "out"),
        "embed": lambda: dd.embed(data, lambda batch: batch.flatten(1)),
        "score": lambda: dd.score(data, "datadiet:mlp", "el2n", epochs=1),
        "train": lambda: dd.train(data, "datadiet:mlp", epochs=1),
    }
    with pytest.raises(DataError, match=r"3 of 12 examples cannot be read \(.*--on-error skip") as refused:
        calls[use]()
    assert all(f"{place}.png" in str(refused.value) for place in (1, 4, 7))


@pytest.mark.parametrize(("scheme", "place"), [("imagefolder", "photos/new"), ("parquet", "tables/new.parquet"),
                                               ("jsonl", "tables/new.jsonl")])  # fmt: skip
@pytest.mark.parametrize("pattern", [False, True])
def test_nothing_is_added_to_the_data_that_is_read(tmp_path, scheme, place, pattern):
    images_on_disk(tmp_path / "photos")
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.table({"x": [[1.0], [2.0]], "label": [0, 1]}), tmp_path / "tables/a.parquet")
    (tmp_path / "tables/a.jsonl").write_text('{"x": [1.0], "label": 0}\n{"x": [2.0], "label": 1}\n')
    if pattern and scheme == "imagefolder":
        pytest.skip("a folder of images has no pattern")
    rest = {"imagefolder": "photos"}.get(scheme, f"tables/*.{scheme}" if pattern else f"tables/a.{scheme}")
    source = open_data(f"{scheme}:{tmp_path}/{rest}")
    if pattern or scheme == "imagefolder":
        with pytest.raises(OptionError, match="would become a part of"):
            write_examples(source, np.arange(2), scheme, tmp_path / place)
        assert not (tmp_path / place).exists()
    else:
        write_examples(source, np.arange(2), scheme, tmp_path / place)
    write_examples(source, np.arange(2), "indices", tmp_path / place.rpartition("/")[0] / "kept.txt")
