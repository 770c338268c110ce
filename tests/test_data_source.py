"""Source: decoding, batches, resizing, parts."""

from __future__ import annotations

import io
from itertools import count

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import datadiet as dd
from datadiet.data import inputs, open_data
from datadiet.data.decode import encode_png
from datadiet.data.split import stratified_split
from datadiet.errors import DataError, OptionError


def encoded(tmp_path, images, **columns):
    pq.write_table(pa.table({"image": images, **columns}), tmp_path / "a.parquet")
    return open_data(f"parquet:{tmp_path}/a.parquet")


def file_of(image, form="PNG"):
    buffer = io.BytesIO()
    image.save(buffer, format=form)
    return buffer.getvalue()


def pictures(n, size=8, channels=3):
    return np.random.default_rng(1).integers(0, 256, (n, channels, size, size), dtype=np.uint8)


def test_decodes_once_and_gathers(tmp_path, monkeypatch):
    x = pictures(6)
    source = encoded(tmp_path, [encode_png(image) for image in x], label=[0, 1, 2, 0, 1, 2])
    assert (source.shape, source.dtype, source.uniform) == ((3, 8, 8), torch.uint8, True)
    assert torch.equal(source.take([4, 4, 1]), torch.from_numpy(x[[4, 4, 1]]))
    assert torch.equal(source.subset([4, 0]).take([1, 0]), torch.from_numpy(x[[0, 4]]))
    monkeypatch.setattr("datadiet.data.rows.decode_image", None)
    assert torch.equal(source.take([1, 0, 4]), torch.from_numpy(x[[1, 0, 4]]))
    assert source.take([]).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("workers", [0, 1])
def test_large_data_is_decoded_batch_by_batch(tmp_path, monkeypatch, workers):
    x = pictures(7)
    source = encoded(tmp_path, [encode_png(image) for image in x], label=list(range(7)))
    monkeypatch.setattr(inputs, "MEMORY_LIMIT", 100)
    state = torch.random.get_rng_state()
    order = np.array([6, 5, 4, 3, 2, 1, 0])
    got = list(source.batches(order, 3, workers=workers))
    assert not source.inputs.in_memory
    assert [len(labels) for _, labels, _ in got] == [3, 3, 1]
    assert torch.equal(torch.cat([batch for batch, _, _ in got]), torch.from_numpy(x[order]))
    assert torch.cat([labels for _, labels, _ in got]).tolist() == order.tolist()
    assert torch.cat([positions for _, _, positions in got]).tolist() == order.tolist()
    assert torch.equal(state, torch.random.get_rng_state())
    assert source.take([]).shape == (0, 3, 8, 8)


def test_order_is_consumed_lazily():
    source = open_data("digits")
    inputs_, labels, positions = next(source.batches(count(), 4))
    assert positions.tolist() == [0, 1, 2, 3] and labels.dtype == torch.int64 and inputs_.shape == (4, 1, 8, 8)
    with pytest.raises(OptionError, match="batch_size"):
        next(source.batches([0], 0))


def test_unlabelled_batches_are_minus_one(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((3, 2)))
    _, labels, _ = next(open_data(tmp_path / "a.npz").batches([2, 0], 2))
    assert labels.tolist() == [-1, -1]


def test_gray_only_if_all_are_gray(tmp_path):
    gray, colour = Image.fromarray(pictures(1)[0, 0]), Image.fromarray(pictures(1)[0].transpose(1, 2, 0))
    deep = Image.fromarray(np.full((8, 8), 513, np.uint16))
    assert encoded(tmp_path, [file_of(gray), file_of(deep), file_of(gray.convert("1"))]).shape == (1, 8, 8)
    # 513 = 2 * 256 + 1: the upper 8 bits are kept, nothing is clipped at 255.
    assert open_data(f"parquet:{tmp_path}/a.parquet").take([1]).unique().tolist() == [2]
    mixed = encoded(tmp_path, [file_of(gray), file_of(colour), file_of(colour.convert("RGBA")), file_of(deep)])
    assert mixed.shape == (3, 8, 8) and mixed.take(range(4))[3].unique().tolist() == [2]


def test_varying_sizes_need_resizing(tmp_path):
    images = [
        Image.fromarray(np.full((h, w, 3), 7 * i, np.uint8)) for i, (h, w) in enumerate([(8, 8), (9, 20), (30, 5)])
    ]
    source = encoded(tmp_path, [file_of(image) for image in images])
    assert not source.uniform
    for ask in (lambda: source.shape, lambda: source.take([0])):
        with pytest.raises(DataError, match="resize"):
            ask()
    small = source.resized(6)
    assert small.uniform and small.shape == (3, 6, 6)
    assert small.take([0, 1, 2])[:, 0, 0, 0].tolist() == [0, 7, 14]
    assert small.identity() == source.identity()


def test_resizing_matches_pillow_and_takes_floats(tmp_path):
    image = Image.fromarray(pictures(1, size=12)[0].transpose(1, 2, 0)).crop((0, 0, 12, 9))
    source = encoded(tmp_path, [file_of(image)]).resized(5)
    expected = np.asarray(image.resize((7, 5), Image.Resampling.BILINEAR))[:, 1:6].transpose(2, 0, 1)
    assert np.array_equal(source.take([0])[0].numpy(), expected)
    np.savez(tmp_path / "f.npz", x=np.ones((2, 2, 9, 9)) / 3, flat=np.ones((2, 3)))
    floats = open_data(tmp_path / "f.npz").resized(4)
    assert floats.shape == (2, 4, 4) and torch.allclose(floats.take([1]), torch.tensor(1 / 3))
    with pytest.raises(DataError, match="no height"):
        _ = open_data(tmp_path / "f.npz", image="flat").resized(4).shape


def test_large_images_use_threads_and_agree(tmp_path):
    x = pictures(12, size=96)
    source = encoded(tmp_path, [encode_png(image) for image in x])
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert torch.equal(source.take(range(12)), torch.from_numpy(x))
    finally:
        torch.set_num_threads(before)


def test_subset_keeps_ids_index_and_classes():
    source = open_data("digits")
    part = source.subset([5, 3]).subset([1])
    assert part.index.tolist() == [3] and part.ids[0] == source.ids[3] and part.class_names == source.class_names
    assert torch.equal(part.take([0]), source.take([3]))
    for bad in ([-1], [1438], [0.5]):
        with pytest.raises(OptionError):
            source.subset(bad)


def test_a_table_follows_its_subset(tmp_path):
    source = encoded(tmp_path, [encode_png(image) for image in pictures(3)], label=[5, 6, 7])
    assert source.subset([2, 0, 1]).table["label"].to_pylist() == [7, 5, 6]
    assert source.rows(torch.tensor([1]))["label"].to_pylist() == [6] and source.subset([0, 1, 2]).positional_ids
    assert not source.subset([2, 0, 1]).positional_ids


def test_with_classes(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones((3, 2)), y=np.array(["b", "d", "b"]))
    source = open_data(tmp_path / "a.npz").with_classes(("a", "b", "c", "d"))
    assert source.labels.tolist() == [1, 3, 1] and source.class_names == ("a", "b", "c", "d")
    with pytest.raises(DataError, match="'d'"):
        source.with_classes(("a", "b"))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=60), st.integers(1, 99), st.integers(0, 5))
def test_split_is_exact_and_stratified(labels, percent, seed):
    labels = np.array(labels)
    n, index = len(labels), np.arange(len(labels)) * 3
    total = (percent * n * 2 + 100) // 200
    if not 0 < total < n:
        with pytest.raises(OptionError):
            stratified_split(labels, index, percent / 100, seed)
        return
    rest, held_out = stratified_split(labels, index, percent / 100, seed)
    assert len(held_out) == total and sorted([*rest, *held_out]) == list(range(n))
    exact = np.bincount(labels, minlength=5) * total / n
    got = np.bincount(labels[held_out], minlength=5)
    assert (np.abs(got - exact) < 1).all()
    assert np.array_equal(held_out, stratified_split(labels, index, percent / 100, seed)[1])


def test_split_off_depends_on_the_seed_only():
    source = open_data("digits")
    train, held_out = source.split_off(0.1, seed=3)
    again = source.split_off(0.1, seed=3)[1]
    other = source.split_off(0.1, seed=4)[1]
    assert (len(train), len(held_out)) == (1294, 144)
    assert held_out.index.tolist() == again.index.tolist() != other.index.tolist()
    for fraction in (0, 1, -0.5, 0.0001):
        with pytest.raises(OptionError):
            source.split_off(fraction, seed=0)


def test_items_of_any_form():
    x = pictures(3)
    images = [Image.fromarray(image.transpose(1, 2, 0)) for image in x]
    forms = [
        [(torch.from_numpy(image), i) for i, image in enumerate(x)],
        [{"img": image, "target": i} for i, image in enumerate(images)],
        [[image, np.int64(i), "extra"] for i, image in enumerate(images)],
    ]
    for items in forms:
        source = open_data(items)
        assert torch.equal(source.take(range(3)), torch.from_numpy(x)) and source.labels.tolist() == [0, 1, 2]
    plain = open_data(x)
    assert plain.labels is None and torch.equal(plain.take(range(3)), torch.from_numpy(x))
    named = open_data([{"a": image, "b": "yes"} for image in images], image="a", label="b")
    assert named.class_names == ("yes",)


def test_declared_targets_must_agree_with_the_items():
    class Flipped:
        targets = (0, 1, 0, 1)
        classes = ("no", "yes")
        ids = ("p", "q", "r", "s")

        def __init__(self, flip):
            self.flip = flip

        def __len__(self):
            return 4

        def __getitem__(self, i):
            return torch.full((2,), float(i)), i % 2 ^ self.flip

    agree, differ = open_data(Flipped(0)), open_data(Flipped(1))
    assert agree.labels.tolist() == [0, 1, 0, 1] and differ.labels.tolist() == [1, 0, 1, 0]
    assert differ.class_names == ("no", "yes") and differ.ids.to_pylist() == list("pqrs") and not differ.positional_ids


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_is_named_alike_by_a_loader_process(tmp_path, monkeypatch, workers):
    monkeypatch.setattr(inputs, "MEMORY_LIMIT", 100)
    images = [encode_png(image) for image in pictures(6)]
    images[4] = images[4][:60]
    source = encoded(tmp_path, images)
    with pytest.raises(DataError, match=r"^example '4': the image is damaged") as found:
        list(source.batches(np.arange(6), 2, workers=workers))
    assert "Traceback" not in str(found.value)
    fine = source.subset([0, 1, 2, 3, 5])
    vectors = [dd.embed(fine, mean_colours, batch_size=2, workers=each) for each in (0, workers)]
    assert vectors[0].tobytes() == vectors[1].tobytes()
    with pytest.raises(DataError) as again:
        dd.embed(source, mean_colours, batch_size=2, workers=workers)
    assert str(again.value) == str(found.value)


def mean_colours(batch):
    return batch.float().mean((2, 3))
