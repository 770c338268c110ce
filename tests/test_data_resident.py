"""A copy of the data on the device: the batches of the plain way, to the bit, and nothing is read or sent twice."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from datadiet.data import Feed, batch, feed, measure_normalisation, open_data, resident
from datadiet.data.source import Source
from datadiet.errors import DataError, OptionError

CPU = torch.device("cpu")


def images(n=60):
    rng = np.random.default_rng(0)
    return open_data((rng.integers(0, 256, (n, 3, 12, 12), dtype=np.uint8), np.arange(n) % 3))


def vectors(n=60):
    return open_data((np.random.default_rng(1).standard_normal((n, 5)).astype(np.float32), np.arange(n) % 3))


def tokens(n=60):
    return open_data((np.random.default_rng(2).integers(0, 99, (n, 7)), np.arange(n) % 3))


def both(monkeypatch, source, augment="none", normalised=True):
    """The same feed without and with a copy; a processor has no use for one, so the room for it is made up."""
    scale = measure_normalisation(source) if normalised else None
    plain = Feed(source, scale, CPU, augment, augment_seed=3)
    assert plain._resident is None
    monkeypatch.setattr(resident, "_room", lambda device: 1 << 20)
    copied = replace(plain)
    assert copied._resident is not None
    return plain, copied


def assert_same(some, others):
    some, others = list(some), list(others)
    assert len(some) == len(others) > 0
    for a, b in zip(some, others, strict=True):
        for mine, theirs in ((a.inputs, b.inputs), (a.targets, b.targets), (a.rows, b.rows)):
            assert torch.equal(mine, theirs) and mine.dtype == theirs.dtype and mine.stride() == theirs.stride()
        assert a.view == b.view


@pytest.mark.parametrize("augment", ["none", "flip", "flip,translate:2", "crop:3,flip"])
@pytest.mark.parametrize("ahead", [1, 2, 256])
def test_augmented_images_to_the_bit(monkeypatch, augment, ahead):
    monkeypatch.setattr(feed, "_AHEAD", ahead)
    plain, copied = both(monkeypatch, images(), augment)
    rng = np.random.default_rng(0)
    for view in (0, 1, 2):  # also when some inputs are there already
        order = rng.permutation(60)[:41]
        assert_same(plain.batches(order, 16, view), copied.batches(order, 16, view))
        assert_same(plain.batches(iter(order.tolist()), [9, 8, 8], view), copied.batches(iter(order), [9, 8, 8], view))


@pytest.mark.parametrize("make", [vectors, tokens])
@pytest.mark.parametrize("normalised", [True, False])
def test_vectors_and_tokens_and_parts_of_a_source(monkeypatch, make, normalised):
    source = make().subset(np.array([50, 3, 17, 4, 40, 8]))
    plain, copied = both(monkeypatch, source, normalised=normalised)
    order = np.array([5, 0, 0, 3])  # an example may come twice
    assert_same(plain.batches(order, 3), copied.batches(order, 3))
    assert_same(plain.batches(np.arange(6), 4), copied.batches(np.arange(6), 4))


def test_each_input_is_read_and_sent_once_and_only_when_it_is_needed(monkeypatch):
    read, take = [], Source.take
    monkeypatch.setattr(Source, "take", lambda self, rows: read.append(np.array(rows).tolist()) or take(self, rows))
    _, copied = both(monkeypatch, images(8), normalised=False)
    assert read == []
    list(copied.batches(np.array([6, 1, 1, 2]), 2))
    assert read == [[1, 6], [2]]
    list(copied.batches(np.array([2, 6, 7, 1]), 4))
    assert read == [[1, 6], [2], [7]]
    for view in (0, 1):
        list(copied.batches(np.array([7, 6, 2, 1]), 4, view))
    assert len(read) == 3


def test_draws_are_made_once_for_many_batches(monkeypatch):
    """On a device every draw that is sent at a step would cost more than the augmentation."""
    made, draws = [], feed.keyed_draws
    monkeypatch.setattr(feed, "keyed_draws", lambda *of: lambda what: made.append(what) or draws(*of)(what))
    _, copied = both(monkeypatch, images(), "flip,translate:2")
    list(copied.batches(np.arange(60), 4, view=1))
    assert sorted(made) == ["0 flip", "1 left", "1 top"]


@pytest.mark.parametrize(("room", "there"), [(3 * 12 * 12 * 60, True), (3 * 12 * 12 * 60 - 1, False)])
def test_a_copy_is_made_only_where_it_fits(monkeypatch, room, there):
    monkeypatch.setattr(resident, "_room", lambda device: room)
    assert (Feed(images(), None, CPU)._resident is not None) == there


def test_data_that_is_not_kept_decoded_is_sent_as_it_comes(monkeypatch):
    from datadiet.data import inputs

    monkeypatch.setattr(resident, "_room", lambda device: 1 << 30)
    monkeypatch.setattr(inputs, "MEMORY_LIMIT", 1)

    class Items:
        def __len__(self):
            return 6

        def __getitem__(self, i):
            return np.full((3, 4, 4), i, dtype=np.uint8), i % 2

    plain = Feed(open_data(Items()), None, CPU)
    assert plain._resident is None and len(list(plain.batches(np.arange(6), 2))) == 3


def test_the_first_examples_do_not_make_a_copy(monkeypatch):
    """They are looked at before it is known whether anything will be trained."""
    monkeypatch.setattr(resident, "_room", lambda device: 1 << 30)
    one = Feed(images(), None, CPU)
    one.first(2)
    assert "_resident" not in vars(one)


def test_what_is_refused_names_the_example_and_the_option(monkeypatch):
    x = np.zeros((4, 3), dtype=np.float32)
    x[2, 1] = np.nan
    monkeypatch.setattr(resident, "_room", lambda device: 1 << 30)
    bad = Feed(open_data((x, np.arange(4) % 2)), None, CPU)
    next(bad.batches(np.array([0, 1]), 2))
    with pytest.raises(DataError, match="example '2': its input holds a missing or infinite value"):
        list(bad.batches(np.array([3, 2]), 2))
    with pytest.raises(OptionError, match="batch_size=0: give at least 1"):
        list(bad.batches(np.array([0, 1]), 0))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_only_a_copy_from_pinned_memory_is_not_waited_for(monkeypatch, device):
    """On other accelerators memory that is read may be used again, and a copy to the processor be read too early."""
    flags, to = [], torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda self, on, non_blocking: flags.append(non_blocking) or to(self, on))
    assert batch.sent(torch.zeros(3), torch.device(device)).device.type == device and flags == [False]
