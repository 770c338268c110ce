"""export: the kept examples as a data set of their own, and back."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import datadiet as dd
from datadiet.data import open_data
from datadiet.errors import FingerprintMismatch, OptionError


@pytest.fixture
def photos(tmp_path):
    """Twelve small images of two classes, in a Parquet file, and a selection of five of them with its file."""
    from PIL import Image

    rng, blobs = np.random.default_rng(0), []
    for _ in range(12):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 255, (9, 7, 3), dtype=np.uint8)).save(file, "PNG")
        blobs.append(file.getvalue())
    columns = {
        "id": [f"p{i}" for i in range(12)],
        "image": blobs,
        "label": [i % 2 for i in range(12)],
        "note": list("abcdefghijkl"),
    }
    pq.write_table(pa.table(columns), tmp_path / "photos.parquet")
    spec = f"parquet:{tmp_path}/photos.parquet"
    source = open_data(spec)
    scores = dd.Scores(
        source.index, {"s": rng.random(12, dtype=np.float32)}, source.ids, source.labels,
        {"columns": {"s": {"hardness": 1}}, "data": source.identity()},
    )  # fmt: skip
    kept = dd.select(scores, "top_k", keep=5, prefer="hardest")
    kept.write(tmp_path / "kept.parquet")
    return spec, kept, tmp_path


REOPEN = {"parquet": "parquet:{}", "imagefolder": "imagefolder:{}", "hf": "hf:{}"}


@pytest.mark.parametrize(("form", "name"), [("parquet", "out.parquet"), ("imagefolder", "out"), ("hf", "out")])
def test_round_trip(photos, form, name):
    spec, kept, folder = photos
    assert dd.export(folder / "kept.parquet", spec, form, folder / name) == folder / name
    whole, part = open_data(spec), open_data(REOPEN[form].format(folder / name))
    ids = {
        id.rpartition("/")[2].partition(".")[0] if form == "imagefolder" else id: row
        for row, id in enumerate(part.ids.to_pylist())
    }
    assert len(part) == 5 and set(ids) == {f"p{i}" for i in kept.indices}
    for i in kept.indices:
        row = ids[f"p{i}"]
        assert torch.equal(part.take([row]), whole.take([i]))
        assert part.class_names[part.labels[row]] == whole.class_names[whole.labels[i]]
    if form != "imagefolder":
        assert part.ids.to_pylist() == [f"p{i}" for i in kept.indices]  # in the order of the data
        assert part.table["note"].to_pylist() == [whole.table["note"][int(i)].as_py() for i in kept.indices]


@pytest.mark.parametrize("name", ["kept.npy", "kept.txt"])
def test_indices(photos, name):
    spec, kept, folder = photos
    dd.export(kept, spec, "indices", folder / name)
    got = np.load(folder / name) if name.endswith("npy") else np.loadtxt(folder / name, dtype=np.int64)
    assert got.tolist() == kept.indices.tolist()


def test_tables_without_images_become_json_lines(tmp_path):
    (tmp_path / "a.jsonl").write_text(
        "".join(f'{{"id": "r{i}", "x": [{i}, 1.5], "label": {i % 2}}}\n' for i in range(8))
    )
    spec = f"jsonl:{tmp_path}/a.jsonl"
    source = open_data(spec)
    scores = dd.Scores(source.index, {"s": np.arange(8.0, dtype=np.float32)}, source.ids, source.labels,
                       {"columns": {"s": {"hardness": 1}}, "data": source.identity()})  # fmt: skip
    kept = dd.select(scores, "top_k", keep=3, prefer="easiest")
    dd.export(kept, spec, "jsonl", tmp_path / "b.jsonl")
    lines, wanted = (tmp_path / "b.jsonl").read_text().splitlines(), (tmp_path / "a.jsonl").read_text().splitlines()
    import json

    assert [json.loads(line) for line in lines] == [json.loads(line) for line in wanted[:3]]


def test_what_exists_is_not_overwritten(photos):
    spec, kept, folder = photos
    (folder / "mine.parquet").write_text("mine")
    with pytest.raises(OptionError, match=r"mine.parquet"):
        dd.export(kept, spec, "parquet", folder / "mine.parquet")
    assert (folder / "mine.parquet").read_text() == "mine"


def test_an_unknown_form_names_the_near_ones(photos):
    spec, kept, folder = photos
    with pytest.raises(OptionError, match="'parket' is not a form to export to: did you mean 'parquet'"):
        dd.export(kept, spec, "parket", folder / "out")
    assert not (folder / "out").exists()


def test_other_data_is_refused(photos):
    _spec, kept, folder = photos
    table = pq.read_table(folder / "photos.parquet")
    pq.write_table(table.set_column(2, "label", pa.array([1 - i % 2 for i in range(12)])), folder / "other.parquet")
    with pytest.raises(FingerprintMismatch, match="differ in the labels"):
        dd.export(kept, f"parquet:{folder}/other.parquet", "parquet", folder / "out.parquet")
    assert not (folder / "out.parquet").exists()
