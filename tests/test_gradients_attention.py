"""Per-example gradients of attention, which is split for them: against autograd, one example at a time."""

from __future__ import annotations

from contextlib import contextmanager

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadiet.signals.gradients import PerExample, layer_norms

BATCH = 5  # more examples than the engine checks itself on


@contextmanager
def ordinary_path():
    """Attention as in training; the fast path, which runs only without gradients, gives zeros at the padding."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def check_agree(model, x, tolerance=1e-10):
    """Check the norms of every layer against autograd, one example at a time; returns them."""
    model, y = model.double().eval(), torch.arange(len(x)) % 3
    got = layer_norms(PerExample(model), x, y)
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    wanted = {name.rpartition(".")[0]: torch.zeros(len(x), dtype=torch.float64) for name in named}
    for i in range(len(x)):
        with ordinary_path():
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


LATER = torch.ones(4, 4).triu(1).bool()
MASKS = {
    "none": lambda batch: None,
    "bool": lambda batch: LATER,
    "float": lambda batch: torch.zeros(4, 4).double().masked_fill(LATER, -torch.inf) + 0.1,
    "bool for each head": lambda batch: LATER.expand(2 * batch, 4, 4),
    "float for each head": lambda batch: torch.linspace(-1, 1, 16).double().view(4, 4).expand(2 * batch, 4, 4),
}


@pytest.mark.filterwarnings("ignore:Support for mismatched key_padding_mask")
@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("average", [None, True, False], ids=["no weights", "average", "each head"])
@pytest.mark.parametrize("batch_first", [True, False])
def test_self_attention(batch_first, average, mask, padded):
    def run(m, x):
        batch, z = len(x), x if batch_first else x.transpose(0, 1)
        ignored = torch.tensor([False, False, False, True]).expand(batch, 4) if padded else None
        options = {"need_weights": average is not None, "average_attn_weights": bool(average)}
        out, weights = m.a(z, z, z, key_padding_mask=ignored, attn_mask=MASKS[mask](batch), **options)
        assert (weights is None) == (average is None)
        out = (out if batch_first else out.transpose(0, 1)).sum(1)
        return out if weights is None else out + weights.flatten(1)[:, :6]

    check_agree(Net(run, a=nn.MultiheadAttention(6, 2, batch_first=batch_first)), numbers(4, 6))


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("kdim,vdim,bias", [(None, None, True), (5, 4, True), (5, None, False), (6, 6, False)])
def test_cross_attention(kdim, vdim, bias, batch_first, need_weights):
    def run(m, x):
        parts = x[:, :2, :6], x[:, :, : kdim or 6], x[:, :, : vdim or 6].tanh()
        parts = parts if batch_first else [part.transpose(0, 1) for part in parts]
        out, _ = m.a(*parts, need_weights=need_weights)
        return out.mean(1 if batch_first else 0)

    attention = nn.MultiheadAttention(6, 3, kdim=kdim, vdim=vdim, bias=bias, batch_first=batch_first)
    check_agree(Net(run, a=attention), numbers(4, 7))


@pytest.mark.parametrize(
    "frozen",
    [("in_proj_weight",), ("in_proj_bias", "out_proj.weight"), ("out_proj.weight", "out_proj.bias"), ("in_proj_bias",)],
)
def test_partly_frozen_attention(frozen):
    net = Net(lambda m, x: m.a(x, x, x)[0].sum(1) + m.a(x, x.flip(1), x)[0][:, 0], a=nn.MultiheadAttention(6, 2))
    for name in frozen:
        net.a.get_parameter(name).requires_grad_(False)
    net.a.batch_first = True
    check_agree(net, numbers(4, 6))


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}])
def test_an_attention_that_is_not_supported_can_be_frozen(options):
    net = Net(lambda m, x: m.a(x, x, x)[0].sum(1), a=nn.MultiheadAttention(6, 2, batch_first=True, **options))
    net.a.requires_grad_(False)
    assert set(check_agree(net, numbers(4, 6))) == {"head"}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_transformer(batch_first, norm_first, activation):
    options = {"batch_first": batch_first, "norm_first": norm_first, "activation": activation}
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, **options), 2, norm=nn.LayerNorm(6))
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(6, 2, 8, **options), 1)
    mask = nn.Transformer.generate_square_subsequent_mask(5).double()

    def run(m, x):
        x = torch.cat([m.token.expand(len(x), -1, -1), x], 1) + m.places
        x = x if batch_first else x.transpose(0, 1)
        x = m.e(x, mask=mask, is_causal=True)
        x = m.d(x, x.tanh(), tgt_mask=mask, tgt_is_causal=True)
        return x.mean(1 if batch_first else 0)

    net = Net(run, e=encoder, d=decoder, token=weight(1, 1, 6), places=weight(1, 5, 6))
    check_agree(net, numbers(4, 6))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("frozen", ["", "t", "e t"], ids=["nothing", "encoder", "all but the head"])
def test_transformer_with_padding(frozen):
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), 1)
    net = Net(lambda m, i: m.t(m.e(i), src_key_padding_mask=i == 0).mean(1), e=nn.Embedding(6, 6), t=encoder)
    for name in frozen.split():
        getattr(net, name).requires_grad_(False)
    check_agree(net, torch.tensor([[1, 2, 0, 0], [3, 0, 0, 0], [4, 4, 4, 4], [1, 2, 3, 0], [5, 5, 0, 0]]))


@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_in_a_second_batch(batch_first):
    """An engine keeps its instrumentation from the first batch."""
    attention = nn.MultiheadAttention(6, 2, batch_first=batch_first)
    net = Net(
        lambda m, x: m.a(x, x, x)[0].sum(1) if batch_first else m.a(*[x.transpose(0, 1)] * 3)[0].sum(0), a=attention
    )
    x, y = numbers(4, 6), torch.arange(BATCH) % 3
    wanted = check_agree(net, x)
    engine = PerExample(net)
    layer_norms(engine, x[2:], y[2:])
    got = layer_norms(engine, x, y)
    for name, squares in wanted.items():
        torch.testing.assert_close(got[name], squares)
