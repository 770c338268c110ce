"""Augmentations of batches."""

from __future__ import annotations

import pytest
import torch

from datadiet.data import Augment, apply, parse_augment
from datadiet.errors import OptionError


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def batch(n=64, dtype=torch.uint8, size=6):
    return torch.randint(1, 256, (n, 3, size, size), generator=draw(9)).to(dtype)


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
    y = apply(x, (Augment(name, k),), draw(3))
    top, left = torch.randint(0, 2 * k + 1, (2, 20), generator=draw(3)).tolist()
    expected = [shifted(image, dy, dx, k, name == "crop") for image, dy, dx in zip(x, top, left, strict=True)]
    assert torch.equal(y, torch.stack(expected)) and y.dtype == dtype
    assert len(set(zip(top, left, strict=True))) > 5


def test_a_function_of_the_generator_only():
    ops = parse_augment("flip,translate:1,crop:2")
    x, state = batch(), torch.random.get_rng_state()
    before = x.clone()
    generator = draw()
    first, second = apply(x, ops, generator), apply(x, ops, generator)
    assert torch.equal(first, apply(x, ops, draw())) and not torch.equal(first, second)
    assert torch.equal(apply(x.float(), ops, draw()), first.float())
    assert torch.equal(state, torch.random.get_rng_state()) and torch.equal(x, before)
    assert apply(x, (), draw()) is x


def test_refused_shapes():
    with pytest.raises(OptionError, match="not images"):
        apply(torch.ones(4, 7), parse_augment("flip"), draw())
    with pytest.raises(OptionError, match="crop:6"):
        apply(batch(), parse_augment("crop:6"), draw())
