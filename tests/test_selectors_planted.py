"""Planted duplicates in images are found: re-encoded JPEGs, one-pixel shifts, brighter copies; leaked test ones."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

import datadiet as dd
from datadiet.randomness import Keys
from datadiet.selectors.decontaminate import decontaminate, leaks
from datadiet.selectors.semdedup import semdedup

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
    found = semdedup.explain(vectors[shuffle], epsilon=EPSILON, mode=mode, keys=Keys(0, "t", len(vectors)))
    pairs = {frozenset((shuffle[row], shuffle[witness])) for row, witness in enumerate(found.witness) if witness >= 0}
    assert pairs == {frozenset((5 * number, len(originals) + number)) for number in range(len(copies))}
    sized = semdedup.explain(vectors[shuffle], len(originals), mode=mode, keys=Keys(0, "t", len(vectors)))
    assert sorted(sized.chosen.tolist()) == sorted(found.chosen.tolist())


@pytest.mark.parametrize("change", CHANGES)
def test_leaked_test_images_are_found(change: str) -> None:
    train = pictures()
    test = [*pictures(200)[150:], *(CHANGES[change](picture) for picture in train[:7])]
    found = leaks(embed(train), embed(test), epsilon=EPSILON)
    assert sorted(zip(found.reference.tolist(), found.witness.tolist(), strict=True)) == [(50 + i, i) for i in range(7)]
    clean = decontaminate.explain(embed(train), reference=embed(test), epsilon=EPSILON)
    assert np.flatnonzero(clean.witness >= 0).tolist() == list(range(7))


def test_from_files_to_the_ids_of_the_originals(tmp_path: Path) -> None:
    originals, folder = pictures(40), tmp_path / "images"
    planted = {f"copy-{name}-{number}": number for number, name in enumerate(CHANGES, start=3)}
    for kind, files in (
        ("real", {f"original-{number}": picture for number, picture in enumerate(originals)}),
        ("again", {name: CHANGES[name.split("-")[1]](originals[number]) for name, number in planted.items()}),
    ):
        (folder / kind).mkdir(parents=True)
        for name, picture in files.items():
            picture.save(folder / kind / f"{name}.png")
    run = tmp_path / "run"

    def encode(batch: torch.Tensor) -> np.ndarray:
        return embed([Image.fromarray(pixels.permute(1, 2, 0).numpy()) for pixels in batch])

    dd.embed(f"imagefolder:{folder}", encode, out=run)

    def removed(name: str) -> dict[str, str]:
        rows = pq.read_table(tmp_path / name).to_pylist()
        assert all(row["keep"] == (row["witness"] is None) for row in rows) and len(rows) == 44
        return {Path(row["id"]).stem: Path(row["witness"]).stem for row in rows if not row["keep"]}

    dd.select(run, "semdedup", epsilon=EPSILON).write(tmp_path / "pairs.parquet")
    pairs = {frozenset(pair) for pair in removed("pairs.parquet").items()}
    assert pairs == {frozenset((copy, f"original-{number}")) for copy, number in planted.items()}
    found = dd.Scores.read(run)
    first = np.array(["original" in name for name in found.ids.to_pylist()], dtype=np.float32)
    meta = {**found.meta, "columns": {"first": {"hardness": 1}}}
    scores = dd.Scores(found.index, {"first": first}, found.ids, found.labels, meta)
    chosen = dd.select(scores, "semdedup", score="first", embeddings=run, epsilon=EPSILON)
    chosen.write(tmp_path / "originals.parquet")
    assert removed("originals.parquet") == {copy: f"original-{number}" for copy, number in planted.items()}
