"""Self-influence by K-FAC and EK-FAC: against explicit inverses, by three routes, and on planted wrong labels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import datadiet as dd
from datadiet.data import measure_normalisation
from datadiet.errors import DataError, OptionError
from datadiet.evaluate import flip_labels, recall_at
from datadiet.signals.gradients import Explicit, KroneckerFactors, OuterProduct, PerExample, grad_norms, layer_norms
from datadiet.signals.gradients.curvature import DiagonalBlock, KroneckerBlock, _factors, _rotated, block_for
from datadiet.signals.gradients.kfac import _drawn_labels


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
    """Positions, a layer used twice, a norm, a table."""

    def run(m, ids):
        h = torch.tanh(m.mix(m.table(ids)))
        return m.head(m.norm(m.mix(h)).mean(1))

    return Net(run, table=nn.Embedding(9, 6), mix=nn.Linear(6, 6), norm=nn.LayerNorm(6), head=nn.Linear(6, 3))


def images():
    return nn.Sequential(
        nn.Conv2d(4, 6, 3, groups=2, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5),
        nn.Tanh(), nn.Linear(5, 3),
    )  # fmt: skip


def case(name, batch=40):
    model = (words() if name == "words" else images()).double().eval()
    x = torch.randint(0, 9, (batch, 5)) if name == "words" else torch.randn(batch, 4, 4, 4, dtype=torch.float64)
    return model, x, torch.arange(batch) % 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def collected(model, x, y, cuts=17):
    engine = PerExample(model)
    batches = list(zip(x.split(cuts), y.split(cuts), strict=True))
    factors = KroneckerFactors.collect(engine, batches, generator())
    factors.collect_lambda(batches, generator(1))
    return engine, factors


def terms_of(engine, x, y):
    kept = {}
    engine(x, y, kept.__setitem__)
    return kept


def alone(model, x, y):
    """parameter -> (B, *shape), by autograd, one example at a time."""
    named = dict(model.named_parameters())
    rows = [torch.autograd.grad(F.cross_entropy(model(x[[i]]), y[[i]]), list(named.values())) for i in range(len(y))]
    return {name: torch.stack([row[j] for row in rows]) for j, name in enumerate(named)}


@pytest.fixture(autouse=True)
def seeded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thousands of products too small for more
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", ["words", "images"])
@pytest.mark.parametrize("mode", ["kfac", "ekfac"])
def test_three_routes_agree(name, mode):
    model, x, y = case(name)
    engine, factors = collected(model, x, y)
    several, total = 0, 0
    for parameter, terms in terms_of(engine, x, y).items():
        block = factors.blocks[parameter]
        values = block.eigenvalues if mode == "kfac" else block.measured
        damped = values + 0.1 * values.mean()
        found = block.energy(terms, 1 / damped)
        total = total + found
        if isinstance(block, DiagonalBlock):
            dense = alone(model, x, y)[parameter]
            torch.testing.assert_close(found, (dense.square() / damped).flatten(1).sum(1), rtol=1e-10, atol=0)
            continue
        a, b = (torch.cat(parts) for parts in zip(*_factors(terms), strict=True))
        g, turn_a, turn_b = b.mT @ a, block.turn_a, block.turn_b
        preconditioned = turn_b @ ((turn_b.mT @ g @ turn_a) / damped) @ turn_a.mT
        wanted = (preconditioned * g).sum((1, 2, 3))
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=0)
        for by_factors in (False, True):
            once = (_rotated(a, b, turn_a, turn_b, by_factors).square() / damped).sum((1, 2, 3))
            torch.testing.assert_close(once, wanted, rtol=1e-10, atol=0)
        several += a.shape[2] > 1
    assert several
    out = factors.self_influence(x, y, mode=mode)
    assert out.dtype == torch.float32 and (out > 0).all()
    torch.testing.assert_close(out, total.float(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["words", "images"])
def test_oracle_factors_and_eigenvalues(name):
    """Covariances in slow loops, the inverse as a matrix; for EK-FAC mean squares of rotated gradients."""
    model, x, y = case(name)
    engine, factors = collected(model, x, y)
    kept = terms_of(engine, x, y)
    drawn = terms_of(engine, x, _drawn_labels(engine, x, generator()))
    again = terms_of(engine, x, _drawn_labels(engine, x, generator(1)))
    blocks = {name: block for name, block in factors.blocks.items() if isinstance(block, KroneckerBlock)}
    assert len(blocks) > 3
    for parameter, block in blocks.items():
        a, b = (torch.cat(parts) for parts in zip(*_factors(drawn[parameter]), strict=True))
        wanted, (n, groups, t, _) = torch.zeros(len(x), dtype=torch.float64), a.shape
        fisher = []
        for group in range(groups):
            inner = sum(torch.outer(a[i, group, s], a[i, group, s]) for i in range(n) for s in range(t)) / n
            outer = sum(torch.outer(b[i, group, s], b[i, group, s]) for i in range(n) for s in range(t)) / (n * t)
            fisher.append(torch.kron(outer, inner))
        delta = 0.1 * torch.stack([f.diagonal() for f in fisher]).mean()
        own_a, own_b = (torch.cat(parts) for parts in zip(*_factors(kept[parameter]), strict=True))
        for group, matrix in enumerate(fisher):
            g = (own_b[:, group].mT @ own_a[:, group]).flatten(1)
            inverse = torch.linalg.inv(matrix + delta * torch.eye(len(matrix), dtype=torch.float64))
            wanted += ((g @ inverse) * g).sum(1)
        found = block.energy(kept[parameter], 1 / (block.eigenvalues + 0.1 * block.eigenvalues.mean()))
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=0)
        a, b = (torch.cat(parts) for parts in zip(*_factors(again[parameter]), strict=True))
        rotated = block.turn_b.mT @ (b.mT @ a) @ block.turn_a
        torch.testing.assert_close(block.measured, rotated.square().mean(0), rtol=1e-9, atol=1e-20)


def product(a, b):
    """A term of a weight with the factors (B, g, T, d) and (B, g, T, p)."""
    return OuterProduct(lambda: a, b, 1, lambda v: v, b, lambda gpd: gpd.flatten(1, 2))


def every_pair(groups, d, p):
    """One position; inputs (n, g, d) and gradients (n, g, p), correlated, every input with every gradient."""
    a = torch.randn(30, groups, d, dtype=torch.float64) @ torch.randn(d, d, dtype=torch.float64)
    b = torch.randn(20, groups, p, dtype=torch.float64) @ torch.randn(p, p, dtype=torch.float64)
    pairs = torch.cartesian_prod(torch.arange(30), torch.arange(20))
    return a[pairs[:, 0]][:, :, None], b[pairs[:, 1]][:, :, None]


@pytest.mark.parametrize("groups", [1, 3])
def test_exact_where_inputs_and_gradients_are_independent(groups):
    # In every pair of an input and a gradient they are independent, so E gg' is A (x) S and not an approximation of it;
    # between groups it is not 0 in the data, and the explicit matrix has only the blocks.
    a, b = every_pair(groups, 5, 4)
    block, term = KroneckerBlock(), product(a, b)
    block.observe([term])
    block.solve(len(a))
    block.measured = block.squares([term]) / len(a)
    torch.testing.assert_close(block.measured, block.eigenvalues, rtol=1e-9, atol=1e-12)
    gradients = (b.mT @ a).flatten(2)
    fisher = [gradients[:, g].T @ gradients[:, g] / len(a) for g in range(groups)]
    delta = 0.1 * torch.stack([f.diagonal() for f in fisher]).mean()
    wanted = 0
    for g, matrix in enumerate(fisher):
        solved = torch.linalg.solve(matrix + delta * torch.eye(20, dtype=torch.float64), gradients[:, g].T).T
        wanted = wanted + (solved * gradients[:, g]).sum(1)
    for values in (block.eigenvalues, block.measured):
        found = block.energy([term], 1 / (values + 0.1 * values.mean()))
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=0)


def test_close_for_a_linear_layer_with_gaussian_inputs():
    """Zero weights: p = 1/C whatever the input, so drawn labels do not depend on it, and F = E aa' (x) (I/C - 11'/C^2).

    What is left is the sampling of 20,000 labels, of about 1 %.
    """
    n, d, c = 20_000, 4, 3
    x = torch.randn(n, d, dtype=torch.float64) @ torch.randn(d, d, dtype=torch.float64)
    model = nn.Linear(d, c, bias=False).double().eval()
    nn.init.zeros_(model.weight)
    y = torch.arange(n) % c
    _, factors = collected(model, x, y, cuts=5000)
    logits = torch.eye(c, dtype=torch.float64) / c - 1 / c**2
    fisher = torch.kron(logits, x.T @ x / n)
    damped = fisher + 0.1 * fisher.diagonal().mean() * torch.eye(c * d, dtype=torch.float64)
    g = torch.stack([torch.outer(1 / c - F.one_hot(y[i], c), x[i]).flatten() for i in range(50)])
    wanted = (torch.linalg.solve(damped, g.T).T * g).sum(1).float()
    for mode in ("kfac", "ekfac"):
        torch.testing.assert_close(factors.self_influence(x[:50], y[:50], mode=mode), wanted, rtol=0.03, atol=0)


def test_groups_have_factors_of_their_own():
    """A grouped convolution of one pixel is two linear layers side by side, with the same factors."""
    linear = Net(
        lambda m, x: m.head(torch.tanh(torch.cat([m.one(x[:, :3]), m.two(x[:, 3:])], 1))),
        one=nn.Linear(3, 2, bias=False), two=nn.Linear(3, 2, bias=False), head=nn.Linear(4, 3),
    ).double().eval()  # fmt: skip
    grouped = Net(
        lambda m, x: m.head(torch.tanh(m.both(x[:, :, None]).flatten(1))),
        both=nn.Conv1d(6, 4, 1, groups=2, bias=False), head=copy.deepcopy(linear.head),
    ).double().eval()  # fmt: skip
    grouped.both.weight.data = torch.cat([linear.one.weight.data, linear.two.weight.data])[..., None]
    x = torch.randn(50, 6, dtype=torch.float64) * torch.tensor([1, 1, 1, 9, 9, 9])
    y = torch.arange(50) % 3
    (engine, apart), (other, together) = collected(linear, x, y), collected(grouped, x, y)
    parts, whole = terms_of(engine, x, y), terms_of(other, x, y)["both.weight"]
    found = together.blocks["both.weight"].energy(whole, 1 / (together.blocks["both.weight"].eigenvalues + 0.01))
    wanted = 0
    for group, name in enumerate(("one.weight", "two.weight")):
        block = apart.blocks[name]
        torch.testing.assert_close(together.blocks["both.weight"].eigenvalues[group], block.eigenvalues[0])
        wanted = wanted + block.energy(parts[name], 1 / (block.eigenvalues + 0.01))
    torch.testing.assert_close(found, wanted)


def test_a_bias_has_its_exact_fisher_block():
    model, x, y = case("images")
    engine, factors = collected(model, x, y)
    labels = _drawn_labels(engine, x, generator())
    for name in ("0.bias", "1.weight", "6.bias"):
        g = alone(model, x, labels)[name]
        matrix = g.T @ g / len(g)
        own = alone(model, x, y)[name]
        damped = matrix + 0.1 * matrix.diagonal().mean() * torch.eye(len(matrix), dtype=torch.float64)
        wanted = (torch.linalg.solve(damped, own.T).T * own).sum(1)
        values = factors.blocks[name].eigenvalues
        found = factors.blocks[name].energy(terms_of(engine, x, y)[name], 1 / (values + 0.1 * values.mean()))
        torch.testing.assert_close(found, wanted, rtol=1e-8, atol=0)


def test_kinds_of_blocks():
    model, x, y = case("words")
    _, factors = collected(model, x, y)
    kinds = {name: type(block) for name, block in factors.blocks.items()}
    assert kinds.pop("table.weight") is DiagonalBlock and set(kinds.values()) == {KroneckerBlock}
    assert set(factors.blocks) == {name for name, _ in model.named_parameters()}
    assert isinstance(block_for([Explicit(torch.zeros(2, 1024))]), KroneckerBlock)
    assert isinstance(block_for([Explicit(torch.zeros(2, 1025))]), DiagonalBlock)
    assert isinstance(block_for([Explicit(torch.zeros(2, 1, 8))]), DiagonalBlock)


def test_much_damping_leaves_the_gradient_norm():
    # (F + delta I)^-1 -> I / delta, layer by layer with its own delta; here one layer without a bias.
    model = nn.Linear(4, 3, bias=False).double().eval()
    x, y = torch.randn(30, 4, dtype=torch.float64), torch.arange(30) % 3
    _, factors = collected(model, x, y)
    out = factors.self_influence(x, y, damping=1e6) * (1e6 * factors.blocks["weight"].measured.mean())
    torch.testing.assert_close(out.float(), grad_norms(model, x, y).square(), rtol=1e-4, atol=0)


def test_labels_are_drawn_from_the_model():
    model = nn.Linear(1, 3).double().eval()
    nn.init.zeros_(model.weight)
    model.bias.data = torch.tensor([0.5, 0.2, 0.3], dtype=torch.float64).log()
    engine, x = PerExample(model), torch.zeros(20_000, 1, dtype=torch.float64)
    labels = _drawn_labels(engine, x, generator())
    assert labels.dtype == torch.int64
    np.testing.assert_allclose(np.bincount(labels) / 20_000, [0.5, 0.2, 0.3], atol=0.01)  # three deviations
    for cuts in (1000, 777):
        one = generator()
        assert torch.equal(torch.cat([_drawn_labels(engine, part, one) for part in x.split(cuts)]), labels)
    assert not torch.equal(_drawn_labels(engine, x, generator(1)), labels)


@pytest.mark.parametrize("name", ["words", "images"])
def test_the_same_for_any_batch(name):
    model, x, y = case(name)
    model, x = model.float(), x.float() if name == "images" else x
    _, factors = collected(model, x, y)
    wanted = factors.self_influence(x, y)
    for cuts in (1, 7, 40):
        _, other = collected(model, x, y, cuts)
        parts = [other.self_influence(*part) for part in zip(x.split(cuts), y.split(cuts), strict=True)]
        torch.testing.assert_close(torch.cat(parts), wanted, rtol=1e-3, atol=0)  # eigenvectors move, sums less
        parts = [factors.self_influence(*part) for part in zip(x.split(cuts), y.split(cuts), strict=True)]
        torch.testing.assert_close(torch.cat(parts), wanted, rtol=1e-5, atol=0)


def test_everything_is_left_as_it_was():
    model, x, y = case("images")
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    _, factors = collected(model, x, y)
    factors.self_influence(x, y)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_second_collection_of_eigenvalues_replaces_the_first():
    model, x, y = case("images")
    _, factors = collected(model, x, y)
    wanted = factors.self_influence(x, y)
    factors.collect_lambda([(x, y)], generator(2))
    assert not torch.allclose(factors.self_influence(x, y), wanted, rtol=1e-3)
    factors.collect_lambda([(x, y)], generator(1))
    torch.testing.assert_close(factors.self_influence(x, y), wanted, rtol=1e-6, atol=0)


def test_what_cannot_be_used_is_refused():
    model, x, y = case("images")
    with pytest.raises(OptionError, match="make the engine with loss='cross_entropy'"):
        KroneckerFactors.collect(PerExample(model, "margin"), [(x, y)], generator())
    engine = PerExample(model)
    with pytest.raises(OptionError, match="at least one batch"):
        KroneckerFactors.collect(engine, [], generator())
    factors = KroneckerFactors.collect(engine, [(x, y)], generator())
    with pytest.raises(OptionError, match="call collect_lambda first"):
        factors.self_influence(x, y)
    for options in ({"damping": 0.0}, {"damping": float("nan")}, {"mode": "identity"}):
        with pytest.raises(OptionError, match="give 'kfac' or 'ekfac'"):
            factors.self_influence(x, y, **options)
    bad = x.clone()
    bad[2, 0, 0, 0] = torch.nan
    with pytest.raises(DataError, match="row 2 of 40"):
        factors.self_influence(bad, y, mode="kfac")
    model[1].train()
    with pytest.raises(OptionError, match="1 is in training mode"):
        KroneckerFactors.collect(engine, [(x, y)], generator())


def test_a_parameter_without_curvature_counts_nothing():
    model, x, y = case("images")
    nn.init.zeros_(model[6].weight)  # nothing comes back through it
    factors = KroneckerFactors.collect(PerExample(model), [(x, y)], generator())
    found = factors.self_influence(x, y, mode="kfac")
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("6."))  # the head alone
    alone = KroneckerFactors.collect(PerExample(model), [(x, y)], generator()).self_influence(x, y, mode="kfac")
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=0)


@pytest.mark.parametrize("seed", [0, 1])
def test_wrong_labels_of_digits_have_high_self_influence(seed):
    source = dd.open_data("digits")
    labels, flipped = flip_labels(source.labels, 0.1, 10, seed=seed)
    images, y = source.take(np.arange(len(source))), torch.from_numpy(labels)
    data = torch.utils.data.TensorDataset(images, y)
    model = dd.train(data, "datadiet:mlp", epochs=8, seed=seed, recipe={"batch_size": 64}).model
    x = measure_normalisation(dd.open_data(data))(images)
    engine, factors = collected(model, x, y, 256)
    found = {
        "identity": sum(layer_norms(engine, x, y).values()),
        "kfac": factors.self_influence(x, y, mode="kfac"),
        "ekfac": factors.self_influence(x, y),
    }
    for name, influence in found.items():  # measured: .92 to .94; one in ten by chance
        assert recall_at(influence.numpy(), flipped, 0.1) >= (0.75 if name == "identity" else 0.8), name
