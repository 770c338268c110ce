"""VoG: a standard deviation over checkpoints, averaged over pixels, standardised within classes."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers.vog import vog, vog_spread


def maps(n: int = 70, dtype: type = np.float64) -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.normal(size=(4, n, 5, 6)) * rng.uniform(0.2, 3, (1, n, 1, 1))).astype(dtype)


def test_golden() -> None:
    # Two checkpoints, two pixels. Example 0: pixels 1 -> 3 (mean 2, deviations 1, 1: std 1) and 0 -> 0 (0): mean .5.
    # Example 1: pixels -2 -> 2 (std 2) and 5 -> 9 (std 2): mean 2. The sample deviation would give .71 and 2.83.
    given = np.array([[[1.0, 0.0], [-2.0, 5.0]], [[3.0, 0.0], [2.0, 9.0]]])
    assert vog(given).tolist() == [0.5, 2.0]


def test_golden_standard_scores() -> None:
    # Class 0 has .5 and 2: mean 1.25, std .75: scores -1 and 1. Class 7 has one example: 0.
    given = np.array([[[1.0, 0.0], [-2.0, 5.0], [1.0, 1.0]], [[3.0, 0.0], [2.0, 9.0], [8.0, 9.0]]])
    assert vog(given, np.array([0, 0, 7])).tolist() == [-1.0, 1.0, 0.0]


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_oracle_two_passes(dtype: type) -> None:
    given = maps(dtype=dtype)
    expected = []
    for i in range(given.shape[1]):
        own = given[:, i].reshape(4, -1).astype(np.float64)
        mean = sum(own) / 4
        variance = sum((s - mean) ** 2 for s in own) / 4
        expected.append(np.sqrt(variance).sum() / 30)
    np.testing.assert_allclose(vog(given), expected, rtol=1e-6)
    assert vog(given).dtype == np.float32


def test_every_class_has_mean_0_and_deviation_1() -> None:
    labels = np.random.default_rng(1).integers(0, 5, 70) * 3
    for score in (vog(maps(), labels), vog_spread(vog(maps()), labels, normalise="class")):
        for c in np.unique(labels):
            own = score[labels == c].astype(np.float64)
            assert abs(own.mean()) < 1e-6 and abs(own.std() - 1) < 1e-6


def test_a_class_without_spread_gets_0_in_spite_of_rounding() -> None:
    # 0.1 + 0.1 + 0.1 is not 3 * 0.1 in floating point
    labels = np.array([4, 4, 4, 2])
    assert vog_spread(np.array([0.1, 0.1, 0.1, 9.0]), labels, normalise="class").tolist() == [0, 0, 0, 0]


def test_golden_the_mean_over_seeds_comes_before_the_standard_score() -> None:
    # means 1, 3, 7: the class of the first two has mean 2 and std 1
    spread = np.array([[1.0, 2.0, 7.0], [1.0, 4.0, 7.0]])
    assert vog_spread(spread).tolist() == [1.0, 3.0, 7.0]
    assert vog_spread(spread, np.array([0, 0, 1]), normalise="class").tolist() == [-1.0, 1.0, 0.0]


def test_the_maps_may_have_any_number_of_spatial_axes() -> None:
    flat = maps().reshape(4, 70, 30)
    np.testing.assert_allclose(vog(flat), vog(maps()), rtol=1e-6)
    np.testing.assert_allclose(vog(flat[:, :, 0]), flat[:, :, 0].std(axis=0), rtol=1e-6)


def test_an_example_alone_scores_as_among_others() -> None:
    np.testing.assert_allclose(vog(maps()[:, 40:41]), vog(maps())[40:41], rtol=1e-6)
    assert vog(maps()[:, :0]).shape == (0,) and vog_spread(np.empty((2, 0))).shape == (0,)
    assert vog(maps()[:, :0], np.empty(0, dtype=int)).shape == (0,)


@pytest.mark.parametrize("shape", [(4,), (1, 5, 3, 3), (0, 5, 3, 3), (4, 5, 0, 3)])
def test_maps_without_two_checkpoints_or_a_pixel_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(OptionError, match=r"maps has shape .*: .*give \(checkpoints, n, "):
        vog(np.zeros(shape))


def test_what_is_not_finite_is_refused() -> None:
    given = maps()
    given[2, 50, 1, 1] = np.nan
    with pytest.raises(OptionError, match="maps has 1 NaN"):
        vog(given)
    with pytest.raises(OptionError, match="spread has 1 NaN"):
        vog_spread(np.array([1.0, np.inf]))


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(2, dtype=int), "each of the 3 examples"),
        (np.array([0.0, 1.5, 2.0]), "not whole numbers"),
        (np.array([0, 1, -1]), "from -1 to 1: number the classes from 0"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels: np.ndarray, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        vog(np.zeros((2, 3, 4)), labels)
    with pytest.raises(OptionError, match=message):
        vog_spread(np.zeros(3), labels, normalise="class")


def test_options_are_checked() -> None:
    with pytest.raises(OptionError, match="normalise='z': choose 'none' or 'class'"):
        vog_spread(np.zeros(3), normalise="z")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="without labels"):
        vog_spread(np.zeros(3), normalise="class")
    with pytest.raises(OptionError, match="at least one seed"):
        vog_spread(np.zeros((0, 3)))
