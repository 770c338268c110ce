"""The small networks: shapes, sizes, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from datadiet.models import HeadTap, open_model
from datadiet.models.catalog import NETWORKS

IMAGES = [(3, 32, 32), (1, 28, 28), (4, 64, 64), (3, 17, 23), (1, 8, 8)]


def build(name, shape, classes):
    return open_model(f"datadiet:{name}", shape, classes).fresh(0)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("shape", IMAGES)
def test_forward_and_backward(name, shape):
    model = build(name, shape, 5)
    logits = model(torch.randn(3, *shape))
    assert logits.shape == (3, 5) and torch.isfinite(logits).all()
    nn.functional.cross_entropy(logits, torch.tensor([0, 1, 2])).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    assert any(p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("shape", [(7,), (1, 2), (3, 4, 5)])
def test_mlp_takes_inputs_of_any_shape(shape):
    assert build("mlp", shape, 2)(torch.randn(2, *shape)).shape == (2, 2)


@pytest.mark.parametrize(
    ("name", "shape", "documented"),
    [
        ("mlp", (1, 8, 8), 26_000),
        ("cnn", (3, 32, 32), 0.1e6),
        ("resnet8", (3, 32, 32), 75_000),
        ("resnet20", (3, 32, 32), 270_000),
    ],
)
def test_parameter_counts_are_those_documented(name, shape, documented):
    assert abs(parameters(build(name, shape, 10)) / documented - 1) < 0.15


def test_resnet20_is_the_published_one():
    """He et al. 2016, table 6: 0.27 M parameters; 19 convolutions and one linear layer, shortcuts without weights."""
    model = build("resnet20", (3, 32, 32), 10)
    layers = [type(m) for m in model.modules()]
    assert (layers.count(nn.Conv2d), layers.count(nn.Linear)) == (19, 1)
    # 432 + 2*16 + stages: 6*(16*16*9 + 32) + (16*32*9 + 5*32*32*9 + 6*64) + (32*64*9 + 5*64*64*9 + 6*128) + 650
    assert parameters(model) == 269_722


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_ends_in_a_linear_head_with_bias(name):
    shape = (1, 8, 8) if name == "mlp" else (3, 32, 32)
    tap = HeadTap(build(name, shape, 4), torch.randn(2, *shape))
    assert tap.head is not None and tap.head.out_features == 4 and tap.head.bias is not None


@pytest.mark.parametrize("name", NETWORKS)
def test_an_evaluation_does_not_depend_on_the_rest_of_the_batch(name):
    model, x = build(name, (3, 16, 16), 4).eval(), torch.randn(6, 3, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(x)[2:3], model(x[2:3]), rtol=1e-4, atol=1e-5)
