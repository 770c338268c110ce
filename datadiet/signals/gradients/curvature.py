"""The curvature of one parameter, as `datadiet.signals.gradients.kfac` keeps it: Kronecker factors, or a diagonal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from datadiet.errors import DataError
from datadiet.signals.gradients.products import chunks, sum_of_products
from datadiet.signals.gradients.terms import Explicit, OuterProduct, Term

__all__ = ["Block", "DiagonalBlock", "KroneckerBlock", "block_for", "block_from"]

_FULL = 1024  # the most entries of a 1-D parameter whose full covariance is kept


class KroneckerBlock:
    """Covariances per group: of the inputs, (g, d, d), and of the gradients of the outputs, (g, p, p).

    Attributes:
        eigenvalues: (g, p, d) float64, products of an eigenvalue of each.
        measured: (g, p, d) float64, mean squares of the rotated gradients, or None.
        turn_a, turn_b: (g, d, d) and (g, p, p), eigenvectors in the columns.
    """

    def __init__(self) -> None:
        self.inputs: Tensor | int = 0
        self.outputs: Tensor | int = 0
        self.positions = 0
        self.measured: Tensor | None = None

    def observe(self, terms: Sequence[Term]) -> None:
        """Add the gradients of some examples."""
        for a, b in _factors(terms):
            self.positions += len(a) * a.shape[2]
            self.dtype = a.dtype
            a, b = (x.transpose(0, 1).flatten(1, 2) for x in (a, b))
            self.inputs = self.inputs + (a.mT @ a).double()
            self.outputs = self.outputs + (b.mT @ b).double()

    def solve(self, examples: int) -> None:
        """Compute the eigenvalues and eigenvectors of the sums."""
        assert isinstance(self.inputs, Tensor) and isinstance(self.outputs, Tensor)
        if not (self.inputs.isfinite().all() and self.outputs.isfinite().all()):
            raise DataError("the curvature is not finite: check inputs and weights for values that are too large.")
        alpha, turn_a = torch.linalg.eigh(self.inputs / examples)
        sigma, turn_b = torch.linalg.eigh(self.outputs / self.positions)
        # Covariances have no negative eigenvalues: any that appear are rounding, 1e-16 of the largest.
        self.eigenvalues = sigma.clamp_min(0)[:, :, None] * alpha.clamp_min(0)[:, None, :]
        self.turn_a, self.turn_b = turn_a.to(self.dtype), turn_b.to(self.dtype)
        self.inputs = self.outputs = 0

    def state_dict(self) -> dict[str, Tensor]:
        """The collected tensors, by name."""
        found = {"eigenvalues": self.eigenvalues, "turn_a": self.turn_a.mT, "turn_b": self.turn_b.mT}
        return found if self.measured is None else {**found, "measured": self.measured}

    def squares(self, terms: Sequence[Term]) -> Tensor:
        """(g, p, d) float64: squares of the rotated gradients, summed over examples."""
        total = torch.zeros_like(self.eigenvalues)
        for a, b in _factors(terms):
            if a.shape[2] == 1:  # the squares of an outer product are an outer product of squares
                a, b = (_times(x, turn).square() for x, turn in ((a, self.turn_a), (b, self.turn_b)))
                total += torch.einsum("ngtp,ngtd->gpd", b, a)
            else:
                total += _rotated(a, b, self.turn_a, self.turn_b, _by_factors(a, b)).square().sum(0)
        return total

    def energy(self, terms: Sequence[Term], weights: Tensor) -> Tensor:
        """(B,): squares of the rotated gradients times weights (g, p, d)."""
        weights, parts = weights.to(self.dtype), []
        for a, b in _factors(terms):
            if a.shape[2] == 1:
                a, b = (_times(x, turn).square() for x, turn in ((a, self.turn_a), (b, self.turn_b)))
                parts.append((_times(b, weights) * a).sum((1, 2, 3)))
            else:
                turned = _rotated(a, b, self.turn_a, self.turn_b, _by_factors(a, b))
                parts.append(turned.square_().mul_(weights).sum((1, 2, 3)))
        return torch.cat(parts)


class DiagonalBlock:
    """Mean squares of the entries.

    Attributes:
        eigenvalues, measured: (*shape) float64, from the first and the second pass.
    """

    def __init__(self) -> None:
        self.sums: Tensor | int = 0
        self.measured: Tensor | None = None

    def observe(self, terms: Sequence[Term]) -> None:
        """Add the gradients of some examples."""
        self.sums = self.sums + self.squares(terms)

    def solve(self, examples: int) -> None:
        """Compute the eigenvalues: the mean squares."""
        assert isinstance(self.sums, Tensor)
        self.eigenvalues = self.sums / examples

    def state_dict(self) -> dict[str, Tensor]:
        """The collected tensors, by name."""
        found = {"eigenvalues": self.eigenvalues}
        return found if self.measured is None else {**found, "measured": self.measured}

    def squares(self, terms: Sequence[Term]) -> Tensor:
        """(*shape) float64: squares of the gradients, summed over examples."""
        return torch.stack([dense.square().sum(0).double() for dense in _dense(terms)]).sum(0)

    def energy(self, terms: Sequence[Term], weights: Tensor) -> Tensor:
        """(B,): squares of the gradients times weights (*shape)."""
        return torch.cat([(dense.square() * weights.to(dense.dtype)).flatten(1).sum(1) for dense in _dense(terms)])


Block = KroneckerBlock | DiagonalBlock


def block_for(terms: Sequence[Term]) -> Block:
    """Kronecker factors for sums of outer products and for short 1-D parameters; a diagonal for all else."""
    if not all(isinstance(term, Explicit) for term in terms):
        return KroneckerBlock() if all(isinstance(term, OuterProduct) for term in terms) else DiagonalBlock()
    one = terms[0].dense(slice(0, 1))
    return KroneckerBlock() if one.ndim == 2 and one.numel() <= _FULL else DiagonalBlock()


def block_from(state: Mapping[str, Tensor]) -> Block:
    """The block whose `state_dict` this is."""
    if "turn_a" not in state:
        block: Block = DiagonalBlock()
    else:
        block = KroneckerBlock()  # eigenvectors are stored by rows and kept by columns, as eigh returns them
        block.turn_a, block.turn_b, block.dtype = state["turn_a"].mT, state["turn_b"].mT, state["turn_a"].dtype
    block.eigenvalues, block.measured = state["eigenvalues"], state.get("measured")
    return block


def _factors(terms: Sequence[Term]) -> Iterator[tuple[Tensor, Tensor]]:
    """(n, g, T, d) and (n, g, T, p), a few examples at a time; further uses are further positions."""
    products = [term for term in terms if isinstance(term, OuterProduct)]
    if not products:
        for dense in _dense(terms):
            yield dense.new_ones(len(dense), 1, 1, 1), dense[:, None, None, :]
        return
    g, t, d, p = products[0].sizes
    needed = g * (t * len(products) * (d + p) + (2 * d * p if t * len(products) > 1 else 0))
    for rows in chunks(terms[0].batch, needed, products[0].a.device):
        a, b = zip(*(product.factors(rows) for product in products), strict=True)
        yield torch.cat(a, 2), torch.cat(b, 2)


def _dense(terms: Sequence[Term]) -> Iterator[Tensor]:
    """(n, *shape) gradients, a few examples at a time."""
    one = terms[0].dense(slice(0, 1))
    for rows in chunks(terms[0].batch, one.numel(), one.device):
        yield sum((term.dense(rows) for term in terms[1:]), terms[0].dense(rows))


def _times(x: Tensor, matrix: Tensor) -> Tensor:
    """(n, g, t, k) times (g, k, m) -> (n, g, t, m), by one product per group for all examples."""
    n, _, t, _ = x.shape
    return torch.unflatten(x.transpose(0, 1).flatten(1, 2) @ matrix, 1, (n, t)).transpose(0, 1)


def _rotated(a: Tensor, b: Tensor, turn_a: Tensor, turn_b: Tensor, by_factors: bool) -> Tensor:
    """(n, g, p, d): Q_S' G Q_A, from rotated factors or from the gradient."""
    if by_factors:
        return sum_of_products(_times(b, turn_b), _times(a, turn_a))
    return _times(_times(sum_of_products(b, a), turn_a).mT, turn_b).mT


def _by_factors(a: Tensor, b: Tensor) -> bool:
    """Whether rotating the factors takes fewer multiplications than rotating the gradient."""
    t, d, p = a.shape[2], a.shape[3], b.shape[3]
    return t * (d * d + p * p) < p * d * (p + d)
