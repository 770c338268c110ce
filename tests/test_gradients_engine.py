"""The engine as a whole: independent of the batch, leaves the model unchanged, for any loss and any layer."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from datadiet.signals import output_signals
from datadiet.signals.gradients import PerExample, grad_norms, layer_norms


def alone(model, inputs, y, loss=F.cross_entropy):
    """layer -> (B,) squared norms, by autograd, one example at a time."""
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    squares = {name.rpartition(".")[0]: torch.zeros(len(y), dtype=torch.float64) for name in named}
    for i in range(len(y)):
        value = loss(model(*(part[i : i + 1] for part in inputs)), y[i : i + 1]).sum()
        grads = torch.autograd.grad(value, list(named.values()), materialize_grads=True)
        for name, grad in zip(named, grads, strict=True):
            squares[name.rpartition(".")[0]][i] += grad.double().square().sum()
    return squares


def check_agree(model, *inputs, loss="cross_entropy", definition=F.cross_entropy, fallback=None):
    """In float64, layer by layer."""
    model, y = model.double().eval(), torch.arange(len(inputs[0])) % 3
    got = layer_norms(PerExample(model, loss, fallback=fallback), inputs, y)
    wanted = alone(model, inputs, y, definition)
    assert list(got) == list(wanted)
    for name, squares in wanted.items():
        assert squares.min() > 0
        torch.testing.assert_close(got[name], squares, rtol=2e-10, atol=0, msg=name)


class Net(nn.Module):
    """A forward function and its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs, **named):
        return self.run(self, *inputs, **named)


def weight(*shape):
    return nn.Parameter(torch.randn(shape))


def convolutional():
    def run(m, x):
        x = m.act(m.norm(m.conv(x)))
        out = m.norm2(m.conv2(x))
        out += x
        return m.head(m.act(out).mean((2, 3)))

    parts = {"conv": nn.Conv2d(3, 8, 3, padding=1, bias=False), "conv2": nn.Conv2d(8, 8, 3, padding=1, groups=2)}
    net = Net(run, **parts, norm=nn.BatchNorm2d(8), norm2=nn.BatchNorm2d(8), act=nn.ReLU(True), head=nn.Linear(8, 3))
    for norm in (net.norm, net.norm2):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    return net.eval()


def transformer():
    def run(m, x):
        x = m.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([m.token.expand(len(x), -1, -1), x], 1) + m.places
        z = m.norm(x)
        x = x + m.scale * m.attend(z, z, z, need_weights=False)[0]
        return m.head((x + m.mlp(x))[:, 0])

    return Net(
        run, patch=nn.Conv2d(3, 8, 4, 4), token=weight(1, 1, 8), places=weight(1, 5, 8), norm=nn.LayerNorm(8),
        attend=nn.MultiheadAttention(8, 2, batch_first=True), scale=weight(8), head=nn.Linear(8, 3),
        mlp=nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8)),
    ).eval()  # fmt: skip


def named_twice():
    """One module under two names; its bare parameter is one parameter."""
    scale = Net(lambda m, x: (x * m.w).tanh(), w=weight(3, 1, 1))
    return Net(lambda m, x: m.head(m.b(m.a(x)).flatten(1)), a=scale, b=scale, head=nn.Linear(192, 3)).eval()


MODELS = [convolutional, transformer, named_twice]


def images(n=64):
    return torch.randn(n, 3, 8, 8), torch.randint(0, 3, (n,))


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("dtype,tolerance", [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("make", MODELS)
def test_norms_do_not_depend_on_the_batch_that_an_example_is_in(make, dtype, tolerance):
    model = make().to(dtype)
    x, y = images()
    x = x.to(dtype)
    wanted = layer_norms(PerExample(model), x, y)
    order = torch.randperm(64)
    for size in (1, 7, 64):
        engine = PerExample(model)
        parts = [layer_norms(engine, x[rows], y[rows]) for rows in order.split(size)]
        for name, squares in wanted.items():
            got = torch.cat([part[name] for part in parts])
            torch.testing.assert_close(got.sqrt(), squares[order].sqrt(), rtol=tolerance, atol=tolerance)
    norms = torch.cat([grad_norms(model, x[rows], y[rows]) for rows in torch.arange(64).split(7)])
    torch.testing.assert_close(norms.double(), sum(wanted.values()).sqrt().double(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("make", MODELS)
def test_norms_match_one_example_at_a_time(make):
    check_agree(make(), images(9)[0].double())


@pytest.mark.parametrize("make", [convolutional, transformer])
def test_squares_by_layer_add_up_to_the_whole(make):
    model, (x, y) = make(), images(5)
    by_layer = grad_norms(model, x, y, per_layer=True)
    assert set(by_layer) == {name.rpartition(".")[0] for name, _ in model.named_parameters()}
    assert all(norms.dtype == torch.float32 and norms.shape == (5,) for norms in by_layer.values())
    torch.testing.assert_close(
        sum(n.square() for n in by_layer.values()).sqrt(), grad_norms(model, x, y), rtol=1e-6, atol=0
    )


HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def state(model):
    """Everything that a call could leave behind."""
    return {
        "parameters": [(n, id(p), type(p), p.requires_grad, p.tolist()) for n, p in model.named_parameters()],
        "gradients": [None if p.grad is None else p.grad.tolist() for p in model.parameters()],
        "buffers": [(name, b.tolist()) for name, b in model.named_buffers()],
        "training": [m.training for m in model.modules()],
        "hooks": [len(getattr(m, kind)) for m in model.modules() for kind in HOOKS],
        "attributes": [sorted(vars(m)) for m in model.modules()],
        "random": [torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()],  # noqa: NPY002
        "torch": [torch.backends.mha.get_fastpath_enabled(), torch.is_grad_enabled()],
    }


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("make", MODELS)
def test_a_call_leaves_no_trace(make, fast):
    model, (x, y) = make(), images(5)
    model.head.bias.requires_grad_(False)
    model.head.weight.grad = torch.ones_like(model.head.weight)
    engine = PerExample(model)

    def fails(*_):
        raise ZeroDivisionError

    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(fast)
    try:
        untouched = state(model)
        engine(x, y, lambda name, terms: None)
        assert state(model) == untouched
        with torch.no_grad():
            grad_norms(model, x, y)
        assert state(model) == untouched
        for attempt in (
            lambda: engine(x, y, fails),
            lambda: PerExample(model)(x, y, fails),
            lambda: grad_norms(model, x, y, loss=fails),
            lambda: grad_norms(model, x, y + 1),
            lambda: grad_norms(model, x / 0, y),
        ):
            with pytest.raises((ZeroDivisionError, ValueError)):
                attempt()
            assert state(model) == untouched
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def test_an_attention_keeps_a_forward_of_its_own():
    """Like the forward that accelerate gives to modules that it moves between devices."""
    model, (x, y) = transformer(), images(4)
    own = model.attend.forward
    model.attend.forward = lambda *args, **options: own(*args, **options)
    wrapped = model.attend.forward
    grad_norms(model, x, y)
    assert model.attend.forward is wrapped


def test_a_call_without_a_graph_around_it():
    model, (x, y) = convolutional(), images(4)
    with torch.no_grad():
        got = grad_norms(model, x, y)
    assert not got.requires_grad and torch.equal(got, grad_norms(model, x, y))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("make", [convolutional, transformer])
def test_the_last_layer_has_a_closed_form(make, bias):
    """Paul et al. 2021: ||(p - y) h'|| = ||p - y|| ||h||, and 1 more under the root for a bias."""
    model, (x, y) = make(), images(20)
    model.requires_grad_(False)
    model.head = nn.Linear(8, 3, bias=bias).eval()
    seen = []
    model.head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    outputs = output_signals(model(x), y, seen[0])
    wanted = outputs["error_norm"] * (outputs["feature_norm"].square() + bias).sqrt()
    torch.testing.assert_close(grad_norms(model, x, y), wanted, rtol=1e-5, atol=0)


def log_odds(z, y):
    p = z.softmax(1).gather(1, y[:, None]).squeeze(1)
    return torch.log(p / (1 - p))


@pytest.mark.parametrize("make", [convolutional, transformer])
def test_the_margin_is_the_log_odds_of_the_label(make):
    check_agree(make(), images(6)[0].double(), loss="margin", definition=log_odds)


def test_a_user_defined_loss():
    def loss(z, y):
        return (z - F.one_hot(y, 3)).square().sum(1) + z[:, 0].exp()

    check_agree(convolutional(), images(6)[0].double(), loss=loss, definition=loss)


def test_inputs_outputs_and_targets_of_other_forms():
    def run(m, image, factor, flip=False):
        return {"logits": m.a((image.flip(1) if flip else image) * factor), "other": None}

    model = Net(run, a=nn.Linear(4, 3)).eval()
    x, factor, y, w = torch.randn(5, 4), torch.rand(5, 1), torch.arange(5) % 3, torch.rand(5)

    def loss(out, targets):
        return F.cross_entropy(out["logits"], targets["label"], reduction="none") * targets["weight"]

    plain = w * grad_norms(model.a, x.flip(1) * factor, y)
    targets = {"label": y, "weight": w}
    for inputs in ({"image": x, "factor": factor, "flip": True}, (x, factor, True), [x, factor, True]):
        torch.testing.assert_close(grad_norms(model, inputs, targets, loss), plain)


def test_labels_may_be_soft():
    model, x, p = nn.Linear(4, 3).eval(), torch.randn(5, 4), torch.randn(5, 3).softmax(1)
    wanted = (model(x).softmax(1) - p).norm(dim=1) * (x.square().sum(1) + 1).sqrt()
    torch.testing.assert_close(grad_norms(model, x, p), wanted)


def test_a_plan_is_made_once():
    model, calls = convolutional(), []
    model.register_forward_hook(lambda *_: calls.append(1))
    engine, (x, y) = PerExample(model), images(4)
    engine(x, y, lambda name, terms: None)
    calls.clear()
    engine(x, y, lambda name, terms: None)
    assert len(calls) == 1


class ChannelsFirst(nn.LayerNorm):
    """As in ConvNeXt; for an image as wide as it has channels, only running it tells."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


def of_channels():
    return Net(lambda m, x: m.head(m.norm(m.conv(x)).relu().mean((2, 3))),
               conv=nn.Conv2d(3, 8, 3, padding=1), norm=ChannelsFirst(8), head=nn.Linear(8, 3)).eval()  # fmt: skip


def of_words():
    net = Net(lambda m, i: m.out(m.mid(m.table(i).mean(1)).relu()),
              table=nn.Embedding(20, 8), mid=nn.Linear(8, 8), out=nn.Linear(8, 3))  # fmt: skip
    return net.eval()


def words(n=8):
    return torch.randint(0, 20, (n, 6)), torch.arange(n) % 3


class NothingCounted(TorchDispatchMode):
    """Fails where the host waits for numbers of the device: values read, and results whose size depends on values."""

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        name = op.overloadpacket.__name__
        assert not any(word in name for word in ("_local_scalar_dense", "nonzero", "unique", "masked_select")), name
        return op(*args, **(kwargs or {}))


WITHOUT_WAITING = [(convolutional, images), (transformer, images), (of_channels, images), (of_words, words)]


@pytest.mark.parametrize("make,batch", WITHOUT_WAITING)
def test_the_host_never_waits_for_a_number_after_the_first_batch(make, batch):
    engine, (x, y) = PerExample(make()), batch(8)
    wanted = layer_norms(engine, x, y)
    with NothingCounted():
        found = layer_norms(engine, x, y)
    assert all(torch.equal(found[name], squares) for name, squares in wanted.items())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("make,batch", WITHOUT_WAITING)
def test_a_gpu_is_not_waited_for_after_the_first_batch(make, batch):
    """Labels on the host, where looking at them is free; on the device that takes one wait before the network runs."""
    engine, (x, y) = PerExample(make().cuda()), batch(8)
    x = x.cuda()
    wanted = layer_norms(engine, x, y)
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = layer_norms(engine, x, y)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for name, squares in wanted.items():
        torch.testing.assert_close(found[name], squares, rtol=1e-5, atol=0)


def test_how_a_norm_has_its_channels_is_found_once_even_where_its_first_batch_does_not_tell():
    """With a weight of 0 both ways agree, and a later checkpoint of the same network has others."""
    net, (x, y) = of_channels(), images(6)
    with torch.no_grad():
        net.norm.weight.zero_()
    grad_norms(net, x, y)
    with torch.no_grad():
        net.norm.weight.normal_()
    check_agree(net, x.double())
