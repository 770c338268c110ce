"""Moderate: the distance to the median of the class, and the middle band that the paper keeps of it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from datadiet.errors import BadVector, OptionError
from datadiet.scorers.moderate import moderate
from datadiet.selectors.band import band
from datadiet.selectors.by_class import per_class


def data(n: int = 90, d: int = 5, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.repeat([0, 1, 2, 3], [n - 27, 16, 10, 1])
    return (rng.normal(size=(n, d)) + 3 * rng.normal(size=(4, d))[label]).astype(np.float32), label


def test_golden() -> None:
    # Class 4: medians of 0, 1, 5 and of 0, 8, 2 are 1 and 2. Class 1: of two, halfway: (3, 4).
    x = np.array([[0.0, 0], [1, 8], [2, 8], [5, 2], [4, 0]])
    got = moderate(x, np.array([4, 4, 1, 4, 1]))
    np.testing.assert_allclose(got, [5**0.5, 6, 17**0.5, 4, 17**0.5], rtol=1e-6)
    assert got.dtype == np.float32


def test_oracle() -> None:
    x, label = data()
    expected = [
        np.linalg.norm(v.astype(np.float64) - np.median(x[label == c], axis=0)) for v, c in zip(x, label, strict=True)
    ]
    np.testing.assert_allclose(moderate(x, label), expected, rtol=1e-6, atol=1e-7)
    assert moderate(x, label)[-1] == 0  # alone in its class


def test_the_median_does_not_follow_an_outlier_as_the_mean_does() -> None:
    x, label = np.zeros((9, 2)), np.zeros(9, dtype=int)
    x[3] = 1e6
    assert moderate(x, label).round().tolist() == [0, 0, 0, round(2**0.5 * 1e6), 0, 0, 0, 0, 0]


@pytest.mark.parametrize(("n", "k"), [(90, 30), (91, 31), (90, 90), (91, 1), (50, 48)])
def test_band_keeps_what_the_paper_keeps(n: int, k: int) -> None:
    # The paper: of all scores in ascending order the ranks round(n (1 - f) / 2) to round(n (1 + f) / 2).
    x, label = data(n)
    scores = moderate(x, label)
    ascending = np.argsort(scores)
    kept = ascending[round(n * (0.5 - k / n / 2)) : round(n * (0.5 + k / n / 2))]
    assert sorted(band(scores, k).tolist()) == sorted(kept.tolist())


@pytest.mark.parametrize(("n", "k"), [(90, 31), (91, 30), (40, 1)])
def test_where_the_middle_cannot_be_halved_the_paper_may_miss_k_and_band_does_not(n: int, k: int) -> None:
    x, label = data(n)
    scores = moderate(x, label)
    ascending = np.argsort(scores)
    kept = ascending[round(n * (0.5 - k / n / 2)) : round(n * (0.5 + k / n / 2))]
    chosen = band(scores, k)
    assert len(chosen) == k and len(set(chosen.tolist()) ^ set(kept.tolist())) <= 2


def test_the_middle_of_every_class() -> None:
    x, label = data()
    scores = moderate(x, label)
    chosen = per_class(label, 45, lambda members, quota: band(scores[members], quota))
    for c, size in enumerate(np.bincount(label)):
        order = np.flatnonzero(label == c)[np.argsort(scores[label == c])]
        inside = np.isin(order, chosen)
        first, last = inside.argmax(), size - inside[::-1].argmax()
        assert not inside.any() or (inside[first:last].all() and abs(first - (size - last)) <= 1)


def test_the_order_of_the_rows_and_the_names_of_the_classes_do_not_matter() -> None:
    x, label = data()
    perm = np.random.default_rng(1).permutation(90)
    expected = moderate(x, label)
    np.testing.assert_array_equal(moderate(x[perm], label[perm]), expected[perm])
    np.testing.assert_array_equal(moderate(x, np.array([900, 4, 17, 0])[label]), expected)


@pytest.mark.parametrize("rows", [1, 7, 90])
@pytest.mark.parametrize("at_once", [1, 63, 64, 200])
def test_how_much_is_read_at_once_changes_no_bit(rows: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, label = data()
    expected = moderate(x, label)
    monkeypatch.setattr(sys.modules["datadiet.scorers.moderate"], "_ROWS", rows)
    monkeypatch.setattr(sys.modules["datadiet.scorers.moderate"], "_AT_ONCE", at_once)
    assert moderate(x, label).tobytes() == expected.tobytes()


def test_float16_on_disk(tmp_path: Path) -> None:
    x, label = data()
    np.save(tmp_path / "x.npy", x.astype(np.float16))
    half = np.load(tmp_path / "x.npy", mmap_mode="r")
    np.testing.assert_array_equal(moderate(half, label), moderate(x.astype(np.float16).astype(np.float32), label))


def test_bad_input_is_refused() -> None:
    x, label = data()
    with pytest.raises(OptionError, match="each of the 90 examples"):
        moderate(x, label[:89])
    with pytest.raises(OptionError, match="from -1"):
        moderate(x, label - 1)
    x[7] = 0
    assert moderate(x, label)[7] > 0
    x[7, 1] = np.nan
    with pytest.raises(BadVector, match="row 7 is not finite"):
        moderate(x, label)
