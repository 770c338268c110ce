"""What each form of data spec opens, and what is refused."""

from __future__ import annotations

import gzip
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from datadiet.data import open_data, resolve_spec
from datadiet.data.decode import encode_png
from datadiet.errors import DataError, OptionError


def pictures(n, channels=3, size=8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def write_folder(root, classes=("ant", "bee"), per_class=3, size=8):
    for c, name in enumerate(classes):
        (root / name).mkdir(parents=True)
        for i, image in enumerate(pictures(per_class, size=size, seed=c)):
            (root / name / f"{i}.png").write_bytes(encode_png(image))
    return root


def test_digits_have_a_fixed_stratified_split():
    train, held_out = open_data("digits"), open_data("digits", split="eval")
    assert (len(train), len(held_out), train.shape, train.dtype) == (1438, 359, (1, 8, 8), torch.uint8)
    both = train.ids.to_pylist() + held_out.ids.to_pylist()
    assert sorted(map(int, both)) == list(range(1797))
    assert int(train.take([0]).max()) == 255 and not train.positional_ids
    assert (train.index == np.arange(1438)).all()
    shares = np.bincount(train.labels) / np.bincount(np.concatenate([train.labels, held_out.labels]))
    assert (abs(shares - 0.8) < 0.004).all()
    # Never to change: selections made by earlier versions point into this split.
    assert held_out.ids.to_pylist()[:5] == ["0", "3", "5", "11", "14"]
    with pytest.raises(OptionError, match="give train or eval"):
        open_data("digits", split="test")


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("data", "targets"), ("features", "label")])
def test_npz_finds_arrays_by_name(tmp_path, names):
    x = pictures(6)
    np.savez(tmp_path / "a.npz", **{names[0]: x, names[1]: np.array([2, 7, 2, 7, 2, 9])})
    source = open_data(f"npz:{tmp_path}/a.npz")
    assert torch.equal(source.take(range(6)), torch.from_numpy(x))
    assert source.labels.tolist() == [0, 1, 0, 1, 0, 2] and source.class_names == ("2", "7", "9")


def test_npz_splits_names_and_layouts(tmp_path):
    x = pictures(5)
    np.savez(tmp_path / "a.npz", train_x=x.transpose(0, 2, 3, 1), y_train=np.arange(5), x_test=x[:2, 0], test_y=[0, 1],
             pixels=x[:, 0].astype(np.float64) / 7, who=np.array(["a", "b", "c", "d", "e"]))  # fmt: skip
    train = open_data(tmp_path / "a.npz")
    assert train.spec.startswith("npz:") and torch.equal(train.take(range(5)), torch.from_numpy(x))
    assert len(open_data(f"npz:{tmp_path}/a.npz", split="test")) == 2
    assert open_data(f"npz:{tmp_path}/a.npz", split="test").shape == (1, 8, 8)
    named = open_data(f"npz:{tmp_path}/a.npz", image="pixels", label="y_train", id="who")
    assert named.dtype == torch.float32 and named.shape == (1, 8, 8) and named.ids.to_pylist() == list("abcde")
    with pytest.raises(DataError, match="pixels"):
        open_data(f"npz:{tmp_path}/a.npz", image="pixel")


def test_parquet_of_encoded_images(tmp_path):
    x = pictures(6)
    blobs = [encode_png(image) for image in x]
    pq.write_table(pa.table({"jpeg": blobs[:4], "label": [0, 1, 0, 1]}), tmp_path / "a-0.parquet")
    pq.write_table(pa.table({"jpeg": blobs[4:], "label": [1, 1]}), tmp_path / "a-1.parquet")
    source = open_data(f"parquet:{tmp_path}/a-*.parquet")
    assert torch.equal(source.take([5, 0]), torch.from_numpy(x[[5, 0]]))
    assert source.ids.to_pylist() == list("012345") and source.positional_ids
    assert source.table.num_rows == 6 and source.rows([5]).to_pylist() == [{"jpeg": blobs[5], "label": 1}]


@pytest.mark.parametrize("kind", ["struct", "path", "list", "fixed", "tensor", "numbers"])
def test_table_finds_its_input(tmp_path, kind):
    x = pictures(4, channels=1, size=4)
    if kind == "struct":
        column = pa.array([{"bytes": encode_png(image), "path": "?"} for image in x])
    elif kind == "path":
        (tmp_path / "files").mkdir()
        for i, image in enumerate(x):
            (tmp_path / "files" / f"{i}.png").write_bytes(encode_png(image))
        column = pa.array([f"files/{i}.png" for i in range(4)])
    elif kind == "list":
        column = pa.array(x.tolist(), pa.list_(pa.list_(pa.list_(pa.uint8()))))
    elif kind == "fixed":
        column = pa.array(x[:, 0].tolist(), pa.list_(pa.list_(pa.uint8(), 4), 4))
    elif kind == "tensor":
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(x)
    else:
        column = pa.array(x[:, 0, 0, 0])
    text = pa.array(["some words"] * 4)
    pq.write_table(
        pa.table({"text": text, "thing": column, "y": list("abab"), "index": range(4)}), tmp_path / "a.parquet"
    )
    source = open_data(f"parquet:{tmp_path}/a.parquet")
    expected = torch.from_numpy(x)
    if kind == "numbers":
        expected = expected[:, 0, 0, :1].float()
    assert torch.equal(source.take(range(4)), expected) and source.dtype == expected.dtype
    assert source.class_names == ("a", "b")


def test_csv_features_and_missing_header(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("age,job,income,label\n39,clerk,1.5,yes\n50,farmer,2.5,no\n")
    source = open_data(f"csv:{tmp_path}/a.csv.gz")
    assert source.take([0, 1]).tolist() == [[39, 1.5], [50, 2.5]] and source.class_names == ("no", "yes")
    (tmp_path / "b.csv").write_text("3.6,8.6,0\n4.5,8.1,1\n")
    headless = open_data(tmp_path / "b.csv", label="f2")
    assert headless.labels.tolist() == [0, 1] and headless.shape == (2,)
    (tmp_path / "c.csv").write_text("0,1\n3.5,4\n")
    assert len(open_data(tmp_path / "c.csv")) == 1


def test_text_opens_and_says_what_is_missing(tmp_path):
    lines = [{"text": f"words {i}", "label": i % 2, "id": f"t{i}"} for i in range(4)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    source = open_data(f"jsonl:{tmp_path}/a.jsonl")
    assert source.ids.to_pylist() == ["t0", "t1", "t2", "t3"] and source.labels.tolist() == [0, 1, 0, 1]
    assert source.identity()["content_kind"] == "bytes"
    for ask in (lambda: source.shape, lambda: source.take([0]), lambda: source.uniform):
        with pytest.raises(DataError, match=r"'text'.*--image COLUMN"):
            ask()


def test_label_options(tmp_path):
    table = {"x": [1.0, 2.0, 3.0], "fine_label": [5.0, 3.0, 5.0], "name": ["u", "v", "u"], "flag": [True, False, True]}
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    spec = f"parquet:{tmp_path}/a.parquet"
    assert open_data(spec).class_names == ("3", "5")
    assert open_data(spec, label="flag").class_names == ("False", "True")
    assert open_data(spec, label="name").labels.tolist() == [0, 1, 0]
    with pytest.raises(DataError, match="fine_label"):
        open_data(spec, label="fine_labels")
    pq.write_table(pa.table({"x": [1.0]}), tmp_path / "b.parquet")
    assert open_data(f"parquet:{tmp_path}/b.parquet").labels is None


def test_imagefolder(tmp_path):
    write_folder(tmp_path / "train")
    write_folder(tmp_path / "val", per_class=1)
    source = open_data(f"imagefolder:{tmp_path}", split="train")
    assert source.ids.to_pylist() == ["ant/0.png", "ant/1.png", "ant/2.png", "bee/0.png", "bee/1.png", "bee/2.png"]
    assert source.class_names == ("ant", "bee") and not source.positional_ids
    assert torch.equal(source.take(range(3)), torch.from_numpy(pictures(3)))
    assert len(open_data(tmp_path, split="val")) == 2
    with pytest.raises(OptionError, match="train, val"):
        open_data(f"imagefolder:{tmp_path}", split="test")
    flat = tmp_path / "val" / "ant"
    assert open_data(flat).labels is None


def test_hf_saved_folder_and_object(tmp_path):
    x = pictures(5)
    features = datasets.Features({"img": datasets.Image(), "kind": datasets.ClassLabel(names=["dog", "cat", "owl"])})
    rows = {"img": [Image.fromarray(image.transpose(1, 2, 0)) for image in x], "kind": [1, 0, 1, 1, 0]}
    dataset = datasets.Dataset.from_dict(rows, features=features)
    direct = open_data(dataset.select([4, 1]), label="kind")
    assert torch.equal(direct.take([0, 1]), torch.from_numpy(x[[4, 1]])) and direct.class_names == ("dog", "cat", "owl")
    dataset.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": dataset, "odd": dataset.select([1, 3])}).save_to_disk(tmp_path / "many")
    saved = open_data(tmp_path / "one", label="kind")
    assert saved.spec.startswith("hf:") and saved.labels.tolist() == [1, 0, 1, 1, 0]
    assert len(open_data(f"hf:{tmp_path}/many", split="odd")) == 2
    assert open_data(datasets.DatasetDict({"a": dataset}), split="a", label="kind").labels.tolist() == [1, 0, 1, 1, 0]
    with pytest.raises(OptionError, match="train, odd"):
        open_data(f"hf:{tmp_path}/many")
    with pytest.raises(OptionError, match="odd"):
        open_data(f"hf:{tmp_path}/many", split="old")


def test_hf_nested_arrays():
    x = pictures(3, channels=1, size=4)
    features = datasets.Features({"x": datasets.Array3D((1, 4, 4), "uint8"), "label": datasets.Value("string")})
    dataset = datasets.Dataset.from_dict({"x": list(x), "label": list("aba")}, features=features)
    assert torch.equal(open_data(dataset).take(range(3)), torch.from_numpy(x))


def test_torchvision_local_files(tmp_path):
    pytest.importorskip("torchvision", reason="torchvision is an extra")
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    x = pictures(4, channels=1, size=28)
    for name, n in (("train", 4), ("t10k", 2)):
        shape = b"".join(size.to_bytes(4, "big") for size in (n, 28, 28))
        (raw / f"{name}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + shape + x[:n].tobytes())
        (raw / f"{name}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + n.to_bytes(4, "big") + bytes(range(n)))
    train = open_data(f"torchvision:MNIST?root={tmp_path}")
    assert torch.equal(train.take(range(4)), torch.from_numpy(x)) and train.labels.tolist() == [0, 1, 2, 3]
    assert train.class_names[3] == "3 - three"
    assert len(open_data(f"torchvision:MNIST?root={tmp_path}", split="test")) == 2
    with pytest.raises(OptionError, match="give train or test"):
        open_data(f"torchvision:MNIST?root={tmp_path}", split="val")
    with pytest.raises(OptionError, match="MNIST"):
        open_data("torchvision:MINST")
    with pytest.raises(OptionError, match="annFile"):
        open_data(f"torchvision:CocoDetection?root={tmp_path}")


def test_py_objects_and_factories(tmp_path, monkeypatch):
    (tmp_path / "my_data_x1.py").write_text(
        "import torch\nfrom torch.utils.data import TensorDataset\n"
        "def make():\n    return TensorDataset(torch.arange(6.).view(3, 2), torch.tensor([1, 0, 1]))\n"
        "class Box:\n    ready = make()\n"
    )
    monkeypatch.chdir(tmp_path)
    for spec in ("py:my_data_x1:make", f"py:{tmp_path}/my_data_x1.py:make", "py:my_data_x1:Box.ready"):
        source = open_data(spec)
        assert source.take([2]).tolist() == [[4, 5]] and source.labels.tolist() == [1, 0, 1] and source.spec == spec
    for spec, words in (("py:my_data_x1:mak", "mak"), ("py:nowhere_x1:a", "nowhere_x1"), ("py:file", "py:module:attr")):
        with pytest.raises(OptionError, match=words):
            open_data(spec)


def test_a_source_is_returned_as_it_is():
    source = open_data("digits")
    assert open_data(source) is source
    with pytest.raises(OptionError, match="already open"):
        open_data(source, split="eval")


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("org/name", "hf:org/name"),
        ("no/such/file.parquet", "parquet:no/such/file.parquet"),
        ("parqet:a", "'parquet'"),
        ("C:\\data", "existing path"),
        ("script.py:data", "py:script.py:data"),
    ],
)
def test_refused_specs_name_the_forms(spec, words):
    with pytest.raises(OptionError, match=words.replace("\\", "\\\\")):
        open_data(spec)


def test_options_that_mean_nothing_are_refused(tmp_path):
    write_folder(tmp_path)
    for options in ({"image": "x"}, {"id": "x"}, {"clean": [1]}, {"on_error": "ignore"}):
        with pytest.raises(OptionError, match=next(iter(options))):
            open_data(f"imagefolder:{tmp_path}", **options)


def test_sniffing(tmp_path):
    assert resolve_spec(str(write_folder(tmp_path / "images"))) == ("imagefolder", str(tmp_path / "images"))
    (tmp_path / "x.jsonl.gz").write_bytes(b"")
    assert resolve_spec(str(tmp_path / "x.jsonl.gz"))[0] == "jsonl"
    with pytest.raises(OptionError, match=r"jsonl:.*/\*\.jsonl"):
        (tmp_path / "only").mkdir()
        (tmp_path / "only" / "x.jsonl").write_text("")
        open_data(tmp_path / "only")
    (tmp_path / "x.bin").write_bytes(b"?")
    with pytest.raises(OptionError, match="cannot be guessed"):
        open_data(tmp_path / "x.bin")


class Stream(torch.utils.data.IterableDataset):
    """A stream that also says how long it is."""

    def __iter__(self):
        return iter([(torch.zeros(2), 0), (torch.ones(2), 1)])

    def __len__(self):
        return 2


def hub_streams():
    datasets = pytest.importorskip("datasets")
    table = datasets.Dataset.from_dict({"x": [1.0, 2.0], "label": [0, 1]})
    return datasets.IterableDatasetDict({"train": table.to_iterable_dataset()})


STREAMS = {
    "with a length": Stream,
    "in a chain": lambda: torch.utils.data.ChainDataset([Stream(), Stream()]),
    "without a length": lambda: (row for row in [(np.zeros(2), 0)]),
    "of the hub": lambda: hub_streams()["train"],
    "of the hub, by split": hub_streams,
}


@pytest.mark.parametrize("kind", STREAMS)
@pytest.mark.parametrize("how", ["itself", "function", "clean"])
def test_what_is_read_from_front_to_back_is_refused(kind, how):
    stream = STREAMS[kind]()
    given = {"itself": (stream, None), "function": (lambda: stream, None), "clean": ([(np.zeros(2), 0)] * 2, stream)}
    data, clean = given[how]
    with pytest.raises(OptionError, match="which can only be read from front to back"):
        open_data(data, clean=clean)
