"""`grad_norms` plans and checks once per network, notices what changes, and keeps no network alive."""

from __future__ import annotations

import gc
import weakref

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadiet.errors import NotFinite, OptionError
from datadiet.signals.gradients import PerExample, grad_norms, plans
from datadiet.signals.gradients import norms as module
from datadiet.signals.gradients.norms import norms_of


class Net(nn.Module):
    """Embedded in a convolution, an attention, a bare parameter and a head; counts its runs."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.attend, self.shift = nn.MultiheadAttention(8, 2, batch_first=True), nn.Parameter(torch.randn(8))
        self.head, self.spare, self.centred = nn.Linear(8, 3), nn.Linear(8, 3), False
        self.runs = []

    def forward(self, x, doubled=False):
        self.runs.append(len(x))
        x = self.norm(self.conv(x)).relu().flatten(2).transpose(1, 2)
        if self.centred:
            x = x - x.mean(0)
        x = self.drop(x + self.attend(x, x, x, need_weights=False)[0] + self.shift)
        return (self.spare if x.shape[1] > 30 else self.head)(x.mean(1)) * (2 if doubled else 1)


def squared(z, y):
    return (z - F.one_hot(y, 3)).square().sum(1)


@pytest.fixture
def model():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield Net().eval()


@pytest.fixture
def batch(model):
    return torch.randn(6, 3, 5, 5), torch.arange(6) % 3


def runs_of(model, *args, **options):
    """How often the network runs in a call, and what the call gives."""
    before = len(model.runs)
    found = grad_norms(model, *args, **options)
    return len(model.runs) - before, found


def test_the_network_runs_once_from_the_second_call_on(model, batch):
    assert runs_of(model, *batch)[0] > 1
    for n in (6, 5, 1):
        x, y = torch.randn(n, 3, 4, 5), torch.arange(n) % 3
        runs, found = runs_of(model, x, y)
        assert runs == 1 and torch.equal(found, norms_of(PerExample(model), x, y)[0])
    by_layer = grad_norms(model, *batch, per_layer=True)
    assert runs_of(model, *batch, per_layer=True)[0] == 1 and set(by_layer) >= {"conv", "attend.out_proj", "head", ""}
    with torch.no_grad():
        model.head.weight *= 3
    assert runs_of(model, *batch)[0] == 1


def test_one_example_does_not_show_whether_examples_are_mixed(model, batch):
    x, y = batch
    grad_norms(model, x[:1], y[:1])
    assert runs_of(model, x[:1], y[:1])[0] == 1
    assert runs_of(model, x, y)[0] > 1 and runs_of(model, x, y)[0] == 1


CHANGES = {
    "frozen": lambda m: m.conv.weight.requires_grad_(False),
    "thawed": lambda m: m.spare.requires_grad_(False),
    "replaced": lambda m: setattr(m, "norm", nn.GroupNorm(2, 8)),
    "of the same kind": lambda m: setattr(m, "head", nn.Linear(8, 3)),
    "added": lambda m: m.add_module("further", nn.Linear(2, 2)),
    "hooked": lambda m: m.drop.register_forward_hook(lambda *given: given[2] * 2),
    "hooked before": lambda m: m.drop.register_forward_pre_hook(lambda _, given: (given[0] * 2,)),
    "a forward of its own": lambda m: setattr(m.drop, "forward", lambda x: x * 3),
    "another parameter": lambda m: setattr(m, "shift", nn.Parameter(torch.randn(1, 8))),
    "tied": lambda m: setattr(m.spare, "weight", m.head.weight),
    "double": lambda m: m.double(),
    "buffers": lambda m: m.norm.register_buffer("more", torch.zeros(2)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_network_that_is_built_otherwise_is_checked_again(change, model, batch):
    grad_norms(model, *batch)
    kept = change(model)
    runs, found = runs_of(model.eval(), *batch)
    assert runs > 1 and torch.equal(found, norms_of(PerExample(model), *batch)[0])
    assert runs_of(model, *batch)[0] == 1
    del kept


def test_a_flag_that_forward_reads_is_noticed(model, batch):
    grad_norms(model, *batch)
    model.centred = True
    with pytest.raises(OptionError, match="mixes the examples"):
        grad_norms(model, *batch)
    model.centred = False
    assert runs_of(model, *batch)[0] == 1


def test_a_parametrization_is_noticed(model, batch):
    grad_norms(model, *batch)
    nn.utils.parametrizations.weight_norm(model.head)
    model.eval()
    with pytest.raises(OptionError, match=r"gradient of head.* is not known"):
        grad_norms(model, *batch)
    assert runs_of(model, *batch, fallback="vmap")[0] > 1


def test_training_mode_is_refused_after_a_first_call(model, batch):
    grad_norms(model, *batch)
    model.drop.train()
    with pytest.raises(OptionError, match="drop is in training mode"):
        grad_norms(model, *batch)


def test_other_losses_and_inputs_have_plans_of_their_own(model, batch):
    x, y = batch
    for options in ({"loss": squared}, {"loss": "margin"}, {"fallback": "vmap"}):
        grad_norms(model, x, y)
        assert runs_of(model, x, y, **options)[0] > 1
        assert runs_of(model, x, y, **options)[0] == 1 and runs_of(model, x, y)[0] == 1
    once = grad_norms(model, x, y, squared)
    for inputs in ([x], {"x": x}, (x, True)):
        assert runs_of(model, inputs, y, squared)[0] > 1 and runs_of(model, inputs, y, squared)[0] == 1
    torch.testing.assert_close(grad_norms(model, [x, False], y, squared), once)


def test_a_plan_that_does_not_fit_is_made_anew(model, batch):
    """Larger images go through another head."""
    grad_norms(model, *batch)
    x, y = torch.randn(4, 3, 6, 6), torch.arange(4) % 3
    layers = grad_norms(model, x, y, per_layer=True)
    assert not layers["head"].any() and layers["spare"].all()
    assert grad_norms(model, *batch, per_layer=True)["head"].all()


def test_a_plan_checked_under_tf32_is_checked_again_without(monkeypatch, model, batch):
    """The check allows TF32 five times the difference."""
    allowed = {"now": True}
    monkeypatch.setattr(plans, "allows_tf32", lambda device: allowed["now"])
    grad_norms(model, *batch)
    assert runs_of(model, *batch)[0] == 1
    allowed["now"] = False
    assert runs_of(model, *batch)[0] > 1 and runs_of(model, *batch)[0] == 1


def test_without_memory_there_is_no_second_attempt(monkeypatch, model, batch):
    """It would need as much."""
    grad_norms(model, *batch)
    tries = []

    def norms(*given):
        tries.append(given)
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "norms_of", norms)
    with pytest.raises(torch.cuda.OutOfMemoryError):
        grad_norms(model, *batch)
    assert len(tries) == 1


def test_messages_are_those_of_a_first_call(model, batch):
    x, y = batch
    grad_norms(model, x, y)
    for inputs, targets, words in (
        (x[:, :2], y, "cannot take"),
        (x, y + 1, "label 3 and 3 logits"),
        (x[0], y, "targets"),
    ):
        with pytest.raises(OptionError, match=words):
            grad_norms(model, inputs, targets)
    x[4, 0, 0, 0] = torch.nan
    with pytest.raises(NotFinite, match="row 4 of 6"):
        grad_norms(model, x, y)


def alone():
    """A network that is a layer itself, with a loss that holds it."""
    model = nn.Linear(4, 3).eval()

    def loss(z, y):
        return squared(z, y) + 0 * model.weight.detach().sum()

    grad_norms(model, torch.randn(5, 4), torch.arange(5) % 3)
    grad_norms(model, torch.randn(5, 4), torch.arange(5) % 3, loss)
    return model


def nested():
    model = Net().eval()
    grad_norms(model, torch.randn(5, 3, 4, 4), torch.arange(5) % 3)
    return model


def under_vmap():
    model = nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)).eval()
    grad_norms(model, torch.randn(5, 4), torch.arange(5) % 3, fallback="vmap")
    return model


@pytest.mark.parametrize("make", [alone, nested, under_vmap])
def test_no_network_is_kept_alive(make):
    model = make()
    gone = weakref.ref(model)
    assert gone() is not None
    del model
    gc.collect()
    assert gone() is None
