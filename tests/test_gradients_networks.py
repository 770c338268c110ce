"""Per-example gradients of what networks do with layers: bare parameters, weights used twice, changes in place."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadiet.signals.gradients import PerExample, layer_norms

BATCH = 5  # more examples than the engine checks itself on


def check_agree(model, x, tolerance=1e-10):
    """Check the norms of every layer against autograd, one example at a time; returns them."""
    model, y = model.double().eval(), torch.arange(len(x)) % 3
    got = layer_norms(PerExample(model), x, y)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    wanted = {name.rpartition(".")[0]: torch.zeros(len(x), dtype=torch.float64) for name in named}
    for i in range(len(x)):
        loss = F.cross_entropy(model(x[i : i + 1]), y[i : i + 1])
        grads = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
        for name, grad in zip(named, grads, strict=True):
            wanted[name.rpartition(".")[0]][i] += grad.square().sum()
    assert list(got) == list(wanted)
    whole = sum(wanted.values())
    assert whole.min() > 0
    for layer, squares in wanted.items():  # relative to the total where the loss hardly depends on a layer
        error = (got[layer].sqrt() - squares.sqrt()).abs() / (squares + 1e-6 * whole).sqrt()
        assert float(error.max()) <= tolerance, layer
    torch.testing.assert_close(sum(got.values()), whole, rtol=2 * tolerance, atol=0)
    return got


class Net(nn.Module):
    """A forward function, its parts, and a head."""

    def __init__(self, run, width=6, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)
        self.head = nn.Linear(width, 3)

    def forward(self, *inputs):
        return self.head(self.run(self, *inputs))


def weight(*shape):
    return nn.Parameter(torch.randn(shape))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def numbers(*shape):
    return torch.randn(BATCH, *shape, dtype=torch.float64)


IDS = torch.tensor([[1, 2, 0, 2], [3, 0, 0, 3], [4, 4, 4, 4], [1, 2, 3, 4], [0, 0, 0, 5]])


BARE = {
    "scalar": ((), lambda m, x: x.sum(1) * m.w),
    "a scale of each channel (D,)": ((6,), lambda m, x: (x * m.w).tanh().sum(1)),
    "a scale (D,) of vectors": ((6,), lambda m, x: x[:, 0] * m.w),
    "positions (1, T, D)": ((1, 4, 6), lambda m, x: (x + m.w).tanh().sum(1)),
    "positions (T, D)": ((4, 6), lambda m, x: (x + m.w).tanh().sum(1)),
    "a class token": ((1, 1, 6), lambda m, x: torch.cat([m.w.expand(len(x), -1, -1), x], 1).cumsum(1).tanh().sum(1)),
    "a scale of each map (C, 1, 1)": ((4, 1, 1), lambda m, x: (x.view(-1, 4, 3, 2) * m.w).tanh().sum(1).flatten(1)),
    "a diagonal": ((6, 6), lambda m, x: (x * m.w.diagonal(0, -2, -1).unsqueeze(-2)).tanh().sum(1)),
    "in-place": ((6,), lambda m, x: (x * 1).mul_(m.w).sum(1)),
    "twice": ((6,), lambda m, x: (torch.tanh(x * m.w) * m.w).sum(1)),
    "that the loss does not depend on": ((6,), lambda m, x: (x + 0 * x.detach()).sum(1)),
}


@pytest.mark.parametrize("shape,run", BARE.values(), ids=BARE)
def test_bare_parameters(shape, run):
    net = Net(run, w=weight(*shape))
    assert set(check_agree(net, numbers(4, 6))) == {"", "head"}


def test_bare_parameters_of_many_kinds_at_once():
    scales = nn.ParameterList([weight(6), weight(1, 4, 1)])

    def run(m, x):
        return (m.mix(x * m.scales[0]) * m.scales[1] + m.block.shift).tanh().sum(1) * m.temperature

    block = nn.Module()
    block.shift = weight(4, 1)
    net = Net(run, mix=nn.Linear(6, 6), scales=scales, block=block, temperature=weight())
    assert set(check_agree(net, numbers(4, 6))) == {"", "mix", "scales", "block", "head"}


def twice(m, x):
    return m.w(F.relu(m.w(x), inplace=True)).mean((2, 3))


def thrice(m, x):
    return (m.w(x) + m.w(torch.tanh(m.w(x)))).sum(1)


def sizes(m, x):
    return m.w(F.avg_pool2d(m.w(x), 2)).mean((2, 3)) + m.w(x).mean((2, 3))


REPEATED = {
    "linear": (thrice, lambda: nn.Linear(6, 6), (4, 6)),
    "linear, of vectors": (lambda m, x: m.w(torch.tanh(m.w(x))), lambda: nn.Linear(6, 6), (6,)),
    "convolution": (twice, lambda: nn.Conv2d(6, 6, 3, padding=1), (6, 4, 4)),
    "convolution in groups": (twice, lambda: nn.Conv2d(6, 6, 3, padding=1, groups=3), (6, 4, 4)),
    "convolution of two sizes": (sizes, lambda: nn.Conv2d(6, 6, 3, padding=1), (6, 6, 6)),
    "norm of two sizes": (sizes, lambda: nn.GroupNorm(2, 6), (6, 6, 6)),
    "batch norm": (twice, lambda: nn.BatchNorm2d(6), (6, 4, 4)),
    "one use without gradient": (lambda m, x: (m.w(x) * m.w(-x).detach()).sum(1), lambda: nn.Linear(6, 6), (4, 6)),
    "one use without effect": (lambda m, x: (m.w(x), m.w(-x))[0].sum(1), lambda: nn.Linear(6, 6), (4, 6)),
    "vectors and rows": (lambda m, x: m.w(m.w(x).tanh().sum(1)), lambda: nn.Linear(6, 6), (4, 6)),
}  # fmt: skip


@pytest.mark.parametrize("run,layer,shape", REPEATED.values(), ids=REPEATED)
def test_a_layer_that_is_called_several_times(run, layer, shape):
    check_agree(Net(run, w=layer()), numbers(*shape))


def test_a_layer_that_has_two_names():
    shared = nn.Linear(6, 6)
    assert set(check_agree(Net(lambda m, x: m.b(m.a(x).tanh()), a=shared, b=shared), numbers(6))) == {"a", "head"}


@pytest.mark.parametrize("padding", [None, 2])
def test_an_embedding_that_is_also_the_last_layer(padding):
    def run(m, i):
        h = torch.tanh(m.mix(m.table(i)) + m.table(i.flip(1)))
        return (m.out(h) * m.out(h.flip(1))).sum(1)

    net = Net(run, table=nn.Embedding(6, 5, padding_idx=padding), mix=nn.Linear(5, 5), out=nn.Linear(5, 6, bias=False))
    net.out.weight = net.table.weight
    assert set(check_agree(net, IDS)) == {"table", "mix", "head"}


def test_tied_weights_of_other_layers():
    net = Net(
        lambda m, x: m.up(m.down(x).relu_()).mean((2, 3)), down=nn.Conv2d(6, 6, 3), up=nn.ConvTranspose2d(6, 6, 3)
    )
    net.up.weight = net.down.weight
    check_agree(net, numbers(6, 4, 4))
    net = Net(lambda m, x: m.b(m.a(x).tanh()).sum(1), a=nn.Linear(6, 6), b=nn.Linear(6, 6))
    net.b.weight, net.b.bias = net.a.weight, net.a.bias
    check_agree(net, numbers(4, 6))


def residual(m, x):
    out = m.norm(m.conv(x))
    out += x
    out = F.relu(out, inplace=True)
    again = m.conv(out)
    again *= m.scale
    return again.mean((2, 3))


def part_of_output(m, x):
    out = m.conv(x)
    out[:, 1:].mul_(2)
    out[:, 0] = 0.5
    return out.tanh().mean((2, 3))


IN_PLACE = {
    "residual": residual,
    "relu of the first layer": lambda m, x: m.conv(x).relu_().mean((2, 3)),
    "sum of two first layers": lambda m, x: m.conv(x).add_(m.norm(x)).relu_().mean((2, 3)),
    "relu of rows": lambda m, x: m.mix(x).relu_().mean((1, 2)),
    "relu of a view of rows": lambda m, x: m.mix(m.mix(x)).flatten(1).relu_().unflatten(1, (-1, 6)).mean(1),
    "part of the output": part_of_output,
    "output needed twice": lambda m, x: (lambda h: (h * m.conv(h).sigmoid_()).mean((2, 3)))(m.conv(x).relu_()),
}


@pytest.mark.parametrize("run", IN_PLACE.values(), ids=IN_PLACE)
def test_changes_in_place(run):
    parts = {"conv": nn.Conv2d(6, 6, 3, padding=1), "norm": nn.BatchNorm2d(6), "mix": nn.Linear(6, 6)}
    check_agree(Net(run, **parts, scale=weight(6, 1, 1)), numbers(6, 4, 6))


def windowed(m, x):
    """Each example in four rows of the first axis, like windows of attention."""
    rows = m.layer(x.unflatten(-1, (4, -1)).movedim(-2, 1).flatten(0, 1))
    return torch.tanh(rows).unflatten(0, (len(x), 4)).flatten(1)


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(2, 2), nn.Conv1d(3, 3, 1, groups=3), nn.BatchNorm1d(3), nn.LayerNorm(2), nn.PReLU(3)],
    ids=lambda layer: type(layer).__name__,
)
def test_an_example_in_several_rows(layer):
    check_agree(Net(windowed, width=24, layer=layer), numbers(3, 8))


def test_an_example_in_several_rows_of_embeddings_and_attention():
    def run(m, i):
        rows = m.table(i).flatten(0, 1)[:, None] * torch.ones(3, 1, dtype=torch.float64).cumsum(0)
        return m.a(rows, rows, rows)[0].mean(1).unflatten(0, i.shape).sum(1) + m.table(i.flatten()).view(-1, 4, 6).sum(
            1
        )

    net = Net(run, table=nn.Embedding(6, 6, padding_idx=0), a=nn.MultiheadAttention(6, 2, batch_first=True))
    check_agree(net, IDS)


def test_examples_on_the_second_axis():
    net = Net(lambda m, x: m.norm(m.mix(x.transpose(0, 1))).tanh().sum(0), mix=nn.Linear(6, 6), norm=nn.LayerNorm(6))
    check_agree(net, numbers(4, 6))
    net = Net(lambda m, i: m.mix(m.table(i.T)).tanh().sum(0), table=nn.Embedding(6, 6), mix=nn.Linear(6, 6))
    check_agree(net, IDS)


def test_unused_and_frozen_parameters_are_left_out():
    net = Net(lambda m, x: m.c(m.b(m.a(x).tanh()).tanh()), **{name: nn.Linear(6, 6) for name in "abcu"})
    net.b.requires_grad_(False)
    net.c.weight.requires_grad_(False)
    got = check_agree(net, numbers(6))
    assert set(got) == {"a", "c", "u", "head"} and not got["u"].any() and got["c"].all()


def test_a_layer_that_runs_without_gradient():
    def run(m, x):
        with torch.no_grad():
            fixed = m.a(x)
        return fixed + m.b(x)

    check_agree(Net(run, a=nn.Linear(6, 6), b=nn.Linear(6, 6)), numbers(6))


def test_a_model_with_only_unused_layers_trainable():
    net = Net(lambda m, x: x, unused=nn.Linear(2, 2)).eval()
    net.head.requires_grad_(False)
    got = layer_norms(PerExample(net), numbers(6).float(), torch.zeros(BATCH, dtype=torch.int64))
    assert {name: squares.tolist() for name, squares in got.items()} == {"unused": [0.0] * BATCH}


def test_inputs_that_require_a_gradient():
    net = Net(lambda m, x: m.a(x).tanh(), a=nn.Linear(6, 6))
    x = numbers(6)
    wanted = check_agree(net, x)
    x.requires_grad_()
    got = layer_norms(PerExample(net), x, torch.arange(BATCH) % 3)
    assert x.grad is None
    for name, squares in wanted.items():
        torch.testing.assert_close(got[name], squares)
