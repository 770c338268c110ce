"""Per-example gradients of a table whose rows are looked up."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from datadiet.signals.gradients.products import chunks, single

__all__ = ["Lookup"]


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
        out = b.new_zeros(len(ids), self.rows, b.shape[-1])
        return out.scatter_add_(1, ids[..., None].expand_as(b), b)

    def kronecker(self, left: Tensor, right: Tensor) -> Tensor:
        """The columns of `left` that were looked up, times the projected gradients."""
        return left.T[self.ids].transpose(1, 2) @ (single(self.b) @ right.T)


def _squares_of_rows(ids: Tensor, b: Tensor) -> Tensor:
    """(n,): `Lookup.squared_norm` of a few examples.

    The different rows of an example are numbered from 0, so that all sizes follow from those of the ids: an accelerator
    need not wait for the host to count rows.
    """
    batch, positions = ids.shape
    ordered, order = ids.sort(1)
    number = functional.pad((ordered[:, 1:] != ordered[:, :-1]).cumsum(1), (1, 0))
    example = torch.arange(batch, device=ids.device)[:, None].expand(-1, positions)
    places, b = (example * positions).scatter_add(1, order, number).flatten(), b.flatten(0, 1)
    sums = torch.zeros_like(b).index_add_(0, places, b)
    return b.new_zeros(batch).index_add_(0, example.flatten(), sums.square().sum(1))
