"""Terms, the form in which per-example gradients are kept: by hand, and against the gradients multiplied out."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from datadiet.signals.gradients import Explicit, Lookup, OuterProduct, PerExample, fold, lookup, products, squared_norm


def product(a, b):
    """A term of a weight (g·p, d) with inputs a (B, g, *T, *D) and gradients of outputs b (B, g, *T, p)."""
    positions = b.ndim - 3

    def apply(v):
        return torch.einsum("bgtd,gpd->bgtp", a.reshape(*a.shape[:2], -1, v.shape[1]), v.unflatten(0, (a.shape[1], -1)))

    def fold(gpd):
        return gpd.flatten(1, 2)

    return OuterProduct(lambda: a, b, positions, apply, b.flatten(2, -2), fold)


def random(kind, rng, batch, shape, positions=3, groups=1):
    """A term of this kind for a parameter of this shape, in float64."""
    rows, columns = shape

    def numbers(*size):
        return torch.randn(batch, *size, generator=rng, dtype=torch.float64)

    if kind == "product":
        return product(numbers(groups, positions, columns), numbers(groups, positions, rows // groups))
    if kind == "lookup":
        ids = torch.randint(0, rows, (batch, positions), generator=rng)
        return Lookup(ids, numbers(positions, columns), rows)
    return Explicit(numbers(*shape))


def dense(terms):
    return sum(term.dense(slice(None)) for term in terms)


def check_consistent(terms, rng):
    """Check everything that a sum of terms gives against the sum of the gradients multiplied out."""
    whole = dense(terms)
    scale = sum(term.dense(slice(None)).abs().amax((1, 2)) for term in terms).max()

    def same(got, wanted):
        torch.testing.assert_close(got, wanted, rtol=1e-9, atol=1e-10 * float(scale) ** 2)

    same(squared_norm(terms), whole.square().sum((1, 2)))
    v, left, right = (torch.randn(*size, generator=rng, dtype=torch.float64) for size in (
        whole.shape[1:], (3, whole.shape[1]), (2, whole.shape[2])))  # fmt: skip
    same(sum(term.dot(v) for term in terms), (whole * v).sum((1, 2)))
    same(sum(term.kronecker(left, right) for term in terms), left @ whole @ right.T)
    same(sum(term.dense(slice(1, 2)) for term in terms), whole[1:2])


def test_product_by_hand():
    # b_1 a_1' + b_2 a_2' = (1, 0)'(1, 2) + (2, 1)'(3, 4) = ((7, 10), (3, 4))
    term = product(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), torch.tensor([[[[1.0, 0.0], [2.0, 1.0]]]]))
    assert term.batch == 1 and term.sizes == (1, 2, 2, 2)
    assert term.dense(slice(None)).tolist() == [[[7.0, 10.0], [3.0, 4.0]]]
    assert term.squared_norm().tolist() == [49.0 + 100 + 9 + 16]
    assert term.dot(torch.tensor([[1.0, 0.0], [0.0, 2.0]])).tolist() == [7.0 + 2 * 4]
    # (1, -1) G (2, 1)' = (1, -1) (24, 10)'
    assert term.kronecker(torch.tensor([[1.0, -1.0]]), torch.tensor([[2.0, 1.0]])).tolist() == [[[14.0]]]


def test_product_in_groups_by_hand():
    # One channel in each of two groups, one position: the gradients are 2·3 and 5·7, and nothing crosses.
    term = product(torch.tensor([[[[2.0]], [[5.0]]]]), torch.tensor([[[[3.0]], [[7.0]]]]))
    assert term.sizes == (2, 1, 1, 1)
    assert term.dense(slice(None)).tolist() == [[[6.0], [35.0]]]
    assert term.squared_norm().tolist() == [36.0 + 35**2]
    assert term.dot(torch.tensor([[1.0], [10.0]])).tolist() == [356.0]


def test_lookup_by_hand():
    # Row 1 was looked up twice: (1, 2) + (3, 4) = (4, 6); row 0 once; row 2 never.
    term = Lookup(torch.tensor([[1, 1, 0]]), torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 0.0]]]), 3)
    assert term.batch == 1
    assert term.dense(slice(None)).tolist() == [[[5.0, 0.0], [4.0, 6.0], [0.0, 0.0]]]
    assert term.squared_norm().tolist() == [25.0 + 16 + 36]
    assert term.dot(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])).tolist() == [5.0 + 12 + 24]


def test_on_a_gpu_nothing_is_added_in_the_order_of_its_threads(monkeypatch):
    """Rows that occur often: by sorting, with the sums of a processor."""
    term = Lookup(torch.randint(0, 5, (6, 40)), torch.randn(6, 40, 8), 9)
    signs, buckets = torch.randn(9, 8), fold.buckets_of(16, torch.Size((9, 8)))

    def all_of(term):
        return term.squared_norm(), term.dense(slice(1, 5)), fold.fold_rows(term, signs, buckets)

    wanted = all_of(term)
    monkeypatch.setattr(lookup, "_in_order", lambda device: False)
    for name in ("scatter_add_", "scatter_add", "index_add_", "index_add"):
        monkeypatch.setattr(torch.Tensor, name, lambda *given: pytest.fail("not in order"))
    for found, right in zip(all_of(term), wanted, strict=True):
        torch.testing.assert_close(found, right)


def test_explicit_by_hand():
    term = Explicit(torch.tensor([[3.0, 4.0], [1.0, 0.0]]))
    assert term.squared_norm().tolist() == [25.0, 1.0]
    assert term.dot(torch.tensor([10.0, 1.0])).tolist() == [34.0, 10.0]
    assert term.dense(slice(1, 2)).tolist() == [[1.0, 0.0]]
    assert term.merged(1).dense(slice(None)).tolist() == [[4.0, 4.0]]


def test_a_table_that_is_also_the_last_layer_by_hand():
    # The lookup gives row 1 the gradient (1, 2), the layer (0, 1)'(3, 1): together (4, 3), not 5 + 10.
    looked_up = Lookup(torch.tensor([[1]]), torch.tensor([[[1.0, 2.0]]]), 2)
    applied = product(torch.tensor([[[[3.0, 1.0]]]]), torch.tensor([[[[0.0, 1.0]]]]))
    assert squared_norm([looked_up, applied]).tolist() == [25.0]


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize(
    ("positions", "rows", "columns"),
    [(1, 8, 5), (2, 64, 48), (3, 128, 100), (40, 8, 5), (60, 8, 1), (5, 8, 200), (1, 4, 1)],
)
def test_either_way_to_the_norm_of_a_product(positions, rows, columns, groups):
    """Few positions of long vectors are multiplied with each other, many of short ones are summed up."""
    rng = torch.Generator().manual_seed(0)
    check_consistent([random("product", rng, 4, (rows, columns), positions, groups)], rng)


def test_views_and_several_axes_of_positions_and_columns():
    rng = torch.Generator().manual_seed(0)
    a = torch.randn(3, 2, 5, 4, 2, 3, generator=rng, dtype=torch.float64).transpose(2, 3)  # T = (4, 5), D = (2, 3)
    b = torch.randn(3, 2, 2, 5, 4, generator=rng, dtype=torch.float64).movedim(2, -1).transpose(2, 3)
    term = product(a, b)
    assert term.sizes == (2, 20, 6, 2)
    check_consistent([term], rng)


def test_a_batch_of_many_chunks():
    rng = torch.Generator().manual_seed(0)
    for positions, rows, columns in [(40, 16, 20), (3, 64, 64)]:
        check_consistent([random("product", rng, 700, (rows, columns), positions)], rng)
        check_consistent([random("product", rng, 700, (rows, columns), n) for n in (positions, 2)], rng)


KINDS = st.sampled_from(["product", "lookup", "explicit"])


def test_the_device_says_how_many_examples_are_taken_at_once():
    assert [next(products.chunks(1000, 1 << 18, torch.device(kind))).stop for kind in ("cpu", "cuda")] == [4, 128]
    spans = list(products.chunks(1000, 1 << 19, torch.device("cuda", 1)))
    assert [spans[0].start, *(span.stop for span in spans)] == [*range(0, 1000, 64), 1024]


@pytest.mark.parametrize("at_once", [1, 300, 1 << 25])
@pytest.mark.parametrize("kinds", [["product"], ["lookup"], ["product", "product"], ["product", "explicit"]])
def test_terms_do_not_depend_on_how_many_examples_are_taken_at_once(at_once, kinds, monkeypatch):
    monkeypatch.setattr(products, "working_set", lambda device: at_once)
    rng = torch.Generator().manual_seed(0)
    check_consistent([random(kind, rng, 5, (4, 6)) for kind in kinds], rng)


@settings(max_examples=80, deadline=None)
@given(
    kinds=st.lists(KINDS, min_size=1, max_size=4), seed=st.integers(0, 999), batch=st.integers(2, 5),
    rows=st.integers(1, 12), columns=st.integers(1, 12), positions=st.lists(st.integers(1, 9), min_size=4, max_size=4),
)  # fmt: skip
def test_sums_of_terms(kinds, seed, batch, rows, columns, positions):
    rng = torch.Generator().manual_seed(seed)
    check_consistent(
        [random(kind, rng, batch, (rows, columns), n) for kind, n in zip(kinds, positions, strict=False)], rng
    )


@pytest.mark.parametrize("kinds", [["product"] * 2, ["product", "product", "explicit"]])
def test_sums_of_products_in_groups(kinds):
    rng = torch.Generator().manual_seed(0)
    check_consistent(
        [random(kind, rng, 3, (8, 5), n, groups=2) for kind, n in zip(kinds, (3, 70, 1), strict=False)], rng
    )


@settings(max_examples=40, deadline=None)
@given(kind=KINDS, seed=st.integers(0, 999), batch=st.integers(2, 4), windows=st.integers(1, 4))
def test_rows_that_belong_to_one_example_are_merged(kind, seed, batch, windows):
    rng = torch.Generator().manual_seed(seed)
    term = random(kind, rng, batch * windows, (4, 5), groups=2)
    merged = term.merged(batch)
    assert merged.batch == batch
    wanted = term.dense(slice(None)).unflatten(0, (batch, windows)).sum(1)
    torch.testing.assert_close(merged.dense(slice(None)), wanted)
    check_consistent([merged], rng)


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("positions", [1, 2, 200])
def test_large_products_in_float32(positions, groups):
    """They are multiplied by another library."""
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(3, groups, positions, size, generator=rng) for size in (264, 256))
    term, exact = product(a, b), product(a.double(), b.double())
    torch.testing.assert_close(term.squared_norm().double(), exact.squared_norm(), rtol=1e-5, atol=0)
    torch.testing.assert_close(term.dense(slice(1, 3)).double(), exact.dense(slice(1, 3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("positions", [1, 3, 200])
def test_half_precision_is_added_up_in_single(positions, dtype):
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.randn(4, 1, positions, 64, generator=rng).to(dtype) for _ in range(2))
    got, wanted = product(a, b).squared_norm(), product(a.double(), b.double()).squared_norm()
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=0)
    ids = torch.randint(0, 5, (4, positions), generator=rng)
    got, wanted = (Lookup(ids, x, 5).squared_norm() for x in (b[:, 0], b[:, 0].double()))
    torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=0)


@pytest.mark.parametrize("columns", [2, 4096])
def test_a_norm_of_nothing_is_not_negative(columns):
    """All inputs the same and gradients that sum to 0: the gradient is 0, and only rounding is left."""
    rng = torch.Generator().manual_seed(0)
    b = torch.randn(50, 1, 8, 64, generator=rng)
    term = product(torch.ones(50, 1, 8, columns), b - b.mean(2, keepdim=True))
    squares = term.squared_norm()
    assert (squares >= 0).all()
    assert (squares.sqrt() <= 1e-3 * b.flatten(1).norm(dim=1) * columns**0.5).all()


LAYERS = {
    "linear": (nn.Linear(6, 4), (3, 6)),
    "convolution": (nn.Conv2d(6, 4, (3, 2)), (6, 4, 4)),
    "convolution in groups": (nn.Conv2d(6, 4, 3, groups=2), (6, 4, 4)),
    "transposed convolution": (nn.ConvTranspose2d(6, 4, (3, 2), groups=2), (6, 4, 4)),
    "norm": (nn.LayerNorm((4, 6)), (4, 6)),
    "attention": (nn.MultiheadAttention(6, 2, batch_first=True), (4, 6)),
}


@pytest.mark.parametrize("layer,shape", LAYERS.values(), ids=LAYERS)
def test_kronecker_takes_the_columns_in_the_order_of_the_parameter(layer, shape):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer, self.head = layer, nn.LazyLinear(3)

        def forward(self, x):
            out = self.layer(x, x, x)[0] if isinstance(self.layer, nn.MultiheadAttention) else self.layer(x)
            return self.head(out.flatten(1))

    rng = torch.Generator().manual_seed(0)
    x = torch.randn(4, *shape, generator=rng, dtype=torch.float64)
    net = Net().double().eval()
    net(x)
    found = {}
    PerExample(net)(x, torch.arange(4) % 3, found.__setitem__)
    for name, terms in found.items():
        whole = dense(terms)
        if whole.ndim > 2:
            left, right = (torch.randn(2, n, generator=rng).double() for n in (whole.shape[1], whole[0, 0].numel()))
            got = sum(term.kronecker(left, right) for term in terms)
            torch.testing.assert_close(got, left @ whole.flatten(2) @ right.T, msg=name)
