"""Norms of the gradients of convolutions without a copy of all windows: which layers, and that they are right."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadiet.signals.gradients import PerExample, convolutions, layer_norms, products

LAYOUTS = {"rows": torch.channels_last, "groups": torch.contiguous_format}
LAYERS = {
    "padded": nn.Conv2d(8, 12, 3, padding=1, bias=False),
    "not padded": nn.Conv2d(9, 8, 3),
    "unequal": nn.Conv2d(8, 5, (2, 5), padding=(3, 0)),
    "spread": nn.Conv2d(8, 6, 3, padding=(2, 4), dilation=(2, 3)),
    "every second column": nn.Conv2d(8, 6, 3, stride=(1, 2), padding=1),
    "every second column, spread": nn.Conv2d(8, 6, (3, 2), stride=(1, 2), padding=2, dilation=(1, 3)),
}
WITH_WINDOWS = {
    "groups": (nn.Conv2d(8, 8, 3, groups=2), torch.float32),
    "circular": (nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), torch.float32),
    "same": (nn.Conv2d(8, 8, 3, padding="same"), torch.float32),
    "few channels": (nn.Conv2d(3, 8, 3), torch.float32),
    "one pixel": (nn.Conv2d(8, 8, 1), torch.float32),
    "large": (nn.Conv2d(48, 48, 3), torch.float32),
    "float64": (nn.Conv2d(8, 8, 3).double(), torch.float64),
    "few positions": (nn.Conv2d(8, 8, 3, stride=2, padding=1), torch.float32),
    "along a line": (nn.Conv1d(8, 8, 3), torch.float32),
}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def images(layer, layout, n=7):
    """Inputs and gradients of outputs."""
    x = torch.randn(n, layer.in_channels, 15, 18).to(memory_format=layout)
    return x, torch.randn(layer(x).shape).to(memory_format=layout)


def exact(layer, x, grad):
    """(B,) squared norms in float64, one example at a time."""
    weight = layer.weight.detach().double().requires_grad_()
    found = []
    for one, back in zip(x.double().split(1), grad.double().split(1), strict=True):
        out = F.conv2d(one, weight, None, layer.stride, layer.padding, layer.dilation)
        found.append(torch.autograd.grad(out, weight, back)[0].square().sum())
    return torch.stack(found)


@pytest.mark.parametrize("at_once", [1, 2500, 1 << 25])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
@pytest.mark.parametrize("way", LAYOUTS)
def test_the_shorter_way_is_right(way, layer, at_once, monkeypatch):
    x, grad = images(layer, LAYOUTS[way])
    monkeypatch.setattr(products, "working_set", lambda device: at_once)
    with torch.no_grad():
        found = convolutions.shorter_way(layer, x, grad)
        squares = found()
    assert found.func is getattr(convolutions, f"by_{way}")
    torch.testing.assert_close(squares.double(), exact(layer, x, grad), rtol=2e-6, atol=0)


@pytest.mark.parametrize("layer,dtype", WITH_WINDOWS.values(), ids=WITH_WINDOWS)
def test_other_layers_keep_their_windows(layer, dtype):
    size = (150,) if isinstance(layer, nn.Conv1d) else (15, 15)
    x = torch.randn(2, layer.in_channels, *size, dtype=dtype)
    assert convolutions.shorter_way(layer, x, layer(x)) is None


@pytest.mark.parametrize("at_once", [1, 30_000, 1 << 25])
@pytest.mark.parametrize("layer", [*LAYERS.values(), nn.Conv2d(48, 60, 3, padding=1)])
def test_on_an_accelerator_only_windows_of_one_row_are_copied(layer, at_once, monkeypatch):
    """Of large kernels too, as long as it is the gradients that are formed."""
    monkeypatch.setattr(convolutions, "_on_processor", lambda device: False)
    monkeypatch.setattr(products, "working_set", lambda device: at_once)
    x, grad = images(layer, torch.channels_last)
    with torch.no_grad():
        found = convolutions.shorter_way(layer, x, grad)
        squares = found()
    assert found.func is convolutions.by_rows
    torch.testing.assert_close(squares.double(), exact(layer, x, grad), rtol=2e-6, atol=0)
    assert convolutions.shorter_way(layer, *images(layer, torch.contiguous_format)) is None


def test_on_an_accelerator_products_of_positions_stay_where_they_are_cheaper(monkeypatch):
    layer = nn.Conv2d(256, 512, 3, padding=1)  # 270 * (2304 + 512) < 2304 * 512
    x, grad = (y.to("meta", memory_format=torch.channels_last) for y in images(layer, torch.channels_last))
    assert convolutions.shorter_way(layer, x, grad) is None
    monkeypatch.setattr(convolutions, "rounds_products", lambda device: True)  # in TF32 they lose their digits
    assert convolutions.shorter_way(layer, x, grad).func is convolutions.by_rows


@pytest.mark.filterwarnings("ignore:TF32 acceleration on top of oneDNN")
def test_where_windows_stay_the_better_way(monkeypatch):
    layer = LAYERS["padded"]
    x, grad = images(layer, torch.contiguous_format)
    assert convolutions.shorter_way(layer, x.to("meta"), grad.to("meta")) is None  # any device but a processor
    down = nn.Conv2d(8, 8, 3, stride=(2, 1), padding=1)
    assert convolutions.shorter_way(down, *images(down, torch.channels_last)) is None
    assert convolutions.shorter_way(down, *images(down, torch.contiguous_format)) is not None
    with torch.backends.mkldnn.flags(enabled=False):
        assert convolutions.shorter_way(layer, x, grad) is None


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_norms_alone_copy_no_windows(layout, monkeypatch):
    net = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding=1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    net, x, y = net.eval().to(memory_format=layout), images(LAYERS["padded"], layout)[0], torch.arange(7) % 3
    engine, terms = PerExample(net), {}
    engine(x, y, terms.__setitem__)
    (term,) = terms["0.weight"]
    wanted = replace(term, squares=None).squared_norm()
    dense, v = term.dense(slice(None)), torch.randn(8, 8, 3, 3)
    torch.testing.assert_close(dense.flatten(1).square().sum(1), wanted, rtol=1e-5, atol=0)
    torch.testing.assert_close(term.dot(v), (dense * v).flatten(1).sum(1), rtol=1e-4, atol=1e-6)

    def copied(*_):
        raise AssertionError("windows were made")

    monkeypatch.setattr(convolutions, "_unfold_windows", copied)
    bias = terms["0.bias"][0].squared_norm()
    torch.testing.assert_close(layer_norms(engine, x, y)["0"], wanted + bias, rtol=1e-5, atol=0)
