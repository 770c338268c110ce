"""Planted duplicates in images are found: re-encoded JPEGs, one-pixel shifts, brighter copies; leaked test ones."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from datadiet.randomness import Keys
from datadiet.selectors.decontaminate import decontaminate_explained, leaks
from datadiet.selectors.semdedup import semdedup_explained

SIDE, EPSILON = 64, 0.1  # changed copies differ by at most 0.054, other pictures by at least 0.55


def pictures(count: int = 150) -> list[Image.Image]:
    """Different pictures: smooth colour noise, half of them with a handwritten digit on top."""
    rng, digits = np.random.default_rng(0), load_digits().images
    found = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
        picture = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        if number % 2:
            digit = Image.fromarray((digits[number] * 15).astype(np.uint8)).resize((40, 40), Image.Resampling.BICUBIC)
            picture.paste(Image.new("RGB", (40, 40), "white"), (12, 12), digit)
        found.append(picture)
    return found


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def shifted(picture: Image.Image) -> Image.Image:
    """One pixel to the right and down; the edge is repeated."""
    pixels = np.asarray(picture)
    return Image.fromarray(np.pad(pixels, ((1, 0), (1, 0), (0, 0)), "edge")[:-1, :-1])


def brighter(picture: Image.Image) -> Image.Image:
    return Image.fromarray(np.clip(np.asarray(picture) * 1.08, 0, 255).astype(np.uint8))


CHANGES = {"JPEG 75": lambda p: jpeg(p, 75), "JPEG 30": lambda p: jpeg(p, 30), "shift": shifted, "brighter": brighter}


def embed(images: list[Image.Image]) -> np.ndarray:
    """A simple embedding: the picture at 16 x 16, each colour less its mean."""
    small = [np.asarray(i.resize((16, 16), Image.Resampling.BOX), dtype=np.float32) for i in images]
    return np.stack([(s - s.mean(axis=(0, 1))).ravel() for s in small])


@pytest.mark.parametrize("mode", ["chain", "greedy", "components"])
@pytest.mark.parametrize("change", CHANGES)
def test_planted_copies_are_found_and_nothing_else(mode: str, change: str) -> None:
    originals = pictures()
    copies = [CHANGES[change](picture) for picture in originals[::5]]
    vectors = embed([*originals, *copies])
    shuffle = np.random.default_rng(1).permutation(len(vectors))
    found = semdedup_explained(vectors[shuffle], epsilon=EPSILON, mode=mode, keys=Keys(0, "t", len(vectors)))
    pairs = {frozenset((shuffle[row], shuffle[witness])) for row, witness in enumerate(found.witness) if witness >= 0}
    assert pairs == {frozenset((5 * number, len(originals) + number)) for number in range(len(copies))}
    sized = semdedup_explained(vectors[shuffle], len(originals), mode=mode, keys=Keys(0, "t", len(vectors)))
    assert sorted(sized.chosen.tolist()) == sorted(found.chosen.tolist())


@pytest.mark.parametrize("change", CHANGES)
def test_leaked_test_images_are_found(change: str) -> None:
    train = pictures()
    test = [*pictures(200)[150:], *(CHANGES[change](picture) for picture in train[:7])]
    found = leaks(embed(train), embed(test), epsilon=EPSILON)
    assert sorted(zip(found.reference.tolist(), found.witness.tolist(), strict=True)) == [(50 + i, i) for i in range(7)]
    clean = decontaminate_explained(embed(train), reference=embed(test), epsilon=EPSILON)
    assert np.flatnonzero(clean.witness >= 0).tolist() == list(range(7))
