"""Augmentations of batches."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from datadiet.data import Augment, Feed, apply, open_data, parse_augment
from datadiet.data.augment import keyed_draws, view_of_epoch
from datadiet.errors import OptionError


def draw(seed=0, n=64, view=1):
    return keyed_draws(seed, view, np.arange(n))


def batch(n=64, dtype=torch.uint8, size=6):
    return torch.randint(1, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(9)).to(dtype)


def test_parse():
    assert parse_augment("flip, translate:2,crop:4") == (Augment("flip"), Augment("translate", 2), Augment("crop", 4))
    assert parse_augment("") == parse_augment("none") == ()


@pytest.mark.parametrize(
    ("text", "words"),
    [("flop", "'flip'"), ("flip:2", "no size"), ("crop", "crop:2"), ("crop:-1", "size"), ("crop:0", "size")],
)
def test_parse_refuses(text, words):
    with pytest.raises(OptionError, match=words):
        parse_augment(text)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_flip_is_per_example(dtype):
    x = batch(dtype=dtype)
    y = apply(x, parse_augment("flip"), draw())
    same = (y == x).flatten(1).all(1)
    assert ((y == x.flip(-1)).flatten(1).all(1) | same).all() and 16 < int(same.sum()) < 48 and y.dtype == dtype


def shifted(image, dy, dx, k, reflect):
    """The slow oracle: one image moved up by dy - k and left by dx - k, pixel by pixel."""
    height, width = image.shape[1:]
    out = torch.zeros_like(image)
    for i in range(height):
        for j in range(width):
            a, b = i + dy - k, j + dx - k
            if reflect:
                a, b = abs(a), abs(b)
                a, b = min(a, 2 * (height - 1) - a), min(b, 2 * (width - 1) - b)
            if 0 <= a < height and 0 <= b < width:
                out[:, i, j] = image[:, a, b]
    return out


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("name", ["translate", "crop"])
def test_moves_match_the_slow_oracle(name, dtype):
    x, k = batch(20, dtype), 2
    y = apply(x, (Augment(name, k),), draw(3, 20))
    top, left = ((draw(3, 20)(f"0 {what}") * (2 * k + 1)).long().tolist() for what in ("top", "left"))
    expected = [shifted(image, dy, dx, k, name == "crop") for image, dy, dx in zip(x, top, left, strict=True)]
    assert torch.equal(y, torch.stack(expected)) and y.dtype == dtype
    assert len(set(zip(top, left, strict=True))) > 5


def test_a_view_is_a_function_of_seed_view_and_example_alone():
    ops = parse_augment("flip,translate:1,crop:2")
    x, state = batch(), torch.random.get_rng_state()
    before = x.clone()
    first = apply(x, ops, draw())
    assert torch.equal(first, apply(x, ops, draw())) and torch.equal(apply(x.float(), ops, draw()), first.float())
    for other in (draw(seed=1), draw(view=2)):
        assert not torch.equal(first, apply(x, ops, other))
    rows = np.array([40, 3, 17])
    assert torch.equal(apply(x[rows], ops, keyed_draws(0, 1, rows)), first[rows]), "whatever the batch it is in"
    assert torch.equal(state, torch.random.get_rng_state()) and torch.equal(x, before)
    assert apply(x, (), draw()) is x


def test_refused_shapes():
    with pytest.raises(OptionError, match="not images"):
        apply(torch.ones(4, 7), parse_augment("flip"), draw())
    with pytest.raises(OptionError, match="crop:6"):
        apply(batch(), parse_augment("crop:6"), draw())


def test_the_operations_of_a_list_draw_independently():
    """Two shifts of one pixel are not the same shift twice."""
    x = torch.zeros(400, 1, 9, 9)
    x[:, 0, 4, 4] = 1
    moved = apply(x, parse_augment("translate:1,translate:1"), keyed_draws(0, 1, np.arange(400)))
    places = moved.flatten(1).argmax(1)
    distance = torch.stack([places // 9 - 4, places % 9 - 4]).abs()
    assert set(distance.flatten().tolist()) == {0, 1, 2}


def test_draws_are_uniform_and_independent_of_each_other():
    draws = keyed_draws(0, 1, np.arange(20_000))
    a, b = draws("0 top").numpy(), draws("0 left").numpy()
    assert a.min() > 0 and a.max() < 1 and abs(a.mean() - 0.5) < 0.01 and abs(np.corrcoef(a, b)[0, 1]) < 0.02
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.02


@pytest.mark.parametrize("views", [0, 1, 3])
def test_epochs_see_the_views_in_turn_and_never_the_clean_one(views):
    seen = [view_of_epoch(epoch, views) for epoch in range(1, 8)]
    assert seen == (list(range(1, 8)) if not views else [1 + e % views for e in range(7)])


def feed(n=12, **options):
    """Images in memory, ready for a network."""
    images = batch(n).numpy()
    return Feed(source(images), None, torch.device("cpu"), **options)


def source(images):
    class Images:
        def __len__(self):
            return len(images)

        def __getitem__(self, i):
            return images[i], int(i) % 2

    return open_data(Images())


def test_a_feed_gives_the_same_view_to_every_batch_size_order_and_part():
    whole = feed(augment="flip,translate:1", augment_seed=5)
    (one,) = whole.batches(np.arange(12), 12, view=3)
    for size in (1, 5):
        parts = list(whole.batches(np.arange(12), size, view=3))
        assert torch.equal(torch.cat([part.inputs for part in parts]), one.inputs)
        assert all(part.view == 3 for part in parts)
    order = np.array([7, 2, 11])
    assert torch.equal(next(whole.batches(order, 3, view=3)).inputs, one.inputs[order])
    part = whole.on(whole.source.subset(order))
    part = replace(part, augment="flip,translate:1")
    assert torch.equal(next(part.batches(np.arange(3), 3, view=3)).inputs, one.inputs[order]), "by index in the source"
    clean = next(whole.batches(np.arange(12), 12))
    assert torch.equal(clean.inputs, whole.source.take(np.arange(12)).float()) and clean.view == 0
    other = replace(whole, augment_seed=6)
    assert not torch.equal(next(other.batches(np.arange(12), 12, view=3)).inputs, one.inputs)
