"""Wanda: sizes times norms of inputs, row by row, for every kind of layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.errors import DataError, OptionError
from datadiet.sparsity import sparsify
from datadiet.sparsity.input_norms import input_norms
from datadiet.sparsity.prunable import prunable
from datadiet.sparsity.wanda import wanda

pytestmark = pytest.mark.usefixtures("one_thread")


def in_batches(x, *sizes):
    return [Batch(part, torch.zeros(len(part), dtype=torch.int64), torch.arange(len(part))) for part in x.split(sizes)]


def norms(net, x, *sizes):
    return input_norms(net, prunable(net), in_batches(x, *sizes or (len(x),)))


def choose(net, x, sparsity, **given):
    return wanda(prunable(net), sparsity, model=net, batches=lambda n: in_batches(x, len(x)), **given)


def test_by_hand():
    """Inputs (3, 0, 1) and (4, 1, 0): norms 5, 1, 1. Scores 5 * 1, 4, 3 and 5 * 0.5, 2, -2.6: the largest of each row
    and, with two thirds of a row, the two largest."""
    net = nn.Linear(3, 2)
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[1.0, 4.0, 3.0], [0.5, 2.0, -2.6]]))
    x = torch.tensor([[3.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
    assert norms(net, x)["weight"].tolist() == [5, 1, 1]
    assert choose(net, x, 2 / 3)["weight"].tolist() == [[True, False, False], [False, False, True]]
    assert choose(net, x, 1 / 3)["weight"].tolist() == [[True, True, False], [True, False, True]]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2, "padding": 1},
        {"dilation": (2, 1), "padding": (2, 0), "groups": 2},
        {"padding": "same", "padding_mode": "reflect", "groups": 4},
        {"padding": (1, 2), "padding_mode": "circular", "stride": (1, 2)},
    ],
)
def test_the_inputs_of_a_convolution_are_what_each_weight_meets(options):
    """Each weight in turn, with the others 0: the norm of its output is |w| times that of its inputs."""
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 4, (3, 2), bias=False, **options)
    x = torch.randn(5, 4, 7, 6)
    found = norms(conv, x)["weight"].expand_as(conv.weight)
    alone = torch.zeros_like(conv.weight)
    for at in range(conv.weight.numel()):
        alone.view(-1)[at] = 1.0
        seen = torch.func.functional_call(conv, {"weight": alone}, (x,)).norm()
        assert found.reshape(-1)[at].item() == pytest.approx(seen.item(), rel=1e-5)
        alone.view(-1)[at] = 0.0


def test_convolutions_of_one_and_three_dimensions_and_single_images():
    torch.manual_seed(0)
    for conv, x in (
        (nn.Conv1d(2, 3, 3, padding=1, bias=False), torch.randn(4, 2, 9)),
        (nn.Conv3d(2, 3, 2, stride=2, bias=False), torch.randn(2, 2, 4, 4, 4)),
    ):
        found = norms(conv, x)["weight"].expand_as(conv.weight)[:1]
        ones = torch.eye(found[0].numel()).view(-1, *found.shape[1:])  # a filter for each weight
        rule = functional.conv1d if x.ndim == 3 else functional.conv3d
        seen = rule(x, ones, stride=conv.stride, padding=conv.padding).transpose(0, 1).flatten(1).norm(dim=1)
        torch.testing.assert_close(found.flatten(), seen)

    class OneByOne(nn.Module):
        def __init__(self, conv):
            super().__init__()
            self.conv = conv

        def forward(self, x):
            return torch.stack([self.conv(image) for image in x])

    conv, x = nn.Conv2d(2, 3, 3), torch.randn(4, 2, 5, 5)
    torch.testing.assert_close(norms(OneByOne(conv), x)["conv.weight"], norms(conv, x)["weight"])


class Attention(nn.Module):
    """Queries of one input, keys of another and values of a third."""

    def __init__(self, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, **options)

    def forward(self, x):
        keys = x[..., : self.attention.kdim].flip(1)
        values = 2 * x[..., : self.attention.vdim]
        query = x[..., :4]
        return self.attention(query, keys, value=values, need_weights=False)[0].mean(1)


@pytest.mark.parametrize("options", [{}, {"kdim": 3, "vdim": 2}, {"bias": False}])
def test_all_projections_of_attention_are_seen(options):
    torch.manual_seed(0)
    net, x = Attention(batch_first=True, **options), torch.randn(3, 6, 4)
    attention = net.attention.eval()
    found = norms(net, x, 2, 1)
    parts = [x, x[..., : attention.kdim], 2 * x[..., : attention.vdim]]
    sizes = [part.flatten(0, 1).norm(dim=0) for part in parts]
    names = ("q_proj_weight", "k_proj_weight", "v_proj_weight")
    if attention.in_proj_weight is None:
        for name, size in zip(names, sizes, strict=True):
            torch.testing.assert_close(found[f"attention.{name}"], size)
        weights = [getattr(attention, name) for name in names]
    else:
        thirds = found["attention.in_proj_weight"].split(4)
        for third, size in zip(thirds, sizes, strict=True):
            torch.testing.assert_close(third, size.expand(4, 4))
        weights = attention.in_proj_weight.chunk(3)
    biases = [0, 0, 0] if attention.in_proj_bias is None else attention.in_proj_bias.chunk(3)
    q, k, v = (
        (part.flip(1) if at == 1 else part) @ weight.T + bias
        for at, (part, weight, bias) in enumerate(zip(parts, weights, biases, strict=True))
    )
    q, k, v = (one.view(3, 6, 2, 2).transpose(1, 2) for one in (q, k, v))
    heads = ((q @ k.mT / 2**0.5).softmax(-1) @ v).transpose(1, 2).reshape(-1, 4)
    torch.testing.assert_close(found["attention.out_proj.weight"], heads.norm(dim=0))


def test_an_encoder_of_torch_does_not_go_past_the_hooks():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    net, x = nn.TransformerEncoder(layer, 2), torch.randn(4, 5, 8)
    before = torch.backends.mha.get_fastpath_enabled()
    masks = choose(net, x, 0.5)
    assert torch.backends.mha.get_fastpath_enabled() == before
    assert len(masks) == 8 and all(int(mask.sum()) * 2 == mask.numel() for mask in masks.values())
    reached = norms(net, x)
    torch.testing.assert_close(reached["layers.0.self_attn.in_proj_weight"][0], x.flatten(0, 1).norm(dim=0))


class Padded(nn.Module):
    """An encoder whose last two positions are padding, which torch would leave out of nested tensors."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)

    def forward(self, x):
        padding = torch.zeros(x.shape[:2], dtype=torch.bool)
        padding[:, 3:] = True
        return self.encoder(x, src_key_padding_mask=padding)


def test_an_encoder_with_padding():
    torch.manual_seed(0)
    net, x = Padded(), torch.randn(4, 5, 8)
    assert all(int(mask.sum()) * 2 == mask.numel() for mask in choose(net, x, 0.5).values())
    torch.testing.assert_close(
        norms(net, x)["encoder.layers.0.self_attn.in_proj_weight"][0], x.flatten(0, 1).norm(dim=0)
    )


@pytest.mark.parametrize("sizes", [(1,) * 12, (5, 7)])
def test_norms_do_not_depend_on_the_batches(sizes):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(), nn.Flatten(), nn.Linear(64, 3))
    x = torch.randn(12, 2, 6, 6)
    whole, parts = norms(net, x), norms(net, x, *sizes)
    for name in whole:
        torch.testing.assert_close(parts[name], whole[name], rtol=1e-5, atol=0)


def test_a_shared_weight_reads_what_all_its_layers_read():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(self.one(input=x))

    torch.manual_seed(0)
    net, x = Net(), torch.randn(5, 3)
    both = torch.cat([x, net.one(x)])
    torch.testing.assert_close(norms(net, x)["one.weight"], both.norm(dim=0))


def test_half_precision_is_squared_in_float32():
    """300 squared is more than float16 holds."""
    net, x = nn.Linear(3, 2).half(), torch.full((4, 3), 300.0).half()
    assert norms(net, x)["weight"].tolist() == [600, 600, 600]


@pytest.mark.parametrize(("sparsity", "kept"), [(0.5, 3), (0.51, 2), (0.6, 2), (0.99, 1)])
def test_every_row_keeps_as_many(sparsity, kept):
    """Of five: rounded half up, at least one."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Unflatten(1, (4, 1)), nn.Conv1d(4, 4, 1, groups=4), nn.Flatten())
    masks = choose(net, torch.randn(6, 5), sparsity)
    assert masks["0.weight"].sum(1).tolist() == [kept] * 4
    assert masks["3.weight"].all()  # whose rows have one weight


def test_within_groups_of_a_row():
    """2:4 by hand: norms 1, 2, 3, 4 | 1, 1 and equal weights."""
    net = nn.Linear(6, 1, bias=False)
    nn.init.ones_(net.weight)
    x = torch.tensor([[1.0, 2.0, 3.0, 4.0, 1.0, 1.0]])
    assert choose(net, x, 0.5, m=4)["weight"].int().tolist() == [[0, 0, 1, 1, 1, 1]]
    assert choose(net, x, 0.5)["weight"].int().tolist() == [[0, 1, 1, 1, 0, 0]]


class Others(nn.Module):
    """A matrix of its own, a layer that is never used, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor([[1.0, -3.0], [2.0, 0.5]]))
        self.unused, self.used = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x @ self.matrix)


def test_weights_without_known_inputs_are_refused_or_go_by_magnitude():
    torch.manual_seed(0)
    net, x = Others(), torch.randn(4, 2)
    with pytest.raises(OptionError, match=r"the inputs of matrix are not known.*keep_dense=.*others='magnitude'"):
        choose(net, x, 0.5)
    kept = choose(net, x, 0.5, others="magnitude")
    assert kept["matrix"].tolist() == [[False, True], [True, False]]
    sizes = net.unused.weight.abs()
    assert torch.equal(kept["unused.weight"], sizes == sizes.amax(1, keepdim=True))
    batches = [(x, torch.zeros(4, dtype=torch.int64))]
    masks = sparsify(net, "wanda", 0.5, batches=batches, keep_dense=["matrix", "unused"])
    assert masks.counts() == (2, 4)


def test_what_is_refused():
    net, x = nn.Linear(3, 2), torch.randn(4, 3)
    with pytest.raises(OptionError, match="examples=-1"):
        choose(net, x, 0.5, examples=-1)
    with pytest.raises(OptionError, match="m=1: give groups of at least 2"):
        choose(net, x, 0.5, m=1)
    with pytest.raises(OptionError, match="choose 'refuse' or 'magnitude'"):
        choose(net, x, 0.5, others="guess")
    with pytest.raises(DataError, match="NaN or infinite"):
        choose(net, x * torch.nan, 0.5)
