"""What the first batch does not show: parameters that matter later, losses near 0, gradients of 0."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import datadiet as dd
from datadiet.errors import OptionError
from datadiet.signals.gradients import PerExample, grad_norms, layer_norms
from datadiet.signals.input_gradients import input_gradient_maps


class Net(nn.Module):
    """A forward function and its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def alone(model, x, y):
    """(B,) norms, one example at a time."""
    parameters = list(model.parameters())
    rows = [F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]) for i in range(len(y))]
    grads = [torch.autograd.grad(loss, parameters, materialize_grads=True) for loss in rows]
    return torch.stack([torch.stack([g.norm() for g in each]).norm() for each in grads]).detach()


def test_a_parameter_that_matters_on_a_later_batch_is_not_left_out():
    def run(m, x):
        h = m.mix(x)
        return m.head((h * m.p if x.shape[1] > 4 else h).mean(1))

    net = Net(run, mix=nn.Linear(5, 6), p=nn.Parameter(torch.ones(6)), head=nn.Linear(6, 3)).eval()
    engine, y = PerExample(net), torch.arange(8) % 3
    layer_norms(engine, torch.randn(8, 3, 5), y)
    with pytest.raises(OptionError, match="no loss of the first batch depended on p, but one of this batch does"):
        layer_norms(engine, torch.randn(8, 6, 5), y)


def test_an_average_is_found_also_where_losses_are_small():
    net = nn.Linear(5, 3).eval()
    nn.init.zeros_(net.weight)
    nn.init.zeros_(net.bias)
    net.weight.data[0] = 2
    x, y = torch.rand(16, 5) + 0.8, torch.zeros(16, dtype=torch.int64)
    averaged = lambda o, t: F.cross_entropy(o, t, reduction="none") / len(t)  # noqa: E731
    with pytest.raises(OptionError, match="the loss is an average, or the model mixes"):
        grad_norms(net, x, y, averaged)
    mixing = Net(lambda m, x: m.head(x - 0.3 * x.mean(0)), head=net).eval()
    with pytest.raises(OptionError, match="mixes the examples"):
        grad_norms(mixing, x, y)


def test_copies_whose_gradients_are_0_at_first_have_the_right_shape():
    net = Net(lambda m, x: m.head((F.relu(x) * m.g).sum(1)), g=nn.Parameter(torch.ones(4)), head=nn.Linear(4, 3)).eval()
    x, y = torch.randn(8, 3, 4), torch.arange(8) % 3
    x[:3] = -1
    try:
        torch.testing.assert_close(grad_norms(net, x, y), alone(net, x, y), rtol=1e-4, atol=1e-6)
    except OptionError as error:  # refusing it is right too
        assert "the per-example gradient of the model (Net) is not known" in str(error)


def test_convolutions_of_other_groups_may_share_a_weight():
    first, second = nn.Conv2d(4, 8, 3, padding=1, bias=False), nn.Conv2d(8, 8, 3, padding=1, groups=2, bias=False)
    second.weight = first.weight
    net = Net(lambda m, x: m.head(m.b(m.a(x).tanh()).mean((2, 3))), a=first, b=second, head=nn.Linear(8, 3)).eval()
    x, y = torch.randn(5, 4, 6, 6), torch.arange(5) % 3
    torch.testing.assert_close(grad_norms(net, x, y), alone(net, x, y), rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (torch.zeros(4), "the targets are torch.float32"),
        ([0, 1, 2, 0], "the targets are list: give one label for each of the 4 examples, as a tensor"),
        (np.array([0, 1, 2, 0]), "the targets are ndarray: give one label for each of the 4 examples, as a tensor"),
        (None, "the targets are NoneType: give one label"),
        (torch.tensor([0, 1]), r"targets of shape \(2,\) for 4 examples"),
        (torch.zeros(4, 1, dtype=torch.int64), r"of shape \(B, 1\): give one label for each example, integers"),
    ],
)
def test_targets_that_are_not_labels(y, words):
    with pytest.raises(OptionError, match=words):
        grad_norms(nn.Linear(5, 3).eval(), torch.randn(4, 5), y)


@pytest.mark.parametrize("x", [np.zeros((4, 5), np.float32), [[0.0] * 5] * 4, "digits", None, torch.tensor(0.0)])
def test_inputs_without_a_tensor(x):
    model, y = nn.Linear(5, 3).eval(), torch.tensor([0, 1, 2, 0])
    with pytest.raises(OptionError, match=rf"the inputs are {type(x).__name__}, without a tensor \(B, …\)"):
        grad_norms(model, x, y)
    with pytest.raises(OptionError, match="the inputs are"):
        input_gradient_maps(model, x, y)


def test_a_model_that_is_only_named():
    x, y = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    for measure in (grad_norms, input_gradient_maps):
        with pytest.raises(OptionError, match="the model is a str: give a network"):
            measure("datadiet:mlp", x, y)


def test_labels_may_be_of_any_integer_type():
    net, x = nn.Linear(5, 3).eval(), torch.randn(4, 5)
    y = torch.tensor([0, 1, 2, 0])
    assert torch.equal(grad_norms(net, x, y.int()), grad_norms(net, x, y))


def test_an_empty_batch_inference_mode_and_another_fallback_are_refused():
    net = nn.Linear(5, 3).eval()
    with pytest.raises(OptionError, match=r"^the batch is empty: give at least one example\.$"):
        grad_norms(net, torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64))
    with (
        torch.inference_mode(),
        pytest.raises(OptionError, match=r"^gradients .*inference_mode\(\): leave it for this call\.$"),
    ):
        grad_norms(net, torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(OptionError, match="fallback='loop': give 'vmap'"):
        grad_norms(net, torch.zeros(2, 5), torch.zeros(2, dtype=torch.int64), fallback="loop")


def flat(*layers):
    return lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 16), *layers, nn.Linear(16, 10))


class AlwaysDropping(nn.Module):
    """Dropout that evaluation mode does not switch off."""

    def forward(self, x):
        return F.dropout(x)


@pytest.mark.parametrize("scorers", ["vog", "influence", "knn_shapley", "grand"])
@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (AlwaysDropping(), "when they are run again: something in the model still draws"),
        (nn.BatchNorm1d(16, track_running_stats=False), r"\(BatchNorm1d\) normalises by the statistics of the batch"),
    ],
)
def test_no_pass_measures_a_network_that_mixes_examples(tmp_path, scorers, layer, words):
    with pytest.raises(OptionError, match=words):
        dd.score("digits", flat(layer), scorers, epochs=2, reference="10%", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_inputs_may_be_named():
    net = Net(lambda m, x: m.head(x), head=nn.Linear(5, 3)).eval()
    x, y = torch.randn(4, 5), torch.tensor([0, 1, 2, 0])
    assert torch.equal(grad_norms(net, {"x": x}, y), grad_norms(net, x, y))
