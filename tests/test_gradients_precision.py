"""Gradients under bfloat16 autocast and TF32: near those in float32, and checked with a tolerance that fits."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from datadiet.errors import OptionError
from datadiet.models import networks
from datadiet.signals.gradients import (
    KroneckerFactors,
    PerExample,
    Projector,
    grad_norms,
    gradient_dots,
    precision,
    projected,
    reference_gradient,
    squared_norm,
    terms,
)
from datadiet.signals.gradients.rules import rule_for
from datadiet.signals.gradients.tape import UnknownGradient

N = 64
TOLERANCE = 5e-2  # of bfloat16, as the docs state it


class Net(nn.Module):
    """A forward function and its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def words():
    def run(m, i):
        x = m.table(i) + m.places(torch.arange(6)) + m.shift
        z = m.norm(x)
        return m.head((x + m.attend(z, z, z, need_weights=False)[0]).mean(1))

    parts = {"attend": nn.MultiheadAttention(8, 2, batch_first=True), "norm": nn.LayerNorm(8), "head": nn.Linear(8, 3)}
    net = Net(run, table=nn.Embedding(20, 8), places=nn.Embedding(6, 8), shift=nn.Parameter(torch.randn(8)), **parts)
    return net, torch.randint(0, 20, (N, 6))


def shapes():
    parts = [nn.Conv2d(3, 8, 3, groups=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=2), nn.PReLU(8)]
    parts += [nn.InstanceNorm2d(8, affine=True), nn.ConvTranspose2d(8, 4, 3), nn.Flatten(), nn.Linear(144, 3)]
    return nn.Sequential(*parts), torch.randn(N, 3, 8, 8)


NETS = {
    "words": words,
    "shapes": shapes,
    "residual": lambda: (networks.resnet8((3, 32, 32), 3), torch.randn(N, 3, 32, 32)),
    "channels last": lambda: (
        networks.resnet8((3, 32, 32), 3).to(memory_format=torch.channels_last),
        torch.randn(N, 3, 32, 32).to(memory_format=torch.channels_last),
    ),
}


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def half():
    return torch.autocast("cpu", torch.bfloat16)


def ranks_correlate(a, b):
    ranks = torch.stack([a, b]).double().argsort(1).argsort(1).double()
    return float(torch.corrcoef(ranks)[0, 1])


@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_norms_under_bfloat16_are_near_those_in_float32(make):
    net, x = make()
    net, y = net.eval(), torch.arange(N) % 3
    wanted = grad_norms(net, x, y)
    with half():
        found = grad_norms(net, x, y)
    assert found.dtype == torch.float32 and not torch.equal(found, wanted)
    torch.testing.assert_close(found, wanted, rtol=TOLERANCE, atol=0)
    assert ranks_correlate(found, wanted) > 0.99


@pytest.mark.parametrize("make", [words, shapes])
def test_all_that_is_made_of_gradients_is_near_and_in_float32(make):
    net, x = make()
    net, y = net.eval(), torch.arange(N) % 3

    def measured(context):
        with context:
            engine, batch = PerExample(net), (x, y)
            vector, columns = reference_gradient(engine, [batch]), {}
            columns |= gradient_dots(engine, vector, *batch) | {"projected": projected(engine, Projector(16), *batch)}
            factors = KroneckerFactors.collect(engine, [batch], torch.Generator().manual_seed(0))
            return columns | {"kfac": factors.self_influence(*batch, mode="kfac")}

    wanted, found = measured(nullcontext()), measured(half())
    for name, values in wanted.items():
        assert found[name].dtype == torch.float32
        scale = values.abs().max() if name in ("grad_dot", "grad_cos", "projected") else values
        assert ((found[name] - values).abs() / scale).max() < 2 * TOLERANCE, name  # squared in kfac


def test_sums_are_added_up_in_float32():
    """Every term of bfloat16 factors gives the norm of those factors, not a rounded one."""
    net, x = shapes()
    kept = {}
    with half():
        PerExample(net.eval())(x, torch.arange(N) % 3, lambda name, found: kept.setdefault(name, squared_norm(found)))
    for squares in kept.values():
        assert squares.dtype == torch.float32
        assert (squares != squares.bfloat16().float()).float().mean() > 0.9


def test_a_wrong_gradient_is_found_out_under_bfloat16(monkeypatch):
    """Groups that share, as in BackPACK and fastDP: a factor of about sqrt(2)."""
    net, x = shapes()

    def without_groups(layer, x, grad):
        term = rule_for(layer)(layer, x, grad)["weight"]()
        a, b = (factor.movedim(1, -2).flatten(-2).unsqueeze(1) for factor in (term.a, term.b))
        return {"weight": lambda: replace(term, inputs=lambda: a, b=b, squares=None), "bias": lambda: None}

    broken = net[3]
    broken.bias.requires_grad_(False)
    monkeypatch.setattr(
        "datadiet.signals.gradients.instrumentation.rule_for", lambda m: without_groups if m is broken else rule_for(m)
    )
    with half(), pytest.raises(UnknownGradient, match=r"of 3 \(Conv2d\) is not known: for 3.weight it has norm"):
        grad_norms(net.eval(), x, torch.arange(N) % 3)


def test_what_mixes_examples_is_found_out_under_bfloat16():
    net = Net(lambda m, x: m.head(x - x.mean(0)), head=nn.Linear(6, 3)).eval()
    with half(), pytest.raises(OptionError, match="mixes the examples"):
        grad_norms(net, torch.randn(N, 6), torch.arange(N) % 3)


def test_float16_is_refused():
    net, x = nn.Linear(6, 3).eval(), torch.randn(N, 6)
    with (
        torch.autocast("cpu", torch.float16),
        pytest.raises(OptionError, match=r"float16 autocast.*use torch.bfloat16"),
    ):
        grad_norms(net, x, torch.arange(N) % 3)


@pytest.mark.parametrize("outside", [False, True])
def test_mixed_precision_inside_the_model_is_refused_unless_all_of_it_is(outside):
    def run(m, x):
        with half():
            return m.head(m.a(x).tanh())

    net, x, y = Net(run, a=nn.Linear(6, 6), head=nn.Linear(6, 3)).eval(), torch.randn(N, 6), torch.arange(N) % 3
    if outside:
        with half():
            assert grad_norms(net, x, y).all()
    else:
        with pytest.raises(OptionError, match=r"^a runs under torch.autocast but the rest of the model does not"):
            grad_norms(net, x, y)


def kind_of(dtype, device):
    return SimpleNamespace(dtype=dtype, device=torch.device(device))


def test_the_tolerance_follows_from_the_precision(monkeypatch):
    single, double = kind_of(torch.float32, "cuda"), kind_of(torch.float64, "cuda")
    monkeypatch.setattr(precision, "_allowed", lambda old, new: False)
    assert precision.tolerance_of(double).norm == 1e-8
    assert precision.tolerance_of(double, single).norm == 2e-3
    assert precision.tolerance_of(kind_of(torch.bfloat16, "cuda"), single).norm == TOLERANCE
    monkeypatch.setattr(precision, "_allowed", lambda old, new: old is torch.backends.cudnn)
    assert precision.tolerance_of(single).norm == 1e-2 and precision.tolerance_of(double).norm == 1e-8
    assert precision.tolerance_of(kind_of(torch.float32, "cpu")).norm == 2e-3
    with half():
        assert precision.tolerance_of(kind_of(torch.float32, "cpu")).norm == TOLERANCE


@pytest.mark.parametrize(
    "new,all_kinds,old,allowed",
    [("tf32", "none", False, True), ("ieee", "tf32", True, False), ("none", "tf32", False, True),
     ("none", "none", True, False), (None, "none", True, True), (None, "none", False, False)],
)  # fmt: skip
def test_whether_tf32_is_allowed_by_either_switch(new, all_kinds, old, allowed, monkeypatch):
    monkeypatch.setattr(torch.backends, "fp32_precision", all_kinds, raising=False)
    switch = SimpleNamespace() if new is None else SimpleNamespace(fp32_precision=new)
    assert precision._allowed(SimpleNamespace(allow_tf32=old), switch) is allowed


def test_products_of_rounded_factors_are_not_added_up_with_both_signs(monkeypatch):
    a, b = torch.randn(3, 1, 2, 60), torch.randn(3, 1, 2, 50)
    term = terms.OuterProduct(lambda: a, b, 1, lambda v: v, b, lambda g: g)
    wanted = squared_norm([term]), squared_norm([term, term])
    monkeypatch.setattr(terms, "_gram", lambda *_: pytest.fail("by products of rounded factors"))
    with pytest.raises(pytest.fail.Exception):
        squared_norm([term])
    monkeypatch.setattr(terms, "rounds_products", lambda device: True)
    for found, squares in zip((squared_norm([term]), squared_norm([term, term])), wanted, strict=True):
        torch.testing.assert_close(found, squares, rtol=1e-5, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("kind", ["tf32", "bf16"])
@pytest.mark.parametrize("make", [shapes, NETS["channels last"]])
def test_norms_on_a_gpu_are_near_those_in_float32(make, kind):
    net, x = make()
    net, x, y = net.cuda().eval(), x.cuda(), torch.arange(N) % 3
    held = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def allow(matmul, cudnn):
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn

    try:
        allow(False, False)
        wanted = grad_norms(net, x, y)
        allow(kind == "tf32", kind == "tf32")
        with torch.autocast("cuda", torch.bfloat16, enabled=kind == "bf16"):
            found = grad_norms(net, x, y)
    finally:
        allow(*held)
    torch.testing.assert_close(found, wanted, rtol={"tf32": 1e-2, "bf16": TOLERANCE}[kind], atol=0)
    assert ranks_correlate(found.cpu(), wanted.cpu()) > 0.99
