"""Per-example gradients of a table whose rows are looked up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from datadiet.signals.gradients.products import chunks, single

__all__ = ["Lookup", "accumulate"]


def accumulate(out: Tensor, places: Tensor, values: Tensor) -> Tensor:
    """Add each value to its place, in place, with the terms of a sum in the same order every time.

    CUDA's `scatter_add_` and `index_add_` add floats in the order in which its threads arrive, so that the last digits
    differ from run to run; its `index_put_` sorts first. On a processor it is the other way round.

    Args:
        out: (n, m, …), contiguous.
        places: (n, q) int64 in 0..m-1.
        values: (n, q, …).
    """
    rows = torch.arange(len(out), device=out.device)[:, None]
    if not _in_order(out.device):
        return out.index_put_((rows, places), values, accumulate=True)
    if values.ndim == 2:
        return out.scatter_add_(1, places, values)
    flat = out.view(-1, *out.shape[2:])  # for more than single numbers, `index_add_` is the faster one
    flat.index_add_(0, (rows * out.shape[1] + places).flatten(), values.flatten(0, 1))
    return out


def _in_order(device: torch.device) -> bool:
    """Whether `scatter_add_` and `index_add_` add in the order of their arguments."""
    return device.type == "cpu"


@dataclass(frozen=True)
class Lookup:
    """Rows of a table: at each position, b_t is added to the row that was looked up.

    Attributes:
        ids: (B, T) int64.
        b: (B, T, p), zero where the row has no gradient (the padding index).
        rows: number of rows of the table.
    """

    ids: Tensor
    b: Tensor
    rows: int

    @property
    def batch(self) -> int:
        """B."""
        return len(self.ids)

    def merged(self, batch: int) -> Lookup:
        """Rows become positions."""
        return replace(self, ids=self.ids.reshape(batch, -1), b=self.b.reshape(batch, -1, self.b.shape[-1]))

    def squared_norm(self) -> Tensor:
        """An example's gradients of the same row add up before they are squared."""
        spans = chunks(self.batch, self.b[0].numel(), self.b.device)
        return torch.cat([_squares_of_rows(self.ids[rows], single(self.b[rows])) for rows in spans])

    def dot(self, vector: Tensor) -> Tensor:
        """(B,) inner products with a table of the same shape."""
        return (vector[self.ids] * single(self.b)).flatten(1).sum(1)

    def dense(self, rows: slice) -> Tensor:
        """Whole tables, mostly zero."""
        ids, b = self.ids[rows], single(self.b[rows])
        return accumulate(b.new_zeros(len(ids), self.rows, b.shape[-1]), ids, b)

    def kronecker(self, left: Tensor, right: Tensor) -> Tensor:
        """The columns of `left` that were looked up, times the projected gradients."""
        return left.T[self.ids].transpose(1, 2) @ (single(self.b) @ right.T)


def _squares_of_rows(ids: Tensor, b: Tensor) -> Tensor:
    """(n,): `Lookup.squared_norm` of a few examples.

    The different rows of an example are numbered from 0, so that all sizes follow from those of the ids: an accelerator
    need not wait for the host to count rows.
    """
    ordered, order = ids.sort(1)
    number = functional.pad((ordered[:, 1:] != ordered[:, :-1]).cumsum(1), (1, 0))
    sums = accumulate(b.new_zeros(b.shape), torch.empty_like(number).scatter_(1, order, number), b)
    return accumulate(b.new_zeros(len(b), 1), torch.zeros_like(ids), sums.square().sum(2))[:, 0]
