"""Per-example gradients of one parameter, in the form in which backpropagation leaves them.

The gradient of a weight that multiplies vectors a_t is the sum over positions t of b_t a_t', where b_t is the gradient
of the output. `OuterProduct` keeps these two factors, `Lookup` the rows of an embedding, and `Explicit` the gradient
itself, for parameters so small that it costs nothing. A parameter that is used several times has several terms, and its
gradient is their sum: anything linear in the gradient adds up; only the norm needs `squared_norm` of all terms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Protocol

import torch
from torch import Tensor

from datadiet.signals.gradients.lookup import Lookup
from datadiet.signals.gradients.precision import rounds_products
from datadiet.signals.gradients.products import chunks, single, sum_of_products

__all__ = ["Explicit", "OuterProduct", "Term", "Terms", "squared_norm"]


class Term(Protocol):
    """Per-example gradients of one parameter from one use of it."""

    @property
    def batch(self) -> int:
        """B."""
        ...

    def merged(self, batch: int) -> Term:
        """The same for B examples, each made of several adjacent rows."""
        ...

    def squared_norm(self) -> Tensor:
        """(B,) squared Frobenius norms."""
        ...

    def dot(self, vector: Tensor) -> Tensor:
        """(B,) inner products with a tensor of the parameter's shape."""
        ...

    def dense(self, rows: slice) -> Tensor:
        """(b, *shape), the gradients of some examples."""
        ...

    def kronecker(self, left: Tensor, right: Tensor) -> Tensor:
        """(B, l, r): left G right' with G the gradient as a matrix (first axis, all other axes).

        Args:
            left: (l, p).
            right: (r, d).
        """
        ...


Terms = dict[str, Callable[[], Term]]  # a layer's own name of a parameter -> what makes its term


@dataclass(frozen=True)
class OuterProduct:
    """The sum over positions of outer products, in independent groups.

    Attributes:
        inputs: makes `a`, on first use.
        a: (B, g, *T, *D), views welcome: the inputs; `positions` says how many axes T has.
        b: (B, g, *T, p): gradients of the outputs.
        positions: number of axes of T.
        apply: the layer as a function of its weight, in the weight's dtype: weight -> a tensor of the shape of
            `output_grad`.
        output_grad: the gradient of the layer's output.
        fold: (b, g, p, d) -> (b, *shape).
        kernel: in a parameter (…, c, *kernel), the axes that D has before c.
        squares: a shorter way to the squared norms, (B,), if there is one.
    """

    inputs: Callable[[], Tensor]
    b: Tensor
    positions: int
    apply: Callable[[Tensor], Tensor]
    output_grad: Tensor
    fold: Callable[[Tensor], Tensor]
    kernel: tuple[int, ...] = ()
    squares: Callable[[], Tensor] | None = None

    @cached_property
    def a(self) -> Tensor:
        """Views of all positions, which a norm by a shorter way never needs."""
        return self.inputs()

    @property
    def batch(self) -> int:
        """B."""
        return len(self.b)

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """g, T, d, p."""
        axis = 2 + self.positions
        return self.a.shape[1], prod(self.a.shape[2:axis]), prod(self.a.shape[axis:]), self.b.shape[-1]

    def merged(self, batch: int) -> OuterProduct:
        """Rows become positions."""

        def arranged(factor: Tensor) -> Tensor:
            return torch.unflatten(factor, 0, (batch, -1)).movedim(1, 2)

        inputs, positions = (lambda: arranged(self.a)), self.positions + 1
        return replace(self, inputs=inputs, b=arranged(self.b), positions=positions, squares=None)

    def factors(self, rows: slice) -> tuple[Tensor, Tensor]:
        """The factors of some examples: (b, g, T, d) and (b, g, T, p)."""
        g, t, d, p = self.sizes
        a, b = self.a[rows], self.b[rows]
        return single(a.reshape(len(a), g, t, d)), single(b.reshape(len(b), g, t, p))

    def squared_norm(self) -> Tensor:
        """By the cheaper way: the gradient itself, or inner products of inputs times inner products of gradients."""
        if self.squares is not None:
            return self.squares()
        g, t, d, p = self.sizes
        if t == 1:
            a, b = self.factors(slice(None))
            return (a.square().sum(-1) * b.square().sum(-1)).sum((1, 2))
        # Multiplications: t^2 (d + p) against t d p. The t^2 terms have both signs, so factors rounded to TF32 would
        # leave few digits of their sum, and the gradient itself costs little where products are that fast.
        by_gram = t * (d + p) < d * p and not rounds_products(self.b.device)
        square = _gram if by_gram else _direct
        needed = g * (t * (d + p) + (2 * t * t if by_gram else d * p))
        return torch.cat([square(*self.factors(rows)) for rows in chunks(self.batch, needed, self.a.device)])

    def dot(self, vector: Tensor) -> Tensor:
        """The output of the layer with `vector` as its weight, times the gradient of its output."""
        grad = single(self.output_grad)
        return (self.apply(vector.to(grad.dtype)) * grad).reshape(self.batch, -1).sum(1)

    def dense(self, rows: slice) -> Tensor:
        """Multiplied out."""
        a, b = self.factors(rows)
        return self.fold(sum_of_products(b, a))

    def kronecker(self, left: Tensor, right: Tensor) -> Tensor:
        """Both factors are projected first, so that the gradient is never formed."""
        g, t, d, p = self.sizes
        if self.kernel:
            right = right.view(len(right), -1, *self.kernel).movedim(1, -1).reshape(len(right), -1)
        lefts = left.view(len(left), g, p).permute(1, 2, 0)
        parts = []
        for rows in chunks(self.batch, g * t * (d + p), self.a.device):
            a, b = self.factors(rows)
            parts.append(((b @ lefts).transpose(2, 3) @ (a @ right.T)).sum(1))
        return torch.cat(parts)


def _direct(a: Tensor, b: Tensor) -> Tensor:
    norms = torch.linalg.vector_norm(
        sum_of_products(b, a), dim=3
    )  # of rows: it sums a million squares in float32 badly
    return norms.square().sum((1, 2))


def _gram(a: Tensor, b: Tensor) -> Tensor:
    products = (a @ a.transpose(2, 3)).mul_(b @ b.transpose(2, 3))
    return products.flatten(1).sum(1).clamp_min(0)  # cancellation may leave it below 0


@dataclass(frozen=True)
class Explicit:
    """The gradient itself.

    Attributes:
        value: (B, *shape).
    """

    value: Tensor

    @property
    def batch(self) -> int:
        """B."""
        return len(self.value)

    def merged(self, batch: int) -> Explicit:
        """Rows add up."""
        return Explicit(torch.unflatten(self.value, 0, (batch, -1)).sum(1))

    def squared_norm(self) -> Tensor:
        """Sum of squares."""
        return _rows(self.value).square().sum(1)

    def dot(self, vector: Tensor) -> Tensor:
        """Sum of products."""
        return _rows(self.value) @ vector.flatten()

    def dense(self, rows: slice) -> Tensor:
        """A slice."""
        return single(self.value[rows])

    def kronecker(self, left: Tensor, right: Tensor) -> Tensor:
        """Two products."""
        matrices = single(self.value).reshape(self.batch, left.shape[1], right.shape[1])
        return left @ matrices @ right.T


def squared_norm(terms: Sequence[Term]) -> Tensor:
    """(B,) squared norm of the sum of several terms of the same parameter.

    Uses of a weight at further positions (a layer that is called twice) are joined before the product; an embedding
    that is also the last layer needs the inner product of its two terms; anything else is formed and added up, a few
    examples at a time.
    """
    if len(terms) == 1:
        return terms[0].squared_norm()
    products = [term for term in terms if isinstance(term, OuterProduct)]
    lookups = [term for term in terms if isinstance(term, Lookup)]
    if len(products) + len(lookups) == len(terms) and lookups:
        table = Lookup(torch.cat([t.ids for t in lookups], 1), torch.cat([t.b for t in lookups], 1), lookups[0].rows)
        total = table.squared_norm()
        if products:
            cross = sum(_cross(product, table) for product in products)
            total = (total + squared_norm(products) + 2 * cross).clamp_min(0)
        return total
    if len(products) == len(terms) and len({(g, d, p) for g, _, d, p in (term.sizes for term in products)}) == 1:
        needed = sum(map(_cost, products))
        return torch.cat([_joined(products, rows) for rows in chunks(terms[0].batch, needed, products[0].a.device)])
    one = terms[0].dense(slice(0, 1))
    sums = (sum(term.dense(rows) for term in terms) for rows in chunks(terms[0].batch, one.numel(), one.device))
    return torch.cat([s.flatten(1).square().sum(1) for s in sums if isinstance(s, Tensor)])


def _joined(products: Sequence[OuterProduct], rows: slice) -> Tensor:
    pairs = [product.factors(rows) for product in products]
    a, b = (torch.cat(parts, dim=2) for parts in zip(*pairs, strict=True))
    t, d, p = a.shape[2], a.shape[3], b.shape[3]
    return _gram(a, b) if t * (d + p) < d * p and not rounds_products(b.device) else _direct(a, b)


def _cost(product: OuterProduct) -> int:
    g, t, d, p = product.sizes
    return g * (t * (d + p) + d * p)


def _cross(product: OuterProduct, table: Lookup) -> Tensor:
    """<sum_s c_s h_s', rows b_t at id_t> = sum over s, t of c_s[id_t] (h_s . b_t)."""
    h, c = (factor.squeeze(1) for factor in product.factors(slice(None)))
    picked = c.gather(2, table.ids[:, None, :].expand(-1, c.shape[1], -1))
    return (picked * (h @ single(table.b).transpose(1, 2))).flatten(1).sum(1)


def _rows(x: Tensor) -> Tensor:
    return single(x).reshape(len(x), -1)
