"""Per-example gradients of every kind of layer: against autograd, one example at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadiet.signals.gradients import PerExample, grad_norms, layer_norms, squared_norm

BATCH = 5  # more examples than the engine checks itself on


def alone(model, x, y):
    """parameter -> (B, *shape), by autograd, one example at a time."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = [
        torch.autograd.grad(
            F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), list(named.values()), materialize_grads=True
        )
        for i in range(len(y))
    ]
    return {name: torch.stack([row[k].to_dense() for row in rows]) for k, name in enumerate(named)}


def check_agree(model, x, tolerance=1e-10):
    """Norms, gradients and inner products of every parameter, each in units of its own size."""
    model = model.eval()
    y = torch.arange(len(x)) % 3
    found, wanted, engine = {}, alone(model, x, y), PerExample(model)
    engine(x, y, lambda name, terms: found.setdefault(name, []).append(terms))
    assert all(len(visits) == 1 for visits in found.values())
    for name, g in wanted.items():
        ((terms,),) = (found[name],)
        flat, v = g.flatten(1), torch.randn_like(g[0])
        dense = sum(term.dense(slice(None)) for term in terms)
        assert dense.shape == g.shape
        errors = {
            "norm": squared_norm(terms).sqrt() - flat.norm(dim=1),
            "dense": (dense - g).flatten(1).norm(dim=1),
            "dot": (sum(term.dot(v) for term in terms) - flat @ v.flatten()) / v.norm(),
        }
        for what, error in errors.items():
            relative = float((error.abs() / flat.norm(dim=1).clamp_min(1e-6)).max())
            assert relative <= tolerance, f"{what} of {name}"
    whole = sum(g.flatten(1).square().sum(1) for g in wanted.values())
    torch.testing.assert_close(sum(layer_norms(engine, x, y).values()), whole, rtol=2 * tolerance, atol=0)


class Net(nn.Module):
    """A forward function and its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def under_head(body, x):
    """body, tanh, and three logits, with rough weights, in float64."""
    with torch.no_grad():
        width = body.double()(x).flatten(1).shape[1]
    return rough(Net(lambda m, x: m.head(torch.tanh(m.body(x)).flatten(1)), body=body, head=nn.Linear(width, 3)))


def rough(model):
    """No weight is at its initial 0 or 1."""
    for module in model.modules():
        if getattr(module, "running_mean", None) is not None:
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    for p in model.parameters():
        if p.ndim == 1:
            nn.init.normal_(p, 0.5)
    return model.double()


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def numbers(*shape):
    return torch.randn(BATCH, *shape, dtype=torch.float64)


SPATIAL = {1: (9,), 2: (7, 6), 3: (6, 5, 5)}
CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
MODES = ["zeros", "reflect", "replicate", "circular"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(6,), (3, 6), (2, 3, 6), (2, 1, 3, 6)])
def test_linear(shape, bias):
    x = numbers(*shape)
    check_agree(under_head(nn.Sequential(nn.Linear(6, 4, bias=bias), nn.Tanh(), nn.Linear(4, 5, bias=bias)), x), x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolution(axes, stride, dilation, groups, mode, bias):
    x = numbers(4, *SPATIAL[axes])
    conv = CONV[axes](4, 8, 3, stride, 1, dilation, groups, bias, mode)
    check_agree(under_head(conv, x), x)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even")
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolution_with_padding_by_name(axes, kernel, dilation, mode, padding):
    x = numbers(4, *SPATIAL[axes])
    check_agree(under_head(CONV[axes](4, 4, kernel, 1, padding, dilation, 2, True, mode), x), x)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("stride", "dilation", "output_padding"), [(1, 1, 0), (2, 1, 0), (2, 1, 1), (1, 2, 1), (2, 3, 2), (3, 2, 0)]
)
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_transposed_convolution(axes, stride, dilation, output_padding, groups, bias):
    x = numbers(4, *[size - 2 for size in SPATIAL[axes]])
    conv = TRANSPOSED[axes](4, 8, 3, stride, 1, output_padding, groups, bias, dilation)
    check_agree(under_head(conv, x), x)


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(4, 6, (3, 2), (2, 1), (0, 2), (1, 2), 2),
        nn.Conv2d(4, 6, (3, 1), (1, 2), (1, 0), padding_mode="reflect"),
        nn.Conv3d(4, 6, (1, 2, 3), (1, 2, 1), (0, 1, 2), (2, 1, 1), padding_mode="circular"),
        nn.Conv2d(4, 6, 2, 3),  # the last pixels are in no window
        nn.Conv2d(4, 6, 1, 3),  # most are in none
        nn.ConvTranspose2d(4, 6, (3, 2), (2, 3), (0, 1), (1, 2), 2),
        nn.ConvTranspose3d(4, 6, (1, 2, 3), (1, 2, 1), (0, 1, 2)),
    ],
    ids=lambda conv: f"{type(conv).__name__}-{conv.kernel_size}",
)
def test_convolution_with_other_numbers_on_each_axis(conv):
    x = numbers(4, *{4: (8, 7), 5: (4, 5, 5)}[conv.weight.ndim])
    check_agree(under_head(conv, x), x)


def test_transposed_convolution_with_a_given_output_size():
    x = numbers(4, 4, 4)
    for size in (7, 8):
        up = nn.ConvTranspose2d(4, 4, 3, stride=2, padding=1)
        check_agree(under_head(Net(lambda m, x, size=size: m.up(x, output_size=[size, size]), up=up), x), x)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_layouts_in_memory(layout):
    x = numbers(4, 6, 6).to(memory_format=layout)
    body = nn.Sequential(nn.Conv2d(4, 4, 3, 2, 1), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3, groups=4))
    check_agree(under_head(body, x).to(memory_format=layout), x)


NORMS = {
    "LayerNorm": (nn.LayerNorm(6), (4, 6)),
    "LayerNorm of vectors": (nn.LayerNorm(6), (6,)),
    "LayerNorm of several axes": (nn.LayerNorm((4, 6), eps=0.1), (3, 4, 6)),
    "LayerNorm of every axis": (nn.LayerNorm((4, 6)), (4, 6)),
    "LayerNorm without bias": (nn.LayerNorm(6, bias=False), (4, 6)),
    "LayerNorm without weights": (nn.LayerNorm(6, elementwise_affine=False), (4, 6)),
    "RMSNorm": (nn.RMSNorm(6), (4, 6)),
    "RMSNorm of several axes": (nn.RMSNorm((4, 6), eps=0.1), (3, 4, 6)),
    "BatchNorm1d of vectors": (nn.BatchNorm1d(4), (4,)),
    "BatchNorm1d": (nn.BatchNorm1d(4, eps=0.1), (4, 6)),
    "BatchNorm2d": (nn.BatchNorm2d(4, momentum=None), (4, 3, 2)),
    "BatchNorm3d": (nn.BatchNorm3d(4), (4, 3, 2, 2)),
    "BatchNorm2d without weights": (nn.BatchNorm2d(4, affine=False), (4, 3, 2)),
    "GroupNorm of vectors": (nn.GroupNorm(2, 4), (4,)),
    "GroupNorm": (nn.GroupNorm(2, 4, eps=0.1), (4, 3, 2)),
    "GroupNorm of one group": (nn.GroupNorm(1, 4), (4, 3)),
    "InstanceNorm1d": (nn.InstanceNorm1d(4, affine=True), (4, 5)),
    "InstanceNorm2d": (nn.InstanceNorm2d(4, affine=True, eps=0.1), (4, 3, 2)),
    "InstanceNorm2d by running statistics": (nn.InstanceNorm2d(4, affine=True, track_running_stats=True), (4, 3, 2)),
    "InstanceNorm3d by running statistics": (nn.InstanceNorm3d(4, affine=True, track_running_stats=True), (4, 3, 2, 2)),
    "PReLU of vectors": (nn.PReLU(), (4,)),
    "PReLU": (nn.PReLU(), (4, 3, 2)),
    "PReLU for each channel": (nn.PReLU(4), (4, 3, 2)),
    "PReLU for each entry of a vector": (nn.PReLU(4), (4,)),
}


@pytest.mark.parametrize("layer,shape", NORMS.values(), ids=NORMS)
def test_norms_and_prelu(layer, shape):
    x = numbers(*shape)
    check_agree(under_head(nn.Sequential(layer, nn.Tanh()), x), x)
    check_agree(under_head(nn.Sequential(nn.Linear(shape[-1], shape[-1]), layer, nn.ReLU(inplace=True)), x), x)


class ChannelsFirst(nn.LayerNorm):
    """Like the LayerNorm2d of torchvision and timm."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class ChannelsLast(nn.LayerNorm):
    """Like timm's LayerNorm, which has its own forward function too."""

    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)


@pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 4), (4, 4, 4)])
@pytest.mark.parametrize("layer", [ChannelsFirst, ChannelsLast])
def test_layer_norm_of_channels(layer, shape):
    """Also if the image is as wide as it has channels, as in ConvNeXt's first stage at 384 pixels."""
    x = numbers(*shape) if layer is ChannelsFirst else numbers(*shape).movedim(1, -1)
    check_agree(under_head(layer(4), x), x)


IDS = torch.tensor([[1, 2, 0, 2], [3, 0, 0, 3], [4, 4, 4, 4], [1, 2, 3, 4], [0, 0, 0, 5]])


@pytest.mark.parametrize("padding", [None, 0, -1])
@pytest.mark.parametrize("ids", [IDS, IDS[:, 0], IDS.view(5, 2, 2), IDS.int()], ids=["BT", "B", "BTS", "int32"])
def test_embedding(ids, padding):
    table = nn.Embedding(6, 4, padding_idx=padding)
    check_agree(under_head(table, ids), ids)


def test_embedding_with_sparse_gradients():
    check_agree(under_head(nn.Embedding(6, 4, padding_idx=0, sparse=True), IDS), IDS)


def test_float32():
    body = nn.Sequential(
        nn.Conv2d(4, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3, 2, 1, groups=8),
        nn.GroupNorm(2, 8), nn.PReLU(), nn.ConvTranspose2d(8, 4, 3, 2), nn.InstanceNorm2d(4, affine=True),
        nn.Flatten(2), nn.LayerNorm(49), nn.Linear(49, 16), nn.RMSNorm(16),
    )  # fmt: skip
    x = numbers(4, 6, 6)
    net = under_head(body, x)
    y = torch.arange(BATCH) % 3
    wanted = sum(g.flatten(1).square().sum(1) for g in alone(net.eval(), x, y).values()).sqrt()
    got = grad_norms(net.float(), x.float(), y)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=0)
