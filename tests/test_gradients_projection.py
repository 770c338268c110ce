"""Projected gradients: against projection matrices written out, and the statistics that a projection must have."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from datadiet.errors import DataError, OptionError
from datadiet.randomness import derive
from datadiet.scorers.datainf import datainf
from datadiet.signals.gradients import Explicit, OuterProduct, PerExample, Projector, projected

SEEDS = 400


class Net(nn.Module):
    """A forward function and its parts."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def tied(pooled):
    """An embedding that is also the last layer; `pooled`: it sees one position, as the last layer."""

    def run(m, ids):
        h = torch.tanh(m.table(ids))
        return m.head(h.mean(1)) if pooled else m.head(h).mean(1)

    net = Net(run, table=nn.Embedding(7, 4), head=nn.Linear(4, 7, bias=False))
    net.head.weight = net.table.weight
    return net


def over_positions(m, x):
    return m.head(torch.tanh(m.body(x)).mean(1))


def flat(m, x):
    return m.head(torch.tanh(m.body(x)).flatten(1))


def normed(m, x):
    return m.head(m.norm(m.body(x)).mean(1))


def networks():
    """name -> (network, inputs, parameters that Kronecker takes when k = 12)."""
    ids, images = torch.randint(0, 7, (5, 6)), torch.randn(5, 4, 5, 5)
    return {
        "one position": (Net(flat, body=nn.Linear(6, 8), head=nn.Linear(8, 3)), torch.randn(5, 6), set()),
        "positions": (Net(over_positions, body=nn.Linear(6, 8), head=nn.Linear(8, 3)), torch.randn(5, 4, 6), {"body"}),
        "groups": (
            Net(flat, body=nn.Conv2d(4, 6, 3, groups=2, stride=2), head=nn.Linear(24, 3)), images, {"body"},
        ),
        "transposed": (
            Net(flat, body=nn.ConvTranspose2d(4, 6, 3, groups=2), head=nn.Linear(294, 3)), images, {"body"},
        ),
        "embedding": (Net(over_positions, body=nn.Embedding(7, 8), head=nn.Linear(8, 3)), ids, {"body"}),
        "one word": (Net(flat, body=nn.Embedding(7, 8), head=nn.Linear(8, 3)), ids[:, 0], set()),
        "tied": (tied(pooled=False), ids, {"table"}),
        "tied, pooled": (tied(pooled=True), ids, {"table"}),
        "norm": (
            Net(normed, body=nn.Linear(6, 8), norm=nn.LayerNorm([4, 8]), head=nn.Linear(8, 3)), torch.randn(5, 4, 6),
            {"body"},
        ),
    }  # fmt: skip


def alone(model, x, y):
    """parameter -> (B, *shape), by autograd, one example at a time."""
    named = dict(model.named_parameters())
    rows = [torch.autograd.grad(F.cross_entropy(model(x[[i]]), y[[i]]), list(named.values())) for i in range(len(y))]
    return {name: torch.stack([row[j] for row in rows]) for j, name in enumerate(named)}


def signs(seed, name, role, shape):
    generator = torch.Generator().manual_seed(derive(seed, "project", name, role))
    return 2.0 * torch.randint(0, 2, shape, generator=generator, dtype=torch.int8).double() - 1


def written_out(seed, name, shape, kronecker, k, sides):
    """The projection of one parameter as a matrix (k, number of entries)."""
    rows, columns = shape[0], int(np.prod(shape[1:]))
    if kronecker:
        left, right = (
            signs(seed, name, *role) for role in (("left", (sides[0], rows)), ("right", (sides[1], columns)))
        )
        return torch.kron(left / sqrt(sides[0]), right / sqrt(sides[1]))
    places, size = folding(shape, k), int(np.prod(shape))
    own = signs(seed, name, "fold", (1, size) if len(shape) < 2 or size <= k else (rows, columns))
    matrix = torch.zeros(k, size, dtype=torch.float64)
    matrix[places.flatten(), torch.arange(size)] = own.flatten()
    return matrix


def folding(shape, k):
    """The bucket of each entry."""
    size = int(np.prod(shape))
    if len(shape) < 2 or size <= k:
        return torch.arange(size).view(shape) % k
    rows, columns = shape[0], size // shape[0]
    fo = max(fo for fo in range(1, k + 1) if k % fo == 0 and (fo == 1 or fo <= rows / 16) and fo * fo <= k)
    fi = k // fo
    step = next(s for s in range(columns, columns + k) if np.gcd(s, fi) == 1)
    i, c = torch.arange(rows)[:, None], torch.arange(columns)
    return i % fo * fi + (c + i // fo * step) % fi


@pytest.fixture(autouse=True)
def seeded():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # thousands of products too small for more
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", networks())
def test_a_projection_is_a_matrix_times_the_whole_gradient(name):
    model, x, by_kronecker = networks()[name]
    model, x = model.double().eval(), x.double() if x.is_floating_point() else x
    y, engine, projector, kept = torch.arange(5) % 3, PerExample(model), Projector(12, seed=3), {}
    engine(x, y, kept.__setitem__)
    gradients, total = alone(model, x, y), 0
    assert set(kept) == set(gradients)
    for parameter, gradient in gradients.items():
        kronecker = parameter in {f"{layer}.weight" for layer in by_kronecker}
        matrix = written_out(3, parameter, gradient.shape[1:], kronecker, 12, (3, 4))
        part = projector.project(parameter, model.get_parameter(parameter), kept[parameter])
        torch.testing.assert_close(part, gradient.flatten(1) @ matrix.T, rtol=1e-9, atol=1e-12)
        total = total + part
    out = projected(engine, projector, x, y)
    assert out.dtype == torch.float32 and out.shape == (5, 12)
    torch.testing.assert_close(out, total.float(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("method", ["kronecker", "fold"])
def test_the_kind_may_be_chosen(method):
    model, x, _ = networks()["one position"]
    model, x, y = model.double().eval(), x.double(), torch.arange(5) % 3
    engine, gradients = PerExample(model), alone(model, x, torch.arange(5) % 3)
    wanted = sum(
        g.flatten(1) @ written_out(0, name, g.shape[1:], method == "kronecker" and g.ndim > 2, 12, (3, 4)).T
        for name, g in gradients.items()
    )
    out = projected(engine, Projector(12, method=method), x, y)
    torch.testing.assert_close(out, wanted.float(), rtol=1e-5, atol=1e-6)


def test_what_fits_is_kept_exactly():
    model, x, _ = networks()["positions"]
    engine, y = PerExample(model.eval()), torch.arange(5) % 3
    squares = torch.zeros(5)
    projector = Projector(64)  # 48, 8, 24 and 3 entries

    def add(name, terms):
        nonlocal squares
        squares = squares + projector.project(name, model.get_parameter(name), terms).square().sum(1)

    engine(x, y, add)
    wanted = sum(g.flatten(1).square().sum(1) for g in alone(model, x, y).values())
    torch.testing.assert_close(squares, wanted)


def check(sketch, gradients, predicted=None):
    """Raises unless `sketch(seed)` is, over the seeds, an unbiased projection with the predicted noise.

    Args:
        sketch: seed -> (B, k).
        gradients: (B, P), what is projected.
        predicted: (B,) standard deviations of ||P x||^2 / ||x||^2.
    """
    scale = gradients.double().norm(dim=1)
    draws = torch.stack([sketch(seed).double() for seed in range(SEEDS)]) / scale[:, None]
    found, wanted = draws @ draws.mT, (gradients.double() @ gradients.double().T) / torch.outer(scale, scale)
    spread, bias = found.std(0), found.mean(0) - wanted
    assert (bias.diagonal().abs() <= 3 * spread.diagonal() / sqrt(SEEDS)).all(), "norms are biased"
    assert (bias.abs() <= 4 * spread / sqrt(SEEDS)).all(), "some inner product is biased"
    assert abs(float(bias.mean())) < 1e-2, "inner products are biased"
    if predicted is not None:
        assert ((spread.diagonal() / predicted - 1).abs() < 0.1).all(), "the noise is another one"


def digits_gradients():
    """A small convolutional net on 12 digits: parameters -> terms, and all gradients (12, P), float32."""
    images = torch.from_numpy(load_digits().images[:12]).float()[:, None] / 16
    y = torch.from_numpy(load_digits().target[:12])
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, stride=2), nn.ReLU(), nn.Flatten(),
        nn.Linear(144, 10),
    ).eval()  # fmt: skip
    kept = {}
    PerExample(model)(images, y, kept.__setitem__)
    return model, kept, torch.cat([g.flatten(1) for g in alone(model, images, y).values()], 1)


def sketcher(model, kept, k=256, make=Projector):
    def sketch(seed):
        projector = make(k, seed)
        return sum(projector.project(name, model.get_parameter(name), terms) for name, terms in kept.items())

    return sketch


def test_norms_and_inner_products_are_unbiased():
    model, kept, gradients = digits_gradients()
    check(sketcher(model, kept), gradients)


class Garbage(Projector):
    """Entries of the right size, which are never negative."""

    def _signs(self, *args):
        entries = super()._signs(*args)
        return sqrt(2) * entries.clamp_min(0)


@pytest.mark.parametrize("kind", ["scaled", "mean", "per batch", "constant"])
def test_the_check_finds_garbage(kind):
    model, kept, gradients = digits_gradients()
    good = sketcher(model, kept)
    bad = {
        "scaled": lambda seed: 1.1 * good(seed),
        "mean": sketcher(model, kept, make=Garbage),
        "per batch": lambda seed: torch.cat([good(seed)[:6], good(seed + SEEDS)[6:]]),
        "constant": lambda seed: good(0),
    }
    with pytest.raises(AssertionError, match="biased"):
        check(bad[kind], gradients)


def test_the_check_finds_noise():
    """256 columns, half of them copies: unbiased, and as noisy as 128."""
    x, predicted = torch.randn(3, 500).sign(), torch.full((3,), sqrt(2 / 256), dtype=torch.float64)
    check(lambda seed: x @ signs(seed, "x", "fold", (256, 500)).float().T / 16, x, predicted)
    with pytest.raises(AssertionError, match="noise"):
        check(lambda seed: x @ signs(seed, "x", "fold", (128, 500)).float().T.repeat(1, 2) / 16, x, predicted)


def product(a, b):
    """A term of a weight with the factors (B, T, d) and (B, T, p)."""
    return OuterProduct(lambda: a[:, None], b[:, None], 1, lambda v: v, b, lambda gpd: gpd.squeeze(1))


def noise(terms, shape, names, **options):
    """Standard deviations (B,) of ||P x||^2 over seeds and several parameters of the same gradient."""
    weight, draws = torch.empty(shape), []
    for seed in range(SEEDS):
        projector = Projector(256, seed, **options)
        draws += [projector.project(name, weight, terms).square().sum(1) for name in names]
    return torch.stack(draws).double().std(0)


def predicted_noise(g, ko, ki):
    """The standard deviation of ||L g R'||^2 for g (p, d) of norm 1, L (ko, p) and R (ki, d) of random signs.

    With M = g g': the mean over R is ||L g||^2, of variance 2/ko (||M||^2 - sum M_ii^2). Given N = (L g)'(L g), R adds
    2/ki (||N||^2 - sum N_cc^2), where E ||N||^2 = (1 + 1/ko) ||M||^2 + (1 - 2 sum M_ii^2) / ko and E N_cc^2 = |g_c|^4 +
    2/ko (|g_c|^4 - sum_i g_ic^4). Without the terms of single entries, which normal instead of +-1 entries would not
    have, that is (1 + 2/ko) (1 + 2/ki) - 1 for rank one.
    """
    m = g @ g.T
    whole, own, columns = m.square().sum(), m.diagonal().square().sum(), g.square().sum(0).square()
    of_left = 2 / ko * (whole - own)
    diagonal = columns.sum() + 2 / ko * (columns.sum() - g.pow(4).sum())
    return float((of_left + 2 / ki * ((1 + 1 / ko) * whole + (1 - 2 * own) / ko - diagonal)).sqrt())


def test_the_noise_of_kronecker_is_that_predicted():
    a, b = torch.randn(3, 96, 64), torch.randn(3, 96, 56)  # full rank, here made rank 1 and rank 4
    a[0], b[0] = a[0, :1], b[0, :1]
    a[1], b[1] = a[1, :4].repeat(24, 1), b[1, :4].repeat(24, 1)
    gradient = (b.mT @ a).double()
    scale = gradient.flatten(1).norm(dim=1)
    predicted = torch.tensor([predicted_noise(g / norm, 16, 16) for g, norm in zip(gradient, scale, strict=True)])
    assert abs(float(predicted[0]) / sqrt((1 + 2 / 16) ** 2 - 1) - 1) < 0.05 and predicted[2] < 0.15
    found = noise([product(a, b)], (56, 64), "abcde") / scale**2
    assert ((found / predicted - 1).abs() < 0.1).all(), (found, predicted)


def folded_noise(gradient, k=256):
    """Exactly: the square of a bucket has the variance 2 (w^2 - sum x^4), with w the sum of the squares in it."""
    places = folding(gradient.shape, k).flatten()
    buckets = torch.zeros(k, dtype=torch.float64).index_add_(0, places, gradient.flatten().square())
    return float((2 * (buckets.square().sum() - gradient.pow(4).sum())).sqrt())


@pytest.mark.parametrize(
    ("rows", "columns", "active_rows", "active_columns", "most"),
    [
        (48, 64, 48, 64, 0.12), (2, 500, 2, 500, 0.12), (20, 20, 20, 20, 0.12), (10, 64, 10, 30, 0.12),
        (300, 256, 300, 6, 0.15), (300, 256, 6, 256, 0.25),
    ],
)  # fmt: skip
def test_the_noise_of_fold_is_that_predicted(rows, columns, active_rows, active_columns, most):
    """Near sqrt(2/256) = .088, also if few columns are nonzero; with few nonzero rows, at most that of fi buckets."""
    a, b = torch.randn(3, 1, columns), torch.randn(3, 1, rows)
    a[..., torch.randperm(columns)[active_columns:]] = 0
    b[..., torch.randperm(rows)[active_rows:]] = 0
    gradient = (b.mT @ a).double()
    scale = gradient.flatten(1).norm(dim=1)
    predicted = torch.tensor([folded_noise(g / norm) for g, norm in zip(gradient, scale, strict=True)])
    found = noise([product(a, b)], (rows, columns), "abc") / scale**2
    assert ((found / predicted - 1).abs() < 0.1).all(), (found, predicted)
    assert found.mean() < most, found


def test_entries_that_do_not_meet_have_no_noise():
    a, b = torch.randn(3, 1, 64), torch.zeros(3, 1, 10)
    b[..., [2, 7]] = torch.randn(3, 1, 2)
    found = noise([product(a, b)], (10, 64), "a") / (b.mT @ a).flatten(1).square().sum(1)
    assert (found < 1e-6).all()


def test_an_outer_product_is_folded_like_any_gradient():
    a, b = torch.randn(3, 1, 50), torch.randn(3, 1, 40)
    weight = torch.empty(40, 50)
    outer = Projector(12).project("w", weight, [product(a, b)])
    torch.testing.assert_close(Projector(12).project("w", weight, [Explicit(b.mT @ a)]), outer)
    wanted = (b.mT @ a).flatten(1).double() @ written_out(0, "w", (40, 50), False, 12, None).T
    torch.testing.assert_close(outer, wanted.float(), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", ["one position", "positions", "groups", "embedding", "tied", "norm"])
def test_the_same_for_any_batch(name):
    model, x, _ = networks()[name]
    model.eval()
    y, engine = torch.arange(5) % 3, PerExample(model)
    whole = projected(engine, Projector(16, seed=1), x, y)
    order = torch.tensor([3, 0, 4, 2, 1])
    for cuts in ([1, 1, 1, 1, 1], [2, 3], [4, 1]):
        projector, other = Projector(16, seed=1), PerExample(model)
        parts = [projected(other, projector, x[rows], y[rows]) for rows in order.split(cuts)]
        error = (torch.cat(parts) - whole[order]).norm(dim=1) / whole[order].norm(dim=1)
        assert float(error.max()) < 1e-5


def test_a_parameter_s_matrix_depends_on_seed_name_and_shape_alone():
    a, b = torch.randn(2, 3, 20), torch.randn(2, 3, 16)
    weight, terms = torch.empty(16, 20), [product(a, b)]

    def part(seed, name, shape=(16, 20), k=16, before=()):
        projector = Projector(k, seed)
        for other in before:
            projector.project(other, weight, terms)
        return projector.project(name, torch.empty(shape), [product(a[..., : shape[1]], b)])

    assert torch.equal(part(0, "w"), part(0, "w", before=("v", "u")))
    for other in (part(1, "w"), part(0, "v")):
        assert not torch.allclose(part(0, "w"), other)
    # another shape is another draw, not the first columns of the same
    cut = torch.cat([a[..., :19], torch.zeros(2, 3, 1)], 2)
    assert not torch.allclose(part(0, "w", (16, 19)), Projector(16, 0).project("w", weight, [product(cut, b)]))


def test_global_random_state_is_untouched():
    before = torch.get_rng_state()
    model, x, _ = networks()["positions"]
    torch.set_rng_state(before)
    projected(PerExample(model.eval()), Projector(16), x, torch.arange(5) % 3)
    assert torch.equal(torch.get_rng_state(), before)


def test_layer_by_layer():
    model, x, _ = networks()["groups"]
    engine, y = PerExample(model.eval()), torch.arange(5) % 3
    by_layer, whole = Projector(16, by_layer=True), Projector(16)
    out = projected(engine, by_layer, x, y)
    assert by_layer.blocks(engine) == ["body", "head"] and by_layer.edges(engine) == [0, 16, 32]
    assert whole.blocks(engine) == [""] and whole.edges(engine) == [0, 16]
    torch.testing.assert_close(out[:, :16] + out[:, 16:], projected(engine, whole, x, y), rtol=1e-5, atol=1e-6)
    scores = datainf(out.numpy(), out.numpy(), blocks=by_layer.edges(engine))
    assert scores.shape == (5,) and np.isfinite(scores).all()


def test_a_layer_without_influence_is_zero():
    model = Net(lambda m, x: m.head(x), unused=nn.Linear(6, 5), head=nn.Linear(6, 3)).eval()
    projector = Projector(16, by_layer=True)
    out = projected(PerExample(model), projector, torch.randn(5, 6), torch.arange(5) % 3)
    assert out.shape == (5, 32) and not out[:, :16].any() and out[:, 16:].any(1).all()


def test_a_number_of_positions_that_changes_is_refused():
    model, x, _ = networks()["positions"]
    engine, y, projector = PerExample(model.eval()), torch.arange(5) % 3, Projector(16)
    projected(engine, projector, x, y)
    projected(engine, projector, x[:, :2], y)
    with pytest.raises(OptionError, match=r"body\.weight is used at one position per example in this batch"):
        projected(engine, projector, x[:, :1], y)
    chosen = Projector(16, method="kronecker")
    out = [projected(engine, chosen, x[:, :size], y) for size in (4, 1)]
    assert all(part.isfinite().all() for part in out)


@pytest.mark.parametrize(("k", "near"), [(3, 4), (0, 4), (7, 6), (22, 20), (509, 510)])
def test_columns_without_near_factors_are_refused(k, near):
    with pytest.raises(OptionError, match=rf"k={k}: give at least 4.*such as {near}\."):
        Projector(k)


@pytest.mark.parametrize(("k", "sides"), [(4, (2, 2)), (8, (2, 4)), (12, (3, 4)), (256, (16, 16)), (512, (16, 32))])
def test_sides_are_as_near_as_they_can_be(k, sides):
    assert Projector(k)._sides == sides


def test_options_are_checked():
    with pytest.raises(OptionError, match="method='dense'"):
        Projector(16, method="dense")


def test_a_gradient_that_is_not_finite_is_refused():
    model, x, _ = networks()["one position"]
    x[3, 1] = torch.nan
    with pytest.raises(DataError, match="row 3 of 5"):
        projected(PerExample(model.eval()), Projector(16), x, torch.arange(5) % 3)
