"""TRAK: the explicit formula, and the sign against re-training."""

from __future__ import annotations

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers import projected
from datadiet.scorers.refit_head import head_probabilities, refit_head
from datadiet.scorers.trak import trak


def data(models: int = 3, n: int = 50, m: int = 7, k: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(models, n, k)), rng.random((models, n)), rng.normal(size=(models, m, k)) + 0.5


def explicit(phi: np.ndarray, p: np.ndarray, val: np.ndarray, l2: float, blocks: int) -> np.ndarray:
    """The formula, one pair of examples at a time."""
    models, n, k = phi.shape
    scores = np.zeros(n)
    for a, v in zip(phi, val, strict=True):
        for columns in np.array_split(np.arange(k), blocks):
            gram = a[:, columns].T @ a[:, columns]
            inverse = np.linalg.inv(gram + l2 * np.trace(gram) / len(columns) * np.eye(len(columns)))
            for i in range(n):
                scores[i] += np.mean([q[columns] @ inverse @ a[i, columns] for q in v]) / models
    return scores * (1 - p).mean(axis=0)


def test_golden() -> None:
    # k = 1: Phi'Phi = 4 + 1 = 5; phi(z) = 5: 5 / 5 * (2, -1) = (2, -1), times 1 - p = .5: (1, -.5).
    # With l2 = 1 the lambda is 5, as large as Phi'Phi: half of it.
    given = np.array([[2.0], [-1.0]]), np.array([0.5, 0.5]), np.array([[5.0]])
    np.testing.assert_allclose(trak(*given, l2=0.0), [1.0, -0.5], rtol=1e-6)
    np.testing.assert_allclose(trak(*given, l2=1.0), [0.5, -0.25], rtol=1e-6)


def test_golden_the_factors_are_averaged_each_and_then_multiplied() -> None:
    # Two networks: attributions 1 and 0 (mean .5), 1 - p = 0 and 1 (mean .5): .25; the mean of the products would be 0.
    got = trak(np.ones((2, 1, 1)), np.array([[1.0], [0.0]]), np.array([[[1.0]], [[0.0]]]), l2=0.0)
    assert got.tolist() == [0.25]


@pytest.mark.parametrize("blocks", [1, 2, 3, 10])
@pytest.mark.parametrize("l2", [0.0, 0.01, 1.0])
def test_oracle_the_explicit_formula(blocks: int, l2: float) -> None:
    phi, p, val = data()
    got = trak(phi, p, val, l2=l2, blocks=blocks)
    np.testing.assert_allclose(got, explicit(phi, p, val, l2, blocks), rtol=1e-5, atol=1e-8)
    assert got.dtype == np.float32 and got.shape == (50,)


def test_one_network_needs_no_axis_and_float16_is_enough_to_store() -> None:
    phi, p, val = data(models=1)
    assert trak(phi[0], p[0], val[0]).tobytes() == trak(phi, p, val).tobytes()
    stored = phi.astype(np.float16), p.astype(np.float16), val.astype(np.float16)
    np.testing.assert_allclose(trak(*stored), explicit(*(v.astype(np.float64) for v in stored), 0.01, 1), rtol=1e-5)


def test_more_columns_than_examples_are_solved_with_the_default() -> None:
    phi, p, val = data(n=5, k=40)
    np.testing.assert_allclose(trak(phi, p, val), explicit(phi, p, val, 0.01, 1), rtol=1e-5)
    with pytest.raises(OptionError, match="not positive definite: use l2 above 0, fewer columns"):
        trak(phi, p, val, l2=0.0)


def test_the_pieces_in_which_the_gradients_are_read_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    phi, p, val = data()
    whole = trak(phi, p, val)
    monkeypatch.setattr(projected, "_ROWS", 3)
    np.testing.assert_allclose(trak(phi, p, val), whole, rtol=1e-5, atol=1e-9)


def test_positive_means_that_leaving_the_example_out_lowers_the_validation_margin() -> None:
    rng = np.random.default_rng(0)
    x, vx, w = rng.normal(size=(80, 4)), rng.normal(size=(60, 4)), rng.normal(size=4)
    y, vy = ((v @ w + rng.logistic(size=len(v)) > 0).astype(int) for v in (x, vx))

    def margins(rows: np.ndarray) -> np.ndarray:
        _, theta = refit_head(x[rows], y[rows], l2=1e-2 * 80 / len(rows), bias=False, classes=2)
        p = head_probabilities(vx, theta, bias=False)
        return np.log(p[np.arange(60), vy] / p[np.arange(60), 1 - vy])

    everyone = np.arange(80)
    truth = np.array([(margins(everyone) - margins(np.delete(everyone, i))).mean() for i in range(80)])
    p, _ = refit_head(x, y, l2=1e-2, bias=False, classes=2)
    got = trak(x * (2 * y - 1)[:, None], p[everyone, y], vx * (2 * vy - 1)[:, None])
    assert np.corrcoef(got, truth)[0, 1] > 0.8


def test_bad_input_is_refused() -> None:
    phi, p, val = data()
    with pytest.raises(OptionError, match=r"projected has shape \(10,\): give \(models, n, k\) or \(n, k\)"):
        trak(phi[0, 0], p[0], val)
    with pytest.raises(OptionError, match="of the same networks"):
        trak(phi, p, val[:2])
    with pytest.raises(OptionError, match="of the same networks"):
        trak(phi, p[:, :-1], val)
    with pytest.raises(OptionError, match="of the same networks"):
        trak(phi, p, val[:, :, :-1])
    with pytest.raises(OptionError, match="p_true goes from"):
        trak(phi, p + 0.5, val)
    with pytest.raises(OptionError, match="l2=-1"):
        trak(phi, p, val, l2=-1)
    for blocks in (0, 11):
        with pytest.raises(OptionError, match="give from 1 to 10"):
            trak(phi, p, val, blocks=blocks)
    with pytest.raises(OptionError, match="gradients that are not all 0"):
        trak(phi * 0, p, val)
    for at, name in enumerate(("projected", "p_true", "val_projected")):
        given = [phi.copy(), p.copy(), val.copy()]
        given[at].flat[3] = np.nan
        with pytest.raises(OptionError, match=f"{name} has 1 NaN"):
            trak(*given)
