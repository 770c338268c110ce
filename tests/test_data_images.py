"""What an image file gives: the same pixels on every route, and never wrapped, turned or blackened ones."""

from __future__ import annotations

import io
import os
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import datadiet as dd
from datadiet.data import Feed, Normalisation, open_data
from datadiet.data.decode import _note_integers, decode_image, encode_png, read_header
from datadiet.data.inputs import InputReader
from datadiet.data.rows import Encoded
from datadiet.errors import DataError

UP = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40  # two rows of three


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def turned(orientation, kind="PNG"):
    """An image that shows UP when it is turned as its EXIF orientation says."""
    undo = {
        1: lambda x: x, 2: np.fliplr, 3: lambda x: np.rot90(x, 2), 4: np.flipud, 5: np.transpose,
        6: partial(np.rot90, k=1), 7: lambda x: np.rot90(x, 2).T, 8: partial(np.rot90, k=-1),
    }[orientation]  # fmt: skip
    image = Image.fromarray(np.ascontiguousarray(undo(UP)))
    exif = Image.Exif()
    exif[0x112] = orientation
    return encoded(image, kind, exif=exif)


def as_folder(path, blobs):
    (path / "a").mkdir(exist_ok=True)
    for number, blob in enumerate(blobs):
        (path / "a" / f"{number}.png").write_bytes(blob)
    return open_data(f"imagefolder:{path}")


def as_bytes(path, blobs):
    pq.write_table(pa.table({"image": blobs}), path / "d.parquet")
    return open_data(path / "d.parquet")


def as_structs(path, blobs):
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(
        pa.table({"image": pa.array([{"bytes": b, "path": None} for b in blobs], struct)}), path / "s.parquet"
    )
    return open_data(path / "s.parquet")


def as_paths(path, blobs):
    for number, blob in enumerate(blobs):
        (path / f"p{number}.png").write_bytes(blob)
    pq.write_table(pa.table({"image": [f"p{number}.png" for number in range(len(blobs))]}), path / "p.parquet")
    return open_data(path / "p.parquet")


def as_objects(path, blobs):
    return open_data([Image.open(io.BytesIO(blob)) for blob in blobs])


def as_hf(path, blobs):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image()})
    rows = [{"bytes": blob, "path": None} for blob in blobs]
    return open_data(datasets.Dataset.from_dict({"image": rows}, features=features))


ROUTES = [as_folder, as_bytes, as_structs, as_paths, as_objects, as_hf]


@pytest.mark.parametrize("route", ROUTES)
def test_images_are_turned_as_their_exif_orientation_says(tmp_path, route):
    source = route(tmp_path, [turned(orientation) for orientation in range(1, 9)])
    assert source.shape == (1, 2, 3)
    assert np.array_equal(source.take(range(8)).numpy(), np.broadcast_to(UP, (8, 1, 2, 3)))


def test_hugging_face_shows_the_user_the_same_pixels(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features({"image": datasets.Image()})
    rows = [{"bytes": turned(orientation), "path": None} for orientation in (1, 6, 8)]
    theirs = datasets.Dataset.from_dict({"image": rows}, features=features)
    ours = open_data(theirs)
    for row in range(3):
        assert np.array_equal(np.asarray(theirs[row]["image"]), ours.take([row])[0, 0].numpy())


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "MPO"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_header_gives_the_size_as_seen(orientation, kind):
    """Pillow turns a TIFF by itself, and its size before that."""
    blob = turned(orientation, kind)
    assert read_header(blob)[2:] == (2, 3)
    assert decode_image(blob, gray=False).shape == (3, 2, 3)


@pytest.mark.parametrize("route", ROUTES)
def test_a_tiff_is_turned_once(tmp_path, route):
    source = route(tmp_path, [turned(orientation, "TIFF") for orientation in range(1, 9)])
    assert source.shape == (1, 2, 3)
    assert np.array_equal(source.take(range(8)).numpy(), np.broadcast_to(UP, (8, 1, 2, 3)))


@pytest.mark.parametrize("route", [route for route in ROUTES if route is not as_objects])
@pytest.mark.parametrize("place", [0, 1, 150, 299])
def test_one_image_in_colour_makes_all_colour(tmp_path, route, place):
    """Wherever it is: a look at some of them is not enough."""
    blobs = [encoded(Image.new("L", (2, 2), 9))] * 300
    blobs[place] = encoded(Image.new("RGB", (2, 2), (200, 0, 0)))
    source = route(tmp_path, blobs)
    assert source.shape == (3, 2, 2)
    assert sorted(source.take(range(300))[:, :, 0, 0].tolist())[-2:] == [[9, 9, 9], [200, 0, 0]]


def test_the_header_of_a_grey_file_may_be_long(tmp_path):
    photo = encoded(Image.new("L", (4, 4)), "JPEG", comment=b"x" * 65_000)
    assert as_folder(tmp_path, [photo, photo]).shape == (1, 4, 4)


def test_pictures_in_memory_of_both_kinds_are_told_to_agree():
    source = open_data([Image.new("L", (2, 2)), Image.new("RGB", (2, 2))])
    with pytest.raises(DataError, match=r"same channels, as image.convert\('RGB'\) does"):
        source.look_through()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(np.array([[-1000, 0]], dtype=np.int32)),
        Image.fromarray(np.array([[0, 65536]], dtype=np.int32)),
        Image.fromarray(np.array([[0, 2**31 - 1]], dtype=np.int32)),
    ],
)
def test_integers_that_do_not_fit_16_bits_are_refused_by_example(tmp_path, route, image):
    blob = encoded(image, "TIFF")
    source = route(tmp_path, [encoded(Image.new("I;16", (2, 1)), "TIFF"), blob])
    with pytest.raises(DataError, match=r"1.*its pixels go from .* must stay within 0 to 65535"):
        source.take([0, 1])


def signed_tiff(mode):
    """Pillow writes the tag of signed pixels, and would read them as unsigned."""
    picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).convert(mode)
    return encoded(picture, "TIFF", tiffinfo={339: (1,) * len(mode)}).replace(
        b"\x53\x01\x03\x00\x01\x00\x00\x00\x01", b"\x53\x01\x03\x00\x01\x00\x00\x00\x02"
    )


@pytest.mark.parametrize("route", ROUTES)
def test_signed_pixels_are_refused(tmp_path, route):
    with pytest.raises(DataError, match="an image of signed 8-bit pixels has no unsigned form"):
        route(tmp_path, [signed_tiff("L")] * 2).look_through()


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.uint32])
def test_integers_in_the_form_of_images_are_noted(caplog, dtype):
    """Token ids of pairs of sentences, say."""
    _note_integers.cache_clear()
    for shape in ((4, 2, 16), (4, 3, 8, 8)):
        assert open_data((np.ones(shape, dtype), np.arange(4))).dtype == torch.float32
        assert f"inputs of {np.dtype(dtype)} and shape" in caplog.text
        caplog.clear()
    for plain in (np.ones((4, 16), dtype), np.ones((4, 8, 8), np.uint8), np.ones((4, 8, 8), np.uint16)):
        open_data((plain, np.arange(4)))
    assert not caplog.text


@pytest.mark.parametrize("route", ROUTES)
def test_sixteen_bits_keep_their_upper_eight(tmp_path, route):
    values = np.array([[0, 255, 256, 65535]], dtype=np.uint16)
    source = route(
        tmp_path, [encoded(Image.fromarray(values)), encoded(Image.fromarray(values.astype(np.int32)), "TIFF")]
    )
    assert source.take([0, 1]).flatten(1).tolist() == [[0, 0, 1, 255]] * 2


TRANSPARENT = {
    "rgba": lambda: encoded(Image.new("RGBA", (2, 1), (10, 20, 30, 0))),
    "grey with alpha": lambda: encoded(Image.new("LA", (2, 1), (10, 0))),
    "palette": lambda: encoded(Image.new("P", (2, 1)), transparency=0),
    "grey with one clear value": lambda: encoded(Image.new("L", (2, 1), 7), transparency=7),
    "colour with one clear value": lambda: encoded(Image.new("RGB", (2, 1), (1, 2, 3)), transparency=(1, 2, 3)),
    "16 bits with one clear value": lambda: encoded(Image.fromarray(np.full((1, 2), 300, np.uint16)), transparency=300),
}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("kind", TRANSPARENT)
def test_what_is_transparent_is_white(tmp_path, route, kind):
    source = route(tmp_path, [TRANSPARENT[kind]()])
    assert (source.take([0]) == 255).all()


def test_half_transparent_is_halfway_to_white_and_noted_once(tmp_path, caplog):
    from datadiet.data.decode import _note_transparency

    _note_transparency.cache_clear()
    blob = encoded(Image.new("RGBA", (1, 1), (100, 0, 200, 128)))
    for _ in range(2):  # 255 + (100 - 255) * 128 / 255 = 177.2; 127; 227.4
        assert decode_image(blob, gray=False).ravel().tolist() == [177, 127, 227]
    assert caplog.text.count("laid on white") == 1


@pytest.mark.parametrize("mode", ["CMYK", "YCbCr", "HSV", "LAB", "RGBa", "La", "PA", "1"])
def test_every_mode_of_pillow_gives_pixels(mode):
    found = open_data([Image.new(mode, (3, 2))]).take([0])
    assert found.shape[-2:] == (2, 3)


def test_the_plan_says_how_images_were_decoded(tmp_path):
    from datadiet.data.decode import DECODER
    from datadiet.files import read_json

    dd.score("digits", "datadiet:mlp", "el2n", epochs=1, out=tmp_path / "run")
    assert read_json(tmp_path / "run" / "manifest.json")["plan"]["inputs"]["decoder"] == DECODER


def test_all_unreadable_images_are_named_with_the_way_to_leave_them_out(tmp_path):
    good = encoded(Image.new("L", (4, 4)))
    source = as_folder(tmp_path, [good, b"no image", good[:40], good, b""])
    with pytest.raises(DataError, match=r"3 of 5 examples cannot be read.*a/1.png.*a/2.png.*a/4.png.*--on-error skip"):
        source.look_through()
    with pytest.raises(DataError, match="--on-error skip"):
        source.take([1])
    assert len(open_data(f"imagefolder:{tmp_path}", on_error="skip")) == 2


def test_a_transform_of_a_hugging_face_data_set_is_refused():
    datasets = pytest.importorskip("datasets")
    plain = datasets.Dataset.from_dict({"x": [[0.0], [1.0], [2.0], [3.0]], "label": [0, 1, 0, 1]})
    twice = plain.with_transform(lambda rows: {"x": [[2 * v[0]] for v in rows["x"]], "label": rows["label"]})
    with pytest.raises(DataError, match=r"has a transform .*with_format\(None\)"):
        open_data(twice)
    chosen = dd.select(dd.Scores.from_arrays({"s": np.arange(4.0)}), "top_k", keep=2, prefer="hardest")
    assert chosen.apply(twice)["x"] == [[4.0], [6.0]]


# Integers that are not images.


@pytest.mark.parametrize(
    "data",
    [
        [(np.array([1, 2, 70000]), 0), (np.array([3, 4, 5]), 1)],
        [([1, 2, 70000], 0), ([3, 4, 5], 1)],
        {"x": [[1, 2, 70000], [3, 4, 5]], "label": [0, 1]},
    ],
)
def test_token_ids_stay_whole_numbers(tmp_path, data):
    import torch

    if isinstance(data, dict):
        pq.write_table(pa.table(data), tmp_path / "d.parquet")
        data = tmp_path / "d.parquet"
    source = open_data(data)
    assert source.dtype == torch.int64 and source.take([0]).tolist() == [[1, 2, 70000]]


def test_tokens_reach_an_embedding_and_are_features_only_when_asked_for():
    import torch
    from torch import nn

    rng = np.random.default_rng(0)
    data = [(rng.integers(0, 50, 6), int(label)) for label in rng.integers(0, 2, 40)]

    class Bag(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.head = nn.EmbeddingBag(50, 8), nn.Linear(8, 2)

        def forward(self, ids):
            assert ids.dtype == torch.int64
            return self.head(self.embed(ids))

    assert np.isfinite(dd.score(data, Bag, "el2n", epochs=1)["el2n"]).all()
    with pytest.raises(dd.OptionError, match="--set integers=numbers"):
        dd.score(data, "datadiet:mlp", "el2n", epochs=1)
    scores = dd.score(data, "datadiet:mlp", "el2n", epochs=1, recipe={"integers": "numbers"})
    floats = dd.score([(x.astype(np.float32), y) for x, y in data], "datadiet:mlp", "el2n", epochs=1)
    assert np.array_equal(scores["el2n"], floats["el2n"])


def test_inputs_without_values_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.ones((3, 0)), y=[0, 1, 0])
    pq.write_table(pa.table({"x": [[], []]}, schema=pa.schema([("x", pa.list_(pa.float32()))])), tmp_path / "d.parquet")
    for spec in (f"npz:{tmp_path}/d.npz", f"parquet:{tmp_path}/d.parquet", [(np.empty(0), 0), (np.empty(0), 1)]):
        with pytest.raises(DataError, match="hold no values"):
            open_data(spec).take([0])


@pytest.mark.parametrize("mode", ["L", "RGB", None])
def test_the_declared_mode_of_hugging_face_images_is_theirs(mode):
    datasets = pytest.importorskip("datasets")
    colours = [encoded(Image.new("RGB", (3, 2), (level, 0, 90))) for level in (10, 200)]
    features = datasets.Features({"image": datasets.Image(mode=mode)})
    theirs = datasets.Dataset.from_dict({"image": [{"bytes": b, "path": None} for b in colours]}, features=features)
    ours = open_data(theirs).take([1])[0].numpy()
    pixels = np.asarray(theirs[1]["image"])
    assert np.array_equal(ours, pixels[None] if mode == "L" else pixels.transpose(2, 0, 1))


def column_of_paths(folder, odd, at):
    """Eight pictures in a folder, of which the name of one is replaced."""
    names = []
    for i in range(8):
        (folder / f"{i}.png").write_bytes(encode_png(np.full((1, 4, 4), 20 * i, np.uint8)))
        names.append(f"{i}.png")
    names[at] = odd
    pq.write_table(pa.table({"picture": pa.array(names, pa.string())}), folder / "d.parquet")
    return folder / "d.parquet"


ODD = {
    "missing": lambda folder: "nothing.png",
    "null": lambda folder: None,
    "a device": lambda folder: os.symlink("/dev/zero", folder / "zero.png") or "zero.png",
    "a pipe": lambda folder: os.mkfifo(folder / "pipe.png") or "pipe.png",
    "too long": lambda folder: "n" * 300 + ".png",
    "not a name": lambda folder: "a\0b.png",
    "another kind": lambda folder: "about.txt",
}


@pytest.mark.parametrize("at", [0, 5])
@pytest.mark.parametrize("kind", ODD)
def test_one_bad_path_in_a_column_of_paths_is_named_or_skipped(tmp_path, kind, at):
    path = column_of_paths(tmp_path, ODD[kind](tmp_path), at)
    source = open_data(path, on_error="skip")
    assert [row for row, _, _ in source.skipped] == [at] and len(source) == 7
    assert source.take(np.arange(7)).shape == (7, 1, 4, 4)
    with pytest.raises(DataError, match=f"example '{at}'"):
        open_data(path).take(np.arange(8))


def test_long_texts_that_end_like_pictures_are_texts(tmp_path):
    texts = ["word " * 80 + ".png", "another.png", "x" * 5000 + ".jpg"]
    pq.write_table(pa.table({"text": texts}), tmp_path / "d.parquet")
    assert open_data(tmp_path / "d.parquet", text="text").texts([0, 1]) == texts[:2]
    with pytest.raises(DataError, match="none of the columns 'text' can be an input"):
        open_data(tmp_path / "d.parquet").take([0])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_images_are_normalised_in_their_layout_to_the_same_bits(layout, monkeypatch):
    """A few at a time, in the order of the memory: no bit depends on either."""
    x = torch.randint(0, 256, (7, 3, 5, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    scale = Normalisation((120.1, 3.7, 0.3), (61.3, 0.7, 1e-3))
    mean, std = (torch.tensor(part).view(1, 3, 1, 1) for part in (scale.mean, scale.std))
    for step in (1, 200, 10**6):
        monkeypatch.setattr("datadiet.data.feed.working_set", lambda device, step=step: step)
        for given in (x, x.float()):
            before = given.clone()
            found = scale(given.contiguous(memory_format=layout))
            assert torch.equal(found, (x.float() - mean) / std) and torch.equal(given, before)
            assert found.is_contiguous(memory_format=layout)


def test_decoded_images_of_a_batch_lie_with_their_channels_last_and_are_laid_out_as_the_feed_says():
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    rows = Encoded([encode_png(image.transpose(2, 0, 1)) for image in pixels])
    reader = InputReader(rows, pa.array(list("abcd")))
    batch = reader._stacked(np.array([2, 0]))
    assert batch.shape == (2, 3, 6, 5) and (batch.transpose(0, 2, 3, 1) == pixels[[2, 0]]).all()
    assert batch.transpose(0, 2, 3, 1).flags.c_contiguous
    source = dd.open_data((pixels.transpose(0, 3, 1, 2), np.arange(4) % 2))
    for last in (True, False):
        feed = Feed(source, None, torch.device("cpu"), channels_last=last)
        wanted = torch.channels_last if last else torch.contiguous_format
        assert feed.first(3).inputs.is_contiguous(memory_format=wanted)


@pytest.mark.parametrize(
    ("shape", "batch"),
    [((3, 32, 32), 512), ((3, 224, 224), 128), ((3, 256, 256), 128), ((3, 257, 257), 128), ((3, 8192, 8192), 1)],
)
def test_an_evaluation_takes_fewer_large_images_at_once(shape, batch):
    """512 examples, or the largest power of two whose inputs are at most 2^25 numbers."""
    feed = Feed(
        open_data((torch.zeros(shape).to(torch.uint8)[None].expand(2, *shape), [0, 1])), None, torch.device("cpu")
    )
    assert feed.eval_batch == batch
