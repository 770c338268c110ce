"""The output signals: against float64 formulas, for easy examples in float32, and in one evaluation pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from datadiet.data.batch import Batch
from datadiet.errors import DataError, OptionError
from datadiet.signals import measured
from datadiet.signals.gradients import PerExample
from datadiet.signals.parts import signal_table
from datadiet.signals.passes import PASSES, Examples, Setup
from datadiet.tasks import OUTPUT_SIGNALS, Classification, output_signals


def oracle(logits, targets, features=None):
    """The definitions, one example after another, in float64, with nothing subtracted from what is near 1."""
    rows = []
    for i, (z, y) in enumerate(zip(np.asarray(logits, dtype=np.float64), np.asarray(targets), strict=True)):
        p = np.exp(z - z.max())
        p /= p.sum()
        others = np.delete(p, y)
        best = z.argmax()
        surprise = z.max() - z + np.log1p(np.exp(np.delete(z, best) - z.max()).sum())  # -log p of each class
        top, second = np.sort(p)[::-1][:2]
        row = {
            "loss": surprise[y],
            "error_norm": np.linalg.norm(np.append(others, others.sum())),
            "p_true": p[y],
            "doubt": np.sort(p)[:-1].sum(),
            "p_gap": top - second,
            "margin": z[y] - np.delete(z, y).max(),
            "p_margin": p[y] - others.max(),
            "entropy": (p * surprise).sum(),
            "correct": int(z.argmax()) == y,
        }
        rows.append(row | ({} if features is None else {"feature_norm": np.linalg.norm(np.asarray(features)[i])}))
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}


def batch(size=200, classes=7, scale=3.0, seed=0):
    rng = np.random.default_rng(seed)
    z = torch.from_numpy((scale * rng.standard_normal((size, classes))).astype(np.float32))
    return z, torch.from_numpy(rng.integers(0, classes, size)), torch.from_numpy(rng.standard_normal((size, 5))).float()


@pytest.mark.parametrize("classes", [2, 3, 100])
def test_all_signals_agree_with_the_definitions(classes):
    z, y, h = batch(classes=classes)
    got, wanted = output_signals(z, y, h), oracle(z, y, h)
    assert set(got) == {*OUTPUT_SIGNALS, "feature_norm"} == set(wanted)
    for name, values in got.items():
        assert values.dtype == (torch.bool if name == "correct" else torch.float32)
        np.testing.assert_allclose(values.numpy(), wanted[name], rtol=2e-5, atol=3e-7, err_msg=name)


def test_golden():
    # z = ln(3, 1), so p = (3/4, 1/4); and the same example with the other label.
    z = torch.tensor([[3.0, 1.0], [3.0, 1.0]]).log()
    out = output_signals(z, torch.tensor([0, 1]), torch.tensor([[3.0, 4.0], [0.0, 2.0]]))
    wanted = {
        "loss": [np.log(4 / 3), np.log(4)],
        "error_norm": [np.sqrt(2) / 4, np.sqrt(2) * 3 / 4],
        "p_true": [0.75, 0.25],
        "doubt": [0.25, 0.25],
        "p_gap": [0.5, 0.5],
        "margin": [np.log(3), -np.log(3)],
        "p_margin": [0.5, -0.5],
        "entropy": [2 * np.log(2) - 0.75 * np.log(3)] * 2,
        "correct": [True, False],
        "feature_norm": [5.0, 2.0],
    }
    for name, values in wanted.items():
        np.testing.assert_allclose(out[name], values, rtol=1e-6, err_msg=name)


def test_a_tie_counts_as_argmax_counts_it():
    assert output_signals(torch.zeros(2, 2), torch.tensor([0, 1]))["correct"].tolist() == [True, False]


@pytest.mark.parametrize("signal", ["loss", "error_norm", "doubt", "entropy"])
@pytest.mark.parametrize("gap", [16.0, 30.0, 42.0, 60.0])
def test_easy_examples_keep_their_value_in_float32(signal, gap):
    """Most examples of a trained network have p_y = 1 in float32; their order is the order of what is left."""
    z = torch.zeros(9, 10)
    z[:, 3] = gap + torch.linspace(0, 1, 9)
    y = torch.full((9,), 3)
    np.testing.assert_allclose(output_signals(z, y)[signal], oracle(z, y)[signal], rtol=1e-4)


def test_the_ranking_of_easy_examples_survives():
    """Also between examples with one rival class and with many."""
    rng = np.random.default_rng(1)
    z = -rng.uniform(20, 60, (300, 4)).astype(np.float32)
    z[:, 0] = 0
    y = np.zeros(300, dtype=np.int64)
    got, wanted = output_signals(torch.from_numpy(z), torch.from_numpy(y)), oracle(z, y)
    for name in ("loss", "error_norm", "doubt", "entropy"):
        assert np.array_equal(np.argsort(got[name].numpy(), kind="stable"), np.argsort(wanted[name])), name


def test_very_wrong_examples_stay_finite():
    z = torch.tensor([[-200.0, 200.0, 0.0], [-1e4, 1e4, 0.0]])
    out = output_signals(z, torch.tensor([0, 0]))
    assert all(torch.isfinite(values.float()).all() for values in out.values())
    assert out["loss"].tolist() == [400.0, 20000.0]
    torch.testing.assert_close(out["error_norm"], torch.full((2,), 2**0.5))


def test_a_signal_does_not_depend_on_the_batch_that_an_example_is_in():
    z, y, h = batch(60)
    whole = output_signals(z, y, h)
    for name, values in whole.items():
        alone = torch.cat([output_signals(z[i : i + 1], y[i : i + 1], h[i : i + 1])[name] for i in range(60)])
        torch.testing.assert_close(values, alone, rtol=1e-6, atol=0)


def test_signals_of_half_precision_logits_are_float32_and_need_no_graph():
    z, y, _ = batch(8)
    z = z.bfloat16().requires_grad_()
    out = output_signals(z, y)
    assert out["loss"].dtype == torch.float32 and not out["loss"].requires_grad
    assert torch.equal(out["loss"], output_signals(z.detach().float(), y)["loss"])


def test_features_of_any_shape_are_flattened():
    z, y, _ = batch(4)
    h = torch.ones(4, 2, 3)
    assert torch.allclose(output_signals(z, y, h)["feature_norm"], torch.full((4,), 6.0**0.5))


def passes(model, x, y, size, features=lambda outputs: None):
    whole = Batch(x, y, torch.arange(len(x)))
    batches = [whole.part(slice(lo, lo + size)) for lo in range(0, len(x), size)]
    setup = Setup([model], Classification(x.shape[1]), features, Examples(list, str))
    return signal_table(*measured(PASSES["eval"].begin(setup), batches), "check the weights")


def test_an_evaluation_pass_is_the_signals_of_its_batches():
    x, y, _ = batch(50, classes=4)
    table = passes(torch.nn.Identity(), x, y, 16)
    assert table["index"].to_pylist() == list(range(50))
    assert table.column_names == ["index", *OUTPUT_SIGNALS]
    assert np.array_equal(table["margin"].to_numpy(), output_signals(x, y)["margin"].numpy())


def test_an_evaluation_pass_has_the_features_of_its_own_batch():
    x, y, _ = batch(10, classes=3)
    seen = []
    model = torch.nn.Identity()
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    table = passes(model, x, y, 5, features=lambda outputs: seen[-1])
    np.testing.assert_allclose(table["feature_norm"].to_numpy(), x.norm(dim=1), rtol=1e-6)


def test_a_nan_in_an_evaluation_pass_names_the_row():
    x, y, _ = batch(10, classes=3)
    x[7, 1] = torch.nan
    with pytest.raises(DataError, match="NaN for the example at row 7: check the weights"):
        passes(torch.nn.Identity(), x, y, 4)


class Waits(TorchDispatchMode):
    """Counts the operations whose result the processor reads: each waits for an accelerator."""

    def __init__(self):
        super().__init__()
        self.number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += func.overloadpacket.__name__ in ("_local_scalar_dense", "nonzero", "equal", "is_nonzero")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("kind", ["grad", "dots", "projected"])
def test_a_pass_over_gradients_waits_once_for_all_of_its_batches(kind):
    """The first batch is checked; the labels are known; whether gradients are finite is read at the end."""
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 16, 3)).eval()
    x, y = torch.randn(24, 3, 6, 6), torch.arange(24) % 3
    batches = [Batch(x[rows], y[rows], rows) for rows in torch.arange(24).split(4)]
    options = {"dim": 16} if kind == "projected" else {}
    vector = {name: torch.ones_like(p) for name, p in model.named_parameters()}
    data = Examples(lambda: batches, str)
    setup = Setup([model], Classification(3), lambda z: None, data, options=options, prepared=vector, labels=(0, 2))
    measure = PASSES[kind].begin(setup)
    measure(batches[0])

    def waits(batches):
        with Waits() as seen:
            measured(measure, batches)
        return seen.number

    assert waits(batches[:1]) == waits(batches)
    batches[3].inputs[1] = torch.nan
    with pytest.raises(DataError, match="the gradient of the example at row 13 is not finite"):
        measured(measure, batches)


def test_labels_that_a_network_does_not_have_are_refused_though_their_range_is_known():
    engine = PerExample(torch.nn.Linear(4, 3).eval(), labels=(0, 3))
    with pytest.raises(OptionError, match="label 3 and 3 logits"):
        engine(torch.randn(5, 4), torch.tensor([0, 1, 2, 3, 0]), lambda name, terms: None)
