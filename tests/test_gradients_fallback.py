"""Layers of unknown kind, run once more per example: against autograd, one example at a time, in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadiet.signals.gradients import PerExample, layer_norms
from datadiet.signals.gradients.tape import UnknownGradient


def check_agree(model, x, fallback="vmap"):
    """Check the norms of every layer against autograd, one example at a time."""
    model, y = model.double().eval(), torch.arange(len(x)) % 3
    got = layer_norms(PerExample(model, fallback=fallback), x, y)
    named = dict(model.named_parameters())
    wanted = {name.rpartition(".")[0]: torch.zeros(len(x), dtype=torch.float64) for name in named}
    for i in range(len(x)):
        grads = torch.autograd.grad(F.cross_entropy(model(x[i : i + 1]), y[i : i + 1]), list(named.values()))
        for name, grad in zip(named, grads, strict=True):
            wanted[name.rpartition(".")[0]][i] += grad.square().sum()
    assert list(got) == list(wanted)
    for name, squares in wanted.items():
        torch.testing.assert_close(got[name], squares, rtol=2e-10, atol=1e-15, msg=name)


class Net(nn.Module):
    """A forward function and its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def under_head(block):
    """(B, 4, 6) -> block -> (B, 4, 6) -> logits."""
    return Net(
        lambda m, x: m.head(m.block(m.mix(x)).tanh().sum(1)), mix=nn.Linear(6, 6), block=block, head=nn.Linear(6, 3)
    )


def weight(*shape):
    return nn.Parameter(torch.randn(shape))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def gram(w):
    """Uses its weight in a way that does not broadcast over copies."""
    return w @ w.t()


def unknown():
    return Net(lambda m, x: x @ gram(m.w), w=weight(6, 6))


class FusedNorm(nn.BatchNorm1d):
    """With its activation inside, like timm's BatchNormAct2d."""

    def forward(self, x):
        return torch.sigmoid(super().forward(x))


class StandardisedLinear(nn.Linear):
    """Like timm's weight-standardised convolutions."""

    def forward(self, x):
        w = self.weight - self.weight.mean(1, keepdim=True)
        return F.linear(x, w / w.norm(dim=1, keepdim=True), self.bias)


class Table(nn.Module):
    """A layer that sees no examples and whose output has a fixed shape, like the position bias of Swin V2."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Linear(6, 6)
        self.register_buffer("places", torch.randn(4, 6))

    def forward(self, x):
        return x + self.mlp(self.places).view(4, 6)


class PlacesOfMask(nn.Embedding):
    """Like OPT's positions: an embedding whose input is not the rows that it looks up."""

    def forward(self, mask):
        return super().forward(mask.cumsum(1).long() - 1)


def places_of_mask():
    return Net(lambda m, x: x + m.table(torch.ones_like(x[:, :, 0])), table=PlacesOfMask(4, 6))


def of_two_inputs():
    return Net(lambda m, x: m.pair(x, x.flip(1)), pair=nn.Bilinear(6, 6, 6))


def functional_use():
    """The parent uses a weight of its child without calling it."""
    return Net(lambda m, x: F.linear(m.child(x), gram(m.child.w)) + m.mix(x), child=unknown(), mix=nn.Linear(6, 6))


def never_called():
    return Net(lambda m, x: x @ gram(m.child.w) @ gram(m.other.w), child=unknown(), other=unknown())


def child_with_two_names():
    child = unknown()
    return Net(lambda m, x: F.linear(m.a(m.b(x).tanh()), gram(m.a.w)), a=child, b=child)


def borrowed():
    return Net(lambda m, x: F.linear(m.mix(x).tanh(), m.mix.weight), mix=nn.Linear(6, 6))


def with_bare_parameters():
    """One parameter broadcasts over the examples and the others do not: each is counted once."""
    return Net(lambda m, x: (x * m.scale) @ gram(m.w) + m.shift, scale=weight(6), w=weight(6, 6), shift=weight(6))


def with_a_list():
    return Net(lambda m, x: (x * m.p[0]) @ gram(m.p[1]), p=nn.ParameterList([weight(6), weight(6, 6)]))


def token_repeated():
    """`repeat` would turn the copies of a class token into a square of them."""

    def run(m, x):
        return (torch.cat([m.token.repeat(len(x), 1, 1), x], 1) * m.scale + m.places)[:, 1:].cumsum(1).flip(1)

    net = Net(run, token=weight(1, 1, 6), scale=weight(6), places=weight(1, 5, 6))
    net.run = lambda m, x: run(m, x) + m.token.repeat(len(x), 1, 1)
    return net


def normalised(kind):
    def make():
        return kind(nn.Linear(6, 6))

    return make


BLOCKS = {
    "unknown kind": unknown,
    "unknown kind, twice": lambda: nn.Sequential(layer := unknown(), nn.Tanh(), layer),
    "unknown kinds beside each other": lambda: nn.Sequential(unknown(), nn.Tanh(), unknown()),
    "fused norm": lambda: FusedNorm(4),
    "standardised weight": lambda: StandardisedLinear(6, 6),
    "the same for all examples": Table,
    "two inputs": of_two_inputs,
    "an embedding of something else than its input": places_of_mask,
    "a child's weight used by its parent": functional_use,
    "children that are not called": never_called,
    "a child with two names": child_with_two_names,
    "a linear layer's weight used twice": borrowed,
    "bare parameters beside it": with_bare_parameters,
    "a list of parameters": with_a_list,
    "class token repeated": token_repeated,
    "weight norm": normalised(torch.nn.utils.parametrizations.weight_norm),
    "spectral norm": normalised(torch.nn.utils.parametrizations.spectral_norm),
}


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("make", BLOCKS.values(), ids=BLOCKS)
def test_exact_with_vmap_and_refused_by_name_without(make):
    net = under_head(make())
    check_agree(net, torch.randn(5, 4, 6, dtype=torch.float64))
    with pytest.raises(UnknownGradient, match=r'per-example gradient of block.* is not known: .*fallback="vmap"'):
        check_agree(net, torch.randn(5, 4, 6, dtype=torch.float64), fallback=None)


def test_parameters_of_the_model_itself():
    net = Net(
        lambda m, x: m.head(((m.mix(x) * m.scale) @ gram(m.w) + m.shift).tanh().sum(1)),
        scale=weight(6), w=weight(6, 6), shift=weight(6), mix=nn.Linear(6, 6), head=nn.Linear(6, 3),
    )  # fmt: skip
    check_agree(net, torch.randn(5, 4, 6, dtype=torch.float64))
    with pytest.raises(UnknownGradient, match=r"of the model \(Net\)"):
        check_agree(net, torch.randn(5, 4, 6, dtype=torch.float64), fallback=None)


def test_a_weight_that_the_model_itself_borrows():
    net = Net(lambda m, i: F.linear(m.table(i).tanh().sum(1), m.table.weight), table=nn.Embedding(6, 4))
    check_agree(net, torch.randint(0, 6, (5, 7)))


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_bag_of_embeddings():
    net = Net(lambda m, i: m.head(m.bag(i)), bag=nn.EmbeddingBag(6, 4), head=nn.Linear(4, 3))
    check_agree(net, torch.randint(0, 6, (5, 7)))


def test_nothing_changes_where_every_layer_is_known():
    check_agree(under_head(nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6))), torch.randn(5, 4, 6, dtype=torch.float64))


def test_more_numbers_than_are_taken_at_once(monkeypatch):
    monkeypatch.setattr("datadiet.signals.gradients.rules.working_set", lambda device: 20)
    check_agree(under_head(unknown()), torch.randn(5, 4, 6, dtype=torch.float64))
