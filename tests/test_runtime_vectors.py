"""Vectors on disk as one array: indexing, and runs that lack some."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import datadiet as dd
from datadiet.errors import DataError, OptionError
from datadiet.runtime.vectors import Parts, open_vectors

X = np.arange(70, dtype=np.float32).reshape(10, 7)


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    for lo, hi in ((0, 4), (4, 5), (5, 10)):
        np.save(tmp_path / f"part-{lo}-{hi}.npy", X[lo:hi])
    return open_vectors(tmp_path)


@pytest.mark.parametrize(
    "rows",
    [
        0, 9, -1, -10, np.int64(4), slice(None), slice(3, 6), slice(-2, None), slice(8, 2), slice(10, 20),
        slice(None, None, -3), [0, 9, -1], np.array([5, 4, 4]), np.array([], dtype=int), X[:, 0] > 30,
        (slice(3), slice(4)), (-1, 2), ([1, 8], 3), ([1, 8], [3, 2]), (5, [3, 2]), (slice(3, 6), [0, 1]), Ellipsis,
        (Ellipsis, 2), (slice(2), Ellipsis), ([0, -1],),
    ],
)  # fmt: skip
def test_they_index_like_an_array(parts: Parts, rows: object) -> None:
    np.testing.assert_array_equal(parts[rows], X[rows])


@pytest.mark.parametrize("row", [10, -11, [0, 10], [-11]])
def test_rows_that_are_not_there(parts: Parts, row: object) -> None:
    with pytest.raises(IndexError, match="of 10"):
        parts[row]


def test_what_they_say_of_themselves(parts: Parts, tmp_path: Path) -> None:
    assert len(parts) == 10 and parts.shape == (10, 7) and np.asarray(parts).tobytes() == X.tobytes()
    assert repr(parts) == f"Parts({tmp_path.name!r}, shape=(10, 7), dtype=float32)"


def run(path: Path, rows: int, of: int | None) -> Path:
    """A run with vectors of so many of its examples; None: it has not written its table."""
    folder = path / "embeddings" / "features" / "seed-0" / "epoch-1"
    folder.mkdir(parents=True)
    np.save(folder / f"part-0-{rows}.npy", X[:rows])
    (path / "manifest.json").write_text(json.dumps({"format": "datadiet.run", "plan": {}}))
    if of is not None:
        dd.Scores.from_arrays({"score": np.arange(of)}).write(path / "scores.parquet")
    return path


def test_a_run_that_is_not_finished_or_lacks_a_part_is_refused(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", 10, 10)
    assert open_vectors(whole).shape == open_vectors(whole / "embeddings/features/seed-0/epoch-1").shape == (10, 7)
    short, unfinished = run(tmp_path / "short", 6, 10), run(tmp_path / "unfinished", 6, None)
    for path, words in ((short, "6 vectors of 10 examples"), (unfinished, "is not finished")):
        for given in (path, path / "embeddings/features/seed-0/epoch-1"):
            with pytest.raises(DataError, match=words):
                open_vectors(given)
        with pytest.raises(DataError, match=words):
            dd.select(X, "decontaminate", reference=str(path), epsilon=0.1)
        with pytest.raises(DataError, match=words):
            dd.select(path, "k_center", keep=3)


def test_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nope.npy does not exist"):
        dd.open_vectors(tmp_path / "nope.npy")
    with pytest.raises(DataError, match=r"x.npy is a path: open the vectors there"):
        dd.kmeans("x.npy", 3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no vectors"):
        dd.open_vectors(tmp_path / "empty")
    with pytest.raises(OptionError, match="not named part-LO-HI"):
        np.save(tmp_path / "empty" / "part-a.npy", X)
        dd.open_vectors(tmp_path / "empty")
