"""Damaged, foreign and empty data: one sentence that names the culprit, or an explicit skip."""

from __future__ import annotations

import gzip

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from datadiet.data import open_data
from datadiet.data.decode import encode_png
from datadiet.errors import DataError, OptionError


def pictures(n=6):
    return np.random.default_rng(3).integers(0, 256, (n, 3, 16, 16), dtype=np.uint8)


@pytest.fixture
def damaged(tmp_path):
    """A table of six images: the second cut short, the fourth not an image, the sixth missing."""
    blobs = [encode_png(image) for image in pictures()]
    blobs[1], blobs[3], blobs[5] = blobs[1][:200], b"GIF? no", None
    pq.write_table(
        pa.table({"id": list("abcdef"), "image": blobs, "label": [0, 1, 0, 1, 0, 1]}), tmp_path / "a.parquet"
    )
    return f"parquet:{tmp_path}/a.parquet"


@pytest.mark.parametrize(("position", "words"), [(1, "'b'.*damaged"), (3, "'d'.*not an image"), (5, "'f'.*missing")])
def test_a_damaged_image_is_named(damaged, position, words):
    source = open_data(damaged)
    assert torch.equal(source.take([0, 2]), torch.from_numpy(pictures()[[0, 2]]))
    with pytest.raises(DataError, match=words):
        source.take([0, position])


def test_damaged_images_are_skipped_and_listed(damaged):
    source = open_data(damaged, on_error="skip")
    assert [(index, id) for index, id, _ in source.skipped] == [(1, "b"), (3, "d"), (5, "f")]
    assert "damaged" in source.skipped[0][2]
    assert source.index.tolist() == [0, 2, 4] and source.ids.to_pylist() == ["a", "c", "e"]
    assert source.labels.tolist() == [0, 0, 0] and source.class_names == ("0", "1")
    assert source.table.column("id").to_pylist() == ["a", "c", "e"]
    assert torch.equal(source.take([2, 0]), torch.from_numpy(pictures()[[4, 0]]))


def test_damaged_files_in_a_folder(tmp_path):
    for i, image in enumerate(pictures(4)):
        (tmp_path / "c").mkdir(exist_ok=True)
        (tmp_path / "c" / f"{i}.png").write_bytes(encode_png(image))
    (tmp_path / "c" / "0.png").write_bytes(b"")
    (tmp_path / "c" / "2.png").write_text("not found")
    source = open_data(tmp_path)
    with pytest.raises(DataError, match=r"'c/0.png'.*c/0\.png is empty"):
        source.take([0])
    assert [id for _, id, _ in open_data(tmp_path, on_error="skip").skipped] == ["c/0.png", "c/2.png"]
    (tmp_path / "stray.png").write_bytes(encode_png(pictures(1)[0]))
    with pytest.raises(DataError, match=r"stray\.png"):
        open_data(tmp_path)


def test_nothing_readable(tmp_path):
    pq.write_table(pa.table({"image": [b"x", b"y"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="none of the 2"):
        open_data(tmp_path / "a.parquet", on_error="skip")
    with pytest.raises(DataError, match="not an image"):
        _ = open_data(tmp_path / "a.parquet").shape


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.csv", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"PAR1\0\0\0garbage", b"PK\x03\x04nonsense"])
def test_foreign_and_empty_files(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    if name == "a.csv" and content:
        return
    with pytest.raises(DataError, match=name.replace(".", r"\.")):
        open_data(path)


def test_truncated_files(tmp_path):
    pq.write_table(pa.table({"x": np.arange(1000)}), tmp_path / "a.parquet")
    with gzip.open(tmp_path / "a.jsonl.gz", "wb") as file:
        file.write(b'{"x": 1}\n' * 5000)
    np.savez(tmp_path / "a.npz", x=np.arange(1000))
    for name in ("a.parquet", "a.jsonl.gz", "a.npz"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-30])
        with pytest.raises(DataError, match=name):
            open_data(path)


def test_nothing_there(tmp_path):
    (tmp_path / "empty").mkdir()
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "none.parquet")
    np.savez(tmp_path / "none.npz", x=np.ones((0, 2)))
    np.savez(tmp_path / "scalar.npz", x=1.0)
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    (tmp_path / "a.csv").write_text("a,a\n1,2\n")
    for spec, words in (
        (f"parquet:{tmp_path}/*.pq", "no file matches"),
        (f"parquet:{tmp_path}", "is a folder"),
        (f"imagefolder:{tmp_path}/empty", "no images"),
        (f"imagefolder:{tmp_path}/absent", "not a folder"),
        (f"npz:{tmp_path}/absent.npz", "does not exist"),
        (f"hf:{tmp_path}/empty", "cannot be loaded"),
        (f"parquet:{tmp_path}/none.parquet", "no rows"),
        (f"npz:{tmp_path}/none.npz", "no examples"),
        (f"npz:{tmp_path}/scalar.npz", "single value"),
        (f"npz:{tmp_path}/objects.npz", "holds Python objects"),
        (f"csv:{tmp_path}/a.csv", "two columns named 'a'"),
        ([], "no examples"),
    ):
        with pytest.raises(DataError, match=words):
            open_data(spec)


def test_files_with_other_columns(tmp_path):
    pq.write_table(pa.table({"x": [1]}), tmp_path / "0.parquet")
    pq.write_table(pa.table({"x": ["one"]}), tmp_path / "1.parquet")
    with pytest.raises(DataError, match="same columns"):
        open_data(f"parquet:{tmp_path}/*.parquet")


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ([0, None, 1], "missing for example 'k1'"),
        ([0.0, float("nan"), 1.0], "missing for example 'k1'"),
        ([0.0, 1.0, 0.5], "not a whole number.*'k2'"),
        ([[0], [1], [2]], "type list"),
    ],
)
def test_labels_that_are_not_classes(tmp_path, labels, words):
    pq.write_table(pa.table({"id": ["k0", "k1", "k2"], "x": [1, 2, 3], "label": labels}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=words):
        open_data(tmp_path / "a.parquet")


def test_labels_outside_their_names(tmp_path):
    table = pa.table({"x": [1, 2], "label": [0, 2]}).replace_schema_metadata({"class_names": '["a", "b"]'})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="outside the 2 class names for example '1'"):
        open_data(tmp_path / "a.parquet")


def test_ids_must_be_distinct(tmp_path):
    pq.write_table(pa.table({"id": ["a", "b", "a"], "key": ["a", None, "c"], "x": [1, 2, 3]}), tmp_path / "a.parquet")
    assert open_data(tmp_path / "a.parquet", id="row").positional_ids
    with pytest.raises(DataError, match=r"'a' is in rows 0 and 2\. .*--id row"):
        open_data(tmp_path / "a.parquet")
    for column, words in (("id", "'a' is in rows 0 and 2"), ("key", "row 1"), ("kei", "'key'")):
        with pytest.raises(DataError, match=words):
            open_data(tmp_path / "a.parquet", id=column)


def test_missing_features_are_refused_or_skipped(tmp_path):
    (tmp_path / "a.csv").write_text("u,v,label\n1,2,a\n3,,b\n5,6,a\n")
    with pytest.raises(DataError, match=r"example '1'.*missing or infinite"):
        open_data(tmp_path / "a.csv").take([0, 1])
    skipped = open_data(tmp_path / "a.csv", on_error="skip")
    assert skipped.index.tolist() == [0, 2] and skipped.take([0, 1]).tolist() == [[1, 2], [5, 6]]


def test_ragged_lists(tmp_path):
    pq.write_table(pa.table({"x": [[1, 2], [3, 4, 5]], "z": [[[1], [2, 3]], [[4], [5, 6]]]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="same number of values"):
        open_data(tmp_path / "a.parquet", image="x").take([0])
    with pytest.raises(DataError, match="ragged"):
        open_data(tmp_path / "a.parquet", image="z").take([0])
    with pytest.raises(DataError, match="'p', 'q'"):
        pq.write_table(pa.table({"p": [[1, 2]], "q": [[1, 2]]}), tmp_path / "b.parquet")
        _ = open_data(tmp_path / "b.parquet").shape


class Noisy:
    """Random augmentation: no two readings agree."""

    def __len__(self):
        return 3

    def __getitem__(self, i):
        return torch.rand(2), i


def test_augmented_data_is_refused_without_a_clean_view():
    with pytest.raises(DataError, match="clean="):
        open_data(Noisy())
    clean = [(torch.full((2,), float(i)), i) for i in range(3)]
    for view in (clean, lambda: clean):
        source = open_data(Noisy(), clean=view)
        assert source.take([2]).tolist() == [[2, 2]] and "Noisy" in source.spec
    with pytest.raises(DataError, match="same"):
        open_data(Noisy(), clean=clean[:2])


class Broken:
    """An image data set whose items 0 and 2 cannot be read."""

    def __len__(self):
        return 4

    def __getitem__(self, i):
        if i % 2 == 0:
            raise OSError(f"disk {i}")
        return torch.ones(2), "xy"[i // 2]


def test_objects_that_fail():
    with pytest.raises(DataError, match=r"item 0: .*disk 0"):
        open_data(Broken())
    source = open_data(Broken(), on_error="skip")
    assert source.index.tolist() == [1, 3] and source.class_names == ("x", "y") and source.labels.tolist() == [0, 1]
    assert [reason for _, _, reason in source.skipped] == [
        f"the data set cannot read it (OSError: disk {i})." for i in (0, 2)
    ]


def test_objects_of_the_wrong_kind():
    for value in (7, iter([1]), {"x": 1}, None):
        with pytest.raises(OptionError, match="map-style"):
            open_data(value)
    with pytest.raises(DataError, match="no key"):
        open_data([{"a": 1}])
    with pytest.raises(DataError, match="single label"):
        open_data([(1.0, np.array([0, 1]))])
    with pytest.raises(DataError, match="neither an image nor"):
        open_data([("text", 0)]).take([0])
