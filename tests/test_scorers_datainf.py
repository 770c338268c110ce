"""DataInf: the explicit mean of inverses, and the sign."""

from __future__ import annotations

import sys
from itertools import pairwise

import numpy as np
import pytest

from datadiet.errors import OptionError
from datadiet.scorers import projected
from datadiet.scorers.datainf import datainf


def data(models: int = 2, n: int = 30, m: int = 5, k: int = 9) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    scale = np.repeat([1.0, 5.0, 0.2], 3)
    return rng.normal(size=(models, n, k)) * scale, (rng.normal(size=(models, m, k)) + 0.3) * scale


def explicit(g: np.ndarray, val: np.ndarray, edges: list[int], damping: float) -> np.ndarray:
    """The mean over i of (g_i g_i' + lambda I)^-1 v, with each inverse computed."""
    scores = np.zeros(g.shape[1])
    for a, v in zip(g, val, strict=True):
        for low, high in pairwise(edges):
            part, pull, eye = a[:, low:high], v[:, low:high].mean(axis=0), np.eye(high - low)
            weight = damping * (part**2).mean()
            solved = np.mean([np.linalg.inv(np.outer(row, row) + weight * eye) @ pull for row in part], axis=0)
            scores += part @ solved / len(g)
    return scores


def test_golden() -> None:
    # g = 1 and -1, v = 1, damping 1: lambda = mean square = 1; (g_i^2 + lambda)^-1 v = 1/2 for both: 1/2 g.
    got = datainf(np.array([[1.0], [-1.0]]), np.array([[1.0]]), damping=1.0)
    np.testing.assert_allclose(got, [0.5, -0.5], rtol=1e-6)


def test_golden_layers_have_their_own_damping_and_are_summed() -> None:
    # The second column is the first times 10 and v there 10: lambda is 100 times as large, (100 + 100)^-1 * 10 = 1/20,
    # times g = 10 gives 1/2 again. Two layers: 1.
    g = np.array([[1.0, 10.0], [-1.0, -10.0]])
    np.testing.assert_allclose(datainf(g, np.array([[1.0, 10.0]]), blocks=[0, 1, 2], damping=1.0), [1, -1], rtol=1e-6)


@pytest.mark.parametrize("damping", [0.01, 0.1, 10.0])
@pytest.mark.parametrize("blocks", [None, [0, 3, 6, 9], [0, 1, 9]])
def test_oracle_the_mean_of_explicit_inverses(blocks: list[int] | None, damping: float) -> None:
    g, val = data()
    got = datainf(g, val, blocks=blocks, damping=damping)
    np.testing.assert_allclose(got, explicit(g, val, blocks or [0, 9], damping), rtol=1e-5, atol=1e-7)
    assert got.dtype == np.float32 and got.shape == (30,)


def test_with_much_damping_it_is_the_damped_fisher_matrix_and_with_the_published_one_it_is_not() -> None:
    g, val = (v[0, :, :3] for v in data(models=1, n=200))
    pull = val.mean(axis=0)

    def correlation(damping: float) -> float:
        fisher = g.T @ g / len(g) + damping * (g**2).mean() * np.eye(3)
        return float(np.corrcoef(datainf(g, val, damping=damping), g @ np.linalg.solve(fisher, pull))[0, 1])

    assert correlation(100.0) > 0.9999
    assert correlation(0.1) < correlation(1.0) < correlation(100.0)


def test_one_network_needs_no_axis_and_float16_is_enough_to_store() -> None:
    g, val = data(models=1)
    assert datainf(g[0], val[0]).tobytes() == datainf(g, val).tobytes()
    g, val = g.astype(np.float16), val.astype(np.float16)
    expected = explicit(g.astype(np.float64), val.astype(np.float64), [0, 9], 0.1)
    np.testing.assert_allclose(datainf(g, val), expected, rtol=1e-5, atol=1e-7)


def test_the_pieces_in_which_the_gradients_are_read_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    g, val = data()
    whole = datainf(g, val)
    monkeypatch.setattr(projected, "_ROWS", 4)
    monkeypatch.setattr(sys.modules["datadiet.scorers.datainf"], "working_set", lambda device: 8 * 9 * 4)
    np.testing.assert_allclose(datainf(g, val), whole, rtol=1e-5, atol=1e-8)


def test_an_example_that_pulls_where_the_validation_data_do_is_positive() -> None:
    g, val = data(models=1)
    g[0, 4], g[0, 5] = val[0].mean(axis=0), -val[0].mean(axis=0)
    got = datainf(g, val)
    assert got[4] > 0 > got[5] and got[4] == -got[5]


def test_bad_input_is_refused() -> None:
    g, val = data()
    with pytest.raises(OptionError, match=r"projected has shape \(9,\): give \(models, n, k\) or \(n, k\)"):
        datainf(g[0, 0], val)
    with pytest.raises(OptionError, match="of the same networks"):
        datainf(g, val[:1])
    with pytest.raises(OptionError, match="of the same networks"):
        datainf(g, val[:, :, :4])
    for damping in (0.0, -0.1, float("nan")):
        with pytest.raises(OptionError, match=r"above 0, such as 0\.1"):
            datainf(g, val, damping=damping)
    for blocks in ([], [0], [0, 8], [1, 9], [0, 5, 5, 9], [0, 6, 3, 9]):
        with pytest.raises(OptionError, match="rising from 0 to 9"):
            datainf(g, val, blocks=blocks)
    g[:, :, 3:6] = 0
    with pytest.raises(OptionError, match="every gradient in columns 3 to 6 is 0"):
        datainf(g, val, blocks=[0, 3, 6, 9])
    for large in (1e39, 1e200):
        with pytest.raises(OptionError, match=r"projected goes from .* give numbers from"):
            datainf(np.where(g == g.max(), large, g), val)
    for at, name in enumerate(("projected", "val_projected")):
        given = [g.copy(), val.copy()]
        given[at].flat[3] = np.nan
        with pytest.raises(OptionError, match=f"{name} has 1 NaN"):
            datainf(*given)
