"""Inner products with the mean validation gradient: against gradients that are formed."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from datadiet.errors import DataError, OptionError
from datadiet.signals.gradients import PerExample, grad_norms, gradient_dots, reference_gradient


class Net(nn.Module):
    """A table, positions, a layer used twice, a norm, a bare parameter, and a parameter that nothing depends on."""

    def __init__(self):
        super().__init__()
        self.table, self.mix, self.norm = nn.Embedding(9, 6), nn.Linear(6, 6), nn.LayerNorm(6)
        self.scale, self.unused = nn.Parameter(torch.rand(6)), nn.Parameter(torch.rand(4))
        self.head = nn.Linear(6, 3)

    def forward(self, ids):
        h = torch.tanh(self.mix(self.table(ids)))
        return self.head((self.norm(self.mix(h)) * self.scale).mean(1))


def convolutional():
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Flatten(),
        nn.Linear(96, 3),
    )  # fmt: skip


def case(name):
    model = (Net() if name == "words" else convolutional()).double().eval()
    x = torch.randint(0, 9, (7, 5)) if name == "words" else torch.randn(7, 4, 4, 4, dtype=torch.float64)
    return model, x, torch.arange(7) % 3


def alone(model, x, y):
    """(B, P) gradients by autograd, one example at a time."""
    parameters = list(model.parameters())
    rows = []
    for i in range(len(y)):
        loss = F.cross_entropy(model(x[[i]]), y[[i]])
        rows.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, materialize_grads=True)]))
    return torch.stack(rows)


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("name", ["words", "images"])
def test_oracle(name):
    model, x, y = case(name)
    engine, gradients = PerExample(model), alone(model, x, y)
    vector = reference_gradient(engine, [(x[:3], y[:3]), (x[3:4], y[3:4])])
    wanted = gradients[:4].mean(0)
    assert list(vector) == [name for name, _ in model.named_parameters()]
    torch.testing.assert_close(torch.cat([v.flatten() for v in vector.values()]), wanted, rtol=1e-10, atol=1e-14)
    out = gradient_dots(engine, vector, x, y)
    dots = gradients @ wanted
    expected = {
        "grad_dot": dots,
        "grad_norm": gradients.norm(dim=1),
        "grad_cos": dots / gradients.norm(dim=1) / wanted.norm(),
    }
    assert list(out) == list(expected)
    for column, values in expected.items():
        assert out[column].dtype == torch.float32
        torch.testing.assert_close(out[column], values.float(), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(out["grad_norm"], grad_norms(model, x, y), rtol=1e-6, atol=0)


def test_golden():
    # Zero weights, two classes: p = 1/2, so the gradient of (3, 4) with label 0 is (-1/2, 1/2) x (3, 4), of squared
    # length 25/2; with (4, -3) it has the product 0, with the other label -25/2.
    model = nn.Linear(2, 2, bias=False).eval()
    nn.init.zeros_(model.weight)
    engine = PerExample(model)
    vector = reference_gradient(engine, [(torch.tensor([[3.0, 4.0]]), torch.tensor([0]))])
    x = torch.tensor([[3.0, 4.0], [4.0, -3.0], [6.0, 8.0], [0.0, 0.0]])
    out = gradient_dots(engine, vector, x, torch.tensor([0, 0, 1, 0]))
    torch.testing.assert_close(out["grad_dot"], torch.tensor([12.5, 0, -25, 0]))
    torch.testing.assert_close(out["grad_norm"], torch.tensor([12.5, 12.5, 50, 0]).sqrt())
    torch.testing.assert_close(out["grad_cos"], torch.tensor([1.0, 0, -1, 0]))


def test_a_small_step_on_an_example_lowers_the_validation_loss_by_its_product():
    model, x, y = case("images")
    engine = PerExample(model)
    out = gradient_dots(engine, reference_gradient(engine, [(x[:4], y[:4])]), x, y)
    for i in range(4, 7):
        stepped, eta = copy.deepcopy(model), 1e-5
        F.cross_entropy(stepped(x[[i]]), y[[i]]).backward()
        with torch.no_grad():
            for p in stepped.parameters():
                p -= eta * p.grad
            fall = F.cross_entropy(model(x[:4]), y[:4]) - F.cross_entropy(stepped(x[:4]), y[:4])
        assert float(fall) / eta == pytest.approx(float(out["grad_dot"][i]), rel=1e-3, abs=1e-4)


def test_the_mean_gradient_does_not_depend_on_batches():
    model, x, y = case("images")
    model, x = model.float(), x.float()
    engine = PerExample(model)
    whole = reference_gradient(engine, [(x, y)])
    for cuts in ([1] * 7, [6, 1], [2, 5]):
        parts = reference_gradient(engine, zip(x.split(cuts), y.split(cuts), strict=True))
        for name, value in whole.items():
            assert value.dtype == torch.float32
            torch.testing.assert_close(parts[name], value, rtol=1e-5, atol=1e-6)
        out = [gradient_dots(engine, whole, *part) for part in zip(x.split(cuts), y.split(cuts), strict=True)]
        together = gradient_dots(engine, whole, x, y)
        for column, values in together.items():
            torch.testing.assert_close(torch.cat([o[column] for o in out]), values, rtol=1e-5, atol=1e-6)


def test_the_model_is_left_as_it_was():
    model, x, y = case("images")
    next(model.parameters()).grad = torch.ones_like(next(model.parameters()))
    model[4].bias.requires_grad_(False)
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    engine = PerExample(model)
    vector = reference_gradient(engine, [(x, y)])
    gradient_dots(engine, vector, x, y)
    assert "4.bias" not in vector
    assert [p.requires_grad for p in model.parameters()] == [True] * 5 + [False]
    assert torch.equal(next(model.parameters()).grad, torch.ones_like(next(model.parameters())))
    assert all(p.grad is None for p in list(model.parameters())[1:])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_sparse_gradients_of_a_table():
    model, x, y = case("words")
    wanted = reference_gradient(PerExample(model), [(x, y)])
    model.table.sparse = True
    found = reference_gradient(PerExample(model), [(x[:2], y[:2]), (x[2:], y[2:])])
    torch.testing.assert_close(found["table.weight"], wanted["table.weight"])


def test_it_works_where_autograd_is_off():
    model, x, y = case("words")
    engine = PerExample(model)
    with torch.no_grad():
        vector = reference_gradient(engine, [(x, y)])
        out = gradient_dots(engine, vector, x, y)
    assert out["grad_cos"].abs().min() > 0


def test_an_unknown_or_missing_part_of_the_vector_is_refused():
    model, x, y = case("words")
    engine = PerExample(model)
    vector = reference_gradient(engine, [(x, y)])
    with pytest.raises(OptionError, match=r"head\.bias is missing in the vector and has shape \(3,\)"):
        gradient_dots(engine, {name: v for name, v in vector.items() if name != "head.bias"}, x, y)
    with pytest.raises(OptionError, match=r"head\.bias has shape \(2,\) in the vector"):
        gradient_dots(engine, vector | {"head.bias": torch.zeros(2)}, x, y)
    with pytest.raises(OptionError, match="the vector has tail, which is not a trainable parameter"):
        gradient_dots(engine, vector | {"tail": torch.zeros(2)}, x, y)


def test_no_example_and_training_mode_are_refused():
    model, x, y = case("images")
    engine = PerExample(model)
    with pytest.raises(OptionError, match="no reference example"):
        reference_gradient(engine, [])
    model[1].train()
    with pytest.raises(OptionError, match="1 is in training mode"):
        reference_gradient(engine, [(x, y)])


def test_gradients_that_are_not_finite_are_refused():
    model, x, y = case("images")
    engine = PerExample(model)
    vector = reference_gradient(engine, [(x, y)])
    bad = x.clone()
    bad[2, 0, 0, 0] = torch.inf
    with pytest.raises(DataError, match="is not finite in batch 1"):
        reference_gradient(engine, [(x, y), (bad, y)])
    with pytest.raises(DataError, match="row 2 of 7"):
        gradient_dots(engine, vector, bad, y)


def test_gradients_in_bfloat16_are_worked_with_in_float32():
    model, x, y = case("words")
    model = model.to(torch.bfloat16)
    engine = PerExample(model)
    vector = reference_gradient(engine, [(x, y)])
    assert {v.dtype for v in vector.values()} == {torch.float32}
    out = gradient_dots(engine, vector, x, y)
    wanted = gradient_dots(PerExample(model.float()), vector, x, y)
    torch.testing.assert_close(out["grad_norm"], wanted["grad_norm"], rtol=0.05, atol=0)
    torch.testing.assert_close(out["grad_dot"], wanted["grad_dot"], rtol=0.1, atol=0.02)
