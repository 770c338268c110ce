"""Layers whose input all examples share, like positions by `arange`, and parameters in sequence-first networks."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadiet.signals.gradients import Explicit, Lookup, PerExample, Projector, gradient_dots, layer_norms, projected
from datadiet.signals.gradients.tape import UnknownGradient

T, D, V = 5, 6, 7  # positions, width, words


class Net(nn.Module):
    """A forward function and its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.run(self, *inputs)


def weight(*shape):
    return nn.Parameter(torch.randn(shape))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def words(batch, length=T):
    return torch.randint(0, V, (batch, length))


def numbers(batch, length=T):
    return torch.randn(batch, length, D, dtype=torch.float64)


def token_losses(logits, ids):
    """(B, T, V) and (B, T): the mean of the losses of the next tokens of each example."""
    return F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none").mean(1)


def alone(model, loss, x, y):
    """[{parameter: its gradient}], by autograd, one example at a time."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    rows = []
    for i in range(len(x)):
        total = loss(model(x[i : i + 1]), y[i : i + 1]).sum()
        found = torch.autograd.grad(total, list(named.values()), materialize_grads=True)
        rows.append(dict(zip(named, found, strict=True)))
    return rows


def check(model, draw, loss=None):
    """Check norms by layer, products and projections against autograd, with one engine for batches of several sizes."""
    model = model.double().eval()
    each = loss or (lambda z, y: F.cross_entropy(z, y, reduction="none"))
    engine = PerExample(model, loss or "cross_entropy")
    close = {"rtol": 1e-10, "atol": 1e-13}
    for batch in (7, 3, 1):
        x = draw(batch)
        y = x if loss else torch.arange(batch) % 3
        wanted = alone(model, each, x, y)
        squares = {name.rpartition(".")[0]: torch.zeros(batch, dtype=torch.float64) for name in engine.parameters}
        for name in engine.parameters:
            squares[name.rpartition(".")[0]] += torch.stack([row[name].square().sum() for row in wanted])
        got = layer_norms(engine, x, y)
        assert list(got) == list(squares)
        for layer, value in squares.items():
            torch.testing.assert_close(got[layer], value, rtol=2e-10, atol=1e-13, msg=layer)

        vector = {name: torch.randn_like(p) for name, p in engine.parameters.items()}
        dots: dict[str, torch.Tensor] = {}
        dense: dict[str, torch.Tensor] = {}

        def keep(name, terms, vector=vector, dots=dots, dense=dense):
            dots[name] = sum(term.dot(vector[name]) for term in terms)
            dense[name] = sum(term.dense(slice(None)) for term in terms)

        engine(x, y, keep)
        for name in dots:
            gradients = torch.stack([row[name] for row in wanted])
            torch.testing.assert_close(dense[name], gradients, **close, msg=name)
            torch.testing.assert_close(dots[name], (gradients * vector[name]).flatten(1).sum(1), **close, msg=name)
        whole = sum(dots.values())
        torch.testing.assert_close(gradient_dots(engine, vector, x, y)["grad_dot"], whole.float(), rtol=1e-5, atol=1e-6)
        check_projected(engine, x, y, wanted)
    return engine


def check_projected(engine, x, y, wanted):
    """A projection is linear: terms and gradients that are written out give the same result."""
    for method in ("kronecker", "fold"):
        projector = Projector(4, method=method)
        found: dict[str, torch.Tensor] = {}

        def keep(name, terms, found=found, projector=projector):
            found[name] = projector.project(name, engine.parameters[name], terms)

        engine(x, y, keep)
        for name, value in found.items():
            parameter = engine.parameters[name]
            rows = torch.stack([row[name] for row in wanted])
            one = [projector.project(name, parameter, [Explicit(row[None])]) for row in rows]
            torch.testing.assert_close(value, torch.cat(one), rtol=1e-10, atol=1e-12, msg=name)
        total = sum(found.values())
        torch.testing.assert_close(projected(engine, projector, x, y), total.float(), rtol=1e-5, atol=1e-6)


class Block(nn.Module):
    """Causal attention and an MLP, each after a norm."""

    def __init__(self, first):
        super().__init__()
        self.first = first
        self.norm, self.norm2 = nn.LayerNorm(D), nn.LayerNorm(D)
        self.attend = nn.MultiheadAttention(D, 2, batch_first=first)
        self.mlp = nn.Sequential(nn.Linear(D, 8), nn.GELU(), nn.Linear(8, D))

    def forward(self, x):
        length = x.shape[1 if self.first else 0]
        mask = torch.ones(length, length, dtype=torch.bool).triu(1)
        z = self.norm(x)
        x = x + self.attend(z, z, z, attn_mask=mask, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class GPT(nn.Module):
    """With a head that is the table of tokens."""

    def __init__(self, axes="(T,)", tied=True):
        super().__init__()
        self.axes = axes
        self.tokens, self.places = nn.Embedding(V, D), nn.Embedding(9, D)
        self.blocks = nn.ModuleList(Block(axes != "(T, 1)") for _ in range(2))
        self.norm, self.head = nn.LayerNorm(D), nn.Linear(D, V, bias=False)
        if tied:
            self.head.weight = self.tokens.weight

    def forward(self, ids):
        places = torch.arange(ids.shape[1])
        if self.axes == "(T, 1)":
            x = self.tokens(ids.T) + self.places(places[:, None])
        else:
            x = self.tokens(ids) + self.places(places if self.axes == "(T,)" else places[None])
        for block in self.blocks:
            x = block(x)
        out = self.head(self.norm(x))
        return out.transpose(0, 1) if self.axes == "(T, 1)" else out


@pytest.mark.parametrize("axes", ["(T,)", "(1, T)", "(T, 1)"])
def test_gpt(axes):
    engine = check(GPT(axes), words, token_losses)
    kinds: dict[str, set[type]] = {}
    engine(*[words(4)] * 2, lambda name, terms: kinds.update({name: {type(term) for term in terms}}))
    assert kinds["places.weight"] == {Lookup}  # no table for each example


def test_gpt_of_other_lengths():
    """The second batch is longer, the third has one position only."""
    model = GPT(tied=False).double().eval()
    engine = PerExample(model, lambda z, y: F.cross_entropy(z[:, -1], y[:, 0], reduction="none"))
    for length in (5, 8, 1):
        ids = words(4, length)
        got = sum(layer_norms(engine, ids, ids).values())
        rows = alone(model, engine.loss, ids, ids)
        torch.testing.assert_close(got, torch.stack([sum(g.square().sum() for g in r.values()) for r in rows]))


def test_positions_that_are_used_twice():
    """Once by place and once by the words, and again as the last layer."""

    def run(m, ids):
        x = m.table(ids) + m.table(torch.arange(ids.shape[1])) + m.table(torch.arange(ids.shape[1])[None].flip(1))
        return m.head(m.out(x.tanh()).tanh().sum(1))

    net = Net(run, table=nn.Embedding(V, D), out=nn.Linear(D, V, bias=False), head=nn.Linear(V, 3))
    net.out.weight = net.table.weight
    check(net, words)


SHARED = {
    "one row": lambda m, x: x.sum(1) + m.table(torch.tensor([2])),
    "one number": lambda m, x: x.sum(1) + m.table(torch.tensor(2)),
    "one number, for all positions": lambda m, x: (x + m.table(torch.tensor(2))).tanh().sum(1),
    "a token": lambda m, x: torch.cat([m.table(torch.tensor([[0]])).expand(len(x), -1, -1), x], 1).tanh().sum(1),
    "several layers": lambda m, x: (x + m.b(m.norm(m.a(m.places)).tanh())).tanh().sum(1),
    "several layers, of looked-up rows": lambda m, x: (x * m.b(m.table(torch.arange(T)).tanh())).tanh().sum(1),
    "the layer of the examples too": lambda m, x: (m.a(x) * m.a(m.places)).tanh().sum(1),
    "a state before the first step": lambda m, x: (m.a(x[:, 0]) + m.b(torch.ones(1, D).double())).tanh(),
    "in place": lambda m, x: (m.table(torch.arange(T)).mul_(2) + x).tanh().sum(1),
    "without gradient": lambda m, x: (x + m.a(m.places).detach()).tanh().sum(1) + m.b(x[:, 0]),
    "without gradient, elsewhere": lambda m, x: (m.a(x) + m.a(m.places)[None].detach()).tanh().sum(1),
    "without effect": lambda m, x: (m.a(m.places), x.tanh().sum(1))[1],
    "a convolution": lambda m, x: (m.conv(m.places.T[None]).transpose(1, 2) + x).tanh().sum(1),
}


@pytest.mark.parametrize("run", SHARED.values(), ids=SHARED)
def test_an_input_that_is_one_for_all(run):
    parts = {"a": nn.Linear(D, D), "b": nn.Linear(D, D), "norm": nn.LayerNorm(D), "table": nn.Embedding(T, D)}
    net = Net(lambda m, x: m.head(run(m, x)), **parts, conv=nn.Conv1d(D, D, 3, padding=1), head=nn.Linear(D, 3))
    net.register_buffer("places", torch.randn(T, D))
    check(net, numbers)


REFUSED = {
    "an axis of its own in front": lambda m, x: (x + m.table(torch.arange(T))[None]).tanh().sum(1),
    "as a matrix": lambda m, x: x.tanh().sum(1) @ F.normalize(m.table(torch.arange(D)), dim=0),
    "by a reshape": lambda m, x: (x + m.table(torch.arange(T)).view(T, D)).tanh().sum(1),
}


@pytest.mark.filterwarnings("ignore:The use of `x.T`")
@pytest.mark.parametrize("run", REFUSED.values(), ids=REFUSED)
def test_what_does_not_take_one_for_each_is_refused_by_name(run):
    net = Net(lambda m, x: m.head(run(m, x)), table=nn.Embedding(D, D), head=nn.Linear(D, 3)).double().eval()
    x, y = numbers(4), torch.arange(4) % 3
    with pytest.raises(
        UnknownGradient, match=r"table \(Embedding\) .* input, of shape \(.,\), is one for all examples"
    ):
        layer_norms(PerExample(net), x, y)
    got = sum(layer_norms(PerExample(net, fallback="vmap"), x, y).values())
    rows = alone(net, F.cross_entropy, x, y)
    torch.testing.assert_close(got, torch.stack([sum(g.square().sum() for g in row.values()) for row in rows]))


def test_a_repeat_of_the_wrong_axis_is_found_out():
    """With one position, copies on the first axis keep the mean over positions but not the gradients."""
    table, mix = nn.Embedding(1, D), nn.Linear(D, D)
    run = lambda m, x: m.head((m.mix(x.transpose(0, 1)) * m.table(torch.tensor([[0]]))).mean(0))  # noqa: E731
    net = Net(run, table=table, mix=mix, head=nn.Linear(D, 3)).double().eval()
    with pytest.raises(UnknownGradient, match="it has norm"):
        layer_norms(PerExample(net), numbers(4, 1), torch.arange(4) % 3)


def test_one_example_after_the_other_is_not_taken_for_one_for_all():
    net = Net(lambda m, x: torch.stack([m.head(row) for row in x.flatten(1)]), head=nn.Linear(T * D, 3))
    with pytest.raises(UnknownGradient, match=r"head \(Linear\)"):
        layer_norms(PerExample(net.double().eval()), numbers(4), torch.arange(4) % 3)


SEQUENCE_FIRST = {
    (T, 1, D): lambda m, x: x.transpose(0, 1) + m.w,
    (T, 1, 1): lambda m, x: x.transpose(0, 1) * m.w,
    (1, 1, D): lambda m, x: x.transpose(0, 1) * m.w,
    (T, 1, D, 1): lambda m, x: (x.transpose(0, 1)[..., None] * m.w).squeeze(-1),
    (1, T, 1, D): lambda m, x: (x.transpose(0, 1)[None] + m.w)[0],
}


@pytest.mark.parametrize("shape,run", SEQUENCE_FIRST.items(), ids=map(str, SEQUENCE_FIRST))
def test_bare_parameters_of_sequence_first_networks(shape, run):
    mixed = lambda m, x: m.head(m.mix(run(m, x)).tanh().cumsum(0).tanh().sum(0))  # noqa: E731
    check(Net(mixed, w=weight(*shape), mix=nn.Linear(D, D), head=nn.Linear(D, 3)), numbers)


def test_a_sequence_first_class_token():
    def run(m, x):
        x = torch.cat([m.token.expand(-1, x.shape[0], -1), x.transpose(0, 1)]) + m.places
        return m.head(m.attend(x, x, x)[0][0])

    parts = {"token": weight(1, 1, D), "places": weight(T + 1, 1, D), "attend": nn.MultiheadAttention(D, 2)}
    check(Net(run, **parts, head=nn.Linear(D, 3)), numbers)


def test_a_class_token_before_a_head_of_zeros():
    """Its gradient is 0 at first and still right later."""

    def run(m, x):
        return m.head(torch.cat([m.token.expand(len(x), -1, -1), x], 1).cumsum(1).tanh().sum(1))

    net = Net(run, token=weight(1, 1, D), head=nn.Linear(D, 3)).double().eval()
    nn.init.zeros_(net.head.weight)
    engine = PerExample(net)
    x, y = numbers(4), torch.arange(4) % 3
    assert not layer_norms(engine, x, y)[""].any()
    nn.init.normal_(net.head.weight)
    wanted = torch.stack([row["token"].square().sum() for row in alone(net, F.cross_entropy, x, y)])
    torch.testing.assert_close(layer_norms(engine, x, y)[""], wanted)


class Scaled(nn.Linear):
    """With an argument of its own, after the input."""

    def forward(self, x, scale=1.0, *, shift=0.0):
        return super().forward(x * scale) + shift


KEYWORDS = {
    "linear": lambda m, x: m.a(input=x).tanh().sum(1),
    "linear, also by position": lambda m, x: m.a(m.a(input=x).tanh()).sum(1),
    "norm": lambda m, x: m.norm(input=x).tanh().sum(1),
    "embedding": lambda m, x: (x + m.table(input=torch.arange(T))).tanh().sum(1),
    "other arguments first": lambda m, x: m.up(output_size=[11], input=x.transpose(1, 2)).tanh().sum(2),
    "a layer of one's own": lambda m, x: m.scaled(shift=1.0, x=x.tanh()).tanh().sum(1),
    "attention": lambda m, x: m.attend(key=x, value=x, query=x)[0].sum(1),
}


@pytest.mark.parametrize("run", KEYWORDS.values(), ids=KEYWORDS)
def test_layers_that_are_called_by_keyword(run):
    parts = {"a": nn.Linear(D, D), "norm": nn.LayerNorm(D), "table": nn.Embedding(T, D), "scaled": Scaled(D, D)}
    parts |= {"up": nn.ConvTranspose1d(D, D, 3, stride=2), "attend": nn.MultiheadAttention(D, 2, batch_first=True)}
    check(Net(lambda m, x: m.head(input=run(m, x)), **parts, head=nn.Linear(D, 3)), numbers)


def test_a_model_that_is_a_layer_called_by_keyword():
    net, x, y = nn.Linear(D, 3).eval(), torch.randn(4, D), torch.arange(4) % 3
    assert torch.equal(layer_norms(PerExample(net), {"input": x}, y)[""], layer_norms(PerExample(net), x, y)[""])


def test_an_argument_that_changes_what_the_layer_does_is_found_out():
    net = Net(lambda m, x: m.head(m.scaled(scale=3.0, x=x).tanh().sum(1)), scaled=Scaled(D, D), head=nn.Linear(D, 3))
    with pytest.raises(UnknownGradient, match=r"scaled \(Scaled\) is not known: for scaled.weight it has norm"):
        layer_norms(PerExample(net.double().eval()), numbers(4), torch.arange(4) % 3)
