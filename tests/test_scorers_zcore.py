"""ZCore: what the windows find is what the definition says, whatever the order of rows, draws and columns."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest, triang

from datadiet.errors import BadVector, OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.scorers.subspace import DimensionBlocks, Subspace
from datadiet.scorers.zcore import _points, zcore

MODULE = sys.modules["datadiet.scorers.subspace"]


def definition(
    x: np.ndarray, axes: np.ndarray, points: np.ndarray, neighbours: int, exponent: float, keys: Keys
) -> np.ndarray:
    """Coverage less redundancy, one draw after the other, all distances of all examples."""
    score, rank = keys.uniform(), keys.draw()
    for axis, point in zip(axes, points, strict=True):
        far = np.abs(x[:, axis] - point).sum(axis=1)
        nearest = np.lexsort((rank, far))[0]
        score[nearest] += 1
        far = np.abs(x[:, axis] - x[nearest, axis]).sum(axis=1)
        others = [i for i in np.lexsort((rank, far)) if i != nearest][:neighbours]
        if others and far[others[0]] == 0:
            score[others[0]] -= 1
        elif others:
            inverse = 1 / far[others].astype(np.float64) ** exponent
            score[others] -= inverse / inverse.sum()
    return (score - score.min()) / ((score.max() - score.min()) or 1)


def data(n: int = 90, d: int = 6, seed: int = 0, kind: str = "normal") -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    if kind == "relu":  # half of all numbers are 0, so that many examples coincide in a subspace
        x = np.maximum(x, 0)
    elif kind == "grid":
        x = np.round(2 * x)
    elif kind == "long tails":
        x = x**5
    elif kind == "clusters":
        x = 1e-4 * x + rng.normal(size=(3, d))[np.arange(n) % 3]
    elif kind == "constant":
        x[:, ::2] = 7
    return x.astype(np.float32)


def points(x: np.ndarray, draws: int, dims: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    return _points(DimensionBlocks(Matrix.open(x), dims), draws, dims, seed)


@pytest.mark.parametrize("kind", ["normal", "relu", "grid", "long tails", "clusters", "constant"])
@pytest.mark.parametrize(
    ("n", "dims", "neighbours", "exponent"),
    [(90, 2, 1000, 4), (90, 2, 5, 4), (700, 2, 9, 2), (700, 3, 1, 4), (40, 1, 7, 1)],
)
def test_oracle(kind: str, n: int, dims: int, neighbours: int, exponent: float) -> None:
    x, keys = data(n, kind=kind), Keys(3, "zcore", n)
    got = zcore(x, draws=200, dims=dims, neighbours=neighbours, exponent=exponent, seed=3)
    expected = definition(x, *points(x, 200, dims, 3), neighbours, exponent, keys)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    assert got.dtype == np.float32 and got.min() == 0 and got.max() == 1


def test_golden() -> None:
    # On a line at 0, 1, 3, 10 with median 2. From 3 the others are 3, 2 and 7 away: penalties as 3^-1 : 2^-1 : 7^-1,
    # which is 14 : 21 : 6 of 41. From 10: 10, 9, 7 away.
    x = np.array([[0.0], [1.0], [3.0], [10.0]], dtype=np.float32)
    columns = DimensionBlocks(Matrix.open(x), 1)
    assert [float(v[0]) for v in columns.ranges()] == [0, 2, 10]
    columns.hold(np.array([0]))
    subspace = Subspace(columns.line(0), [], np.arange(4))
    assert [subspace.nearest(np.float32([p])) for p in (-5, 0.4, 0.6, 2.1, 6.4, 6.6, 99)] == [0, 0, 1, 2, 2, 3, 3]
    assert subspace.nearest(np.float32([0.5])) == 0 and subspace.nearest(np.float32([6.5])) == 2  # ties: lower rank
    rows, far = subspace.neighbours(2, 3)
    assert dict(zip(rows.tolist(), far.tolist(), strict=True)) == {0: 3, 1: 2, 3: 7}
    rows, far = subspace.neighbours(3, 2)
    assert dict(zip(rows.tolist(), far.tolist(), strict=True)) == {1: 9, 2: 7}
    got = zcore(x, draws=1, dims=1, exponent=1, seed=5)
    start = Keys(5, "zcore", 4).uniform()
    nearest = subspace.nearest(points(x, 1, 1, 5)[1][0])
    rows, far = subspace.neighbours(nearest, 3)
    start[nearest] += 1
    start[rows] -= 1 / far / (1 / far).sum()
    np.testing.assert_allclose(got, (start - start.min()) / np.ptp(start), atol=1e-6)


def test_points_are_triangular_in_different_dimensions() -> None:
    x = data(51, 4)
    x[:, 3] = 2
    axes, at = points(x, 20_000, 2)
    assert axes.dtype == np.int64 and (axes[:, 0] < axes[:, 1]).all() and set(axes.ravel()) == {0, 1, 2, 3}
    pairs = np.bincount(axes[:, 0] * 4 + axes[:, 1])
    assert np.abs(pairs[pairs > 0] / 20_000 - 1 / 6).max() < 0.01 and (pairs > 0).sum() == 6
    for axis in range(3):
        low, middle, high = (float(f(x[:, axis])) for f in (np.min, np.median, np.max))
        drawn = at[axes == axis]
        shape = triang((middle - low) / (high - low), low, high - low)
        assert kstest(drawn[:3000], shape.cdf).pvalue > 1e-3
    assert (at[axes == 3] == 2).all()
    assert abs(np.corrcoef(at[(axes == [0, 1]).all(axis=1)].T)[0, 1]) < 0.05


@pytest.mark.parametrize("kind", ["normal", "relu", "grid"])
def test_the_order_of_the_rows_does_not_matter(kind: str) -> None:
    x, perm = data(kind=kind), np.random.default_rng(1).permutation(90)
    expected = zcore(x, draws=500, keys=Keys(3, "test", 90))
    moved = zcore(x[perm], draws=500, keys=Keys(3, "test", 90, perm))
    assert moved.tobytes() == expected[perm].tobytes()


@pytest.mark.parametrize("held", [1, 90 * 2, 90 * 2 * 2, 90 * 2 * 5])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_how_many_columns_are_in_memory_changes_no_bit(held: int, dims: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x = data()
    expected = zcore(x, draws=300, dims=dims)
    monkeypatch.setattr(MODULE, "_HELD", held)
    monkeypatch.setattr(MODULE, "_ROWS", 7)
    assert zcore(x, draws=300, dims=dims).tobytes() == expected.tobytes()


def test_no_more_columns_are_held_than_a_subspace_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    x = data()
    monkeypatch.setattr(MODULE, "_HELD", 90 * 2 * 2)
    columns = DimensionBlocks(Matrix.open(x), 2)
    assert columns.width == 2
    for blocks in ([0], [0, 1], [0, 2], [1, 2], [2, 2]):
        columns.hold(np.array(blocks))
        assert set(blocks) <= set(columns._held) and len(columns._held) <= 2
    np.testing.assert_array_equal(columns.column(5), x[:, 5])


def test_the_order_of_the_draws_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    x = data(kind="clusters")
    expected = zcore(x, draws=300)
    axes, at = points(x, 300)
    shuffled = np.random.default_rng(1).permutation(300)
    monkeypatch.setattr(sys.modules["datadiet.scorers.zcore"], "_points", lambda *_: (axes[shuffled], at[shuffled]))
    monkeypatch.setattr(np, "lexsort", lambda keys: np.arange(len(keys[0])))
    assert zcore(x, draws=300).tobytes() == expected.tobytes()


def test_draws_by_default_and_seeds() -> None:
    x = data(20)
    np.testing.assert_array_equal(zcore(x), zcore(x, draws=200))
    np.testing.assert_array_equal(zcore(x, seed=2), zcore(x, seed=2))
    assert not np.array_equal(zcore(x, seed=1), zcore(x, seed=2))


def test_neighbours_that_nearly_coincide_do_not_overflow() -> None:
    x = np.float32([[0, 0], [1e-12, 0], [1, 1], [2, 2]])  # 1e-48 is 0 in float32, and its inverse infinite
    assert np.isfinite(zcore(x, draws=100)).all()


def test_redundant_examples_score_lower() -> None:
    x = data(200, 8)
    x[100:] = x[0] + 0.01 * data(100, 8, seed=1)  # a hundred nearly the same
    got = zcore(x, draws=4000)
    assert np.median(got[100:]) < np.median(got[1:100])


def test_one_example_one_dimension_and_copies() -> None:
    assert zcore(np.ones((1, 3))).tolist() == [0.0]
    assert sorted(zcore(np.array([[0.0], [1.0]]), dims=1).tolist()) == [0.0, 1.0]
    copies = zcore(np.ones((20, 3)))
    assert np.isfinite(copies).all() and copies.max() == 1


def test_float16_on_disk(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", data().astype(np.float16))
    half = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(zcore(half, draws=50), zcore(data().astype(np.float16).astype(np.float32), draws=50))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"draws": 0}, "draws=0"), ({"draws": 10.0}, r"draws=10\.0"), ({"dims": 0}, "dims=0"),
        ({"dims": None}, "dims=None"),
        ({"dims": 7}, "dims=7 of features of 6 dimensions"), ({"neighbours": 0}, "neighbours=0"),
        ({"neighbours": True}, "neighbours=True"),
        ({"exponent": 0}, "exponent=0"), ({"exponent": np.nan}, "exponent=nan"),
        ({"keys": Keys(0, "test", 89)}, "keys for 89 rows and 90 examples"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        zcore(data(), **options)


def test_features_that_are_not_finite_are_named() -> None:
    x = data()
    x[7] = 0
    assert len(zcore(x, draws=10)) == 90
    x[7, 1] = np.nan
    with pytest.raises(BadVector, match="row 7 is not finite"):
        zcore(x, draws=10)
