"""Density: the mean distance to the nearest neighbours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datadiet.errors import BadVector, OptionError
from datadiet.scorers import SCORERS
from datadiet.scorers.density import density


def data(n: int = 70, d: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def test_golden() -> None:
    # On a line at 0, 1, 5, 6.
    line = np.array([[0.0], [1.0], [5.0], [6.0]])
    assert density(line, k=1, metric="euclidean").tolist() == [1, 1, 1, 1]
    assert density(line, k=2, metric="euclidean").tolist() == [3, 2.5, 2.5, 3]
    # At 0, 60 and 180 degrees: cosines 1/2 and -1 and -1/2.
    x = np.array([[2.0, 0.0], [1.0, 3**0.5], [-5.0, 0.0]])
    np.testing.assert_allclose(density(x, k=1), [0.5, 0.5, 1.5], rtol=1e-5)
    np.testing.assert_allclose(density(x, k=2), [1.25, 1.0, 1.75], rtol=1e-5)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 10, 69])
def test_oracle(metric: Any, k: int) -> None:
    x = data().astype(np.float64)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    far = 1 - unit @ unit.T if metric == "cosine" else np.linalg.norm(x[:, None] - x[None], axis=2)
    expected = [np.sort(np.delete(row, i))[:k].mean() for i, row in enumerate(far)]
    got = density(data(), k=k, metric=metric)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)
    assert got.dtype == np.float32 and got.shape == (70,)


def test_rare_is_high_and_a_copy_is_not_rare() -> None:
    x = data(70, 3)
    x[:, 0] += 20
    x[3] = [0, 20, 0]
    x[8:12] = x[8]
    got = density(x, k=3)
    assert got.argmax() == 3 and (got[8:12] < 1e-6).all()


def test_the_order_of_the_rows_does_not_matter() -> None:
    perm = np.random.default_rng(1).permutation(70)
    for metric in ("cosine", "euclidean"):
        moved = density(data()[perm], metric=metric)  # type: ignore[arg-type]
        np.testing.assert_allclose(moved, density(data(), metric=metric)[perm], rtol=1e-5, atol=1e-6)  # type: ignore[arg-type]


def test_float16_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", data().astype(np.float16))
    half = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(density(half), density(data().astype(np.float16).astype(np.float32)))


def test_one_dimension() -> None:
    assert density(np.array([[1.0], [2.0], [-1.0]]), k=1).tolist() == [0, 0, 2]


@pytest.mark.parametrize("k", [0, -1, 2.0, True, None])
def test_a_number_of_neighbours_is_whole_and_positive(k: Any) -> None:
    for call in (density, SCORERS["density"].check):
        with pytest.raises(OptionError, match=f"k={k!r}"):
            call(data(), k=k)


def test_bad_input_is_refused() -> None:
    x = data()
    with pytest.raises(OptionError, match="k=70 neighbours of 70 examples: give at most 69"):
        density(x, k=70)
    assert len(SCORERS["density"].check(x[:2], k=70)) == 2
    with pytest.raises(OptionError, match="metric='l1'"):
        density(x, metric="l1")  # type: ignore[arg-type]
    x[7] = 0
    with pytest.raises(BadVector, match="row 7 is all zeros"):
        density(x)
    assert len(density(x, metric="euclidean")) == 70
    x[7, 1] = np.inf
    with pytest.raises(BadVector, match="row 7 is not finite"):
        density(x, metric="euclidean")
