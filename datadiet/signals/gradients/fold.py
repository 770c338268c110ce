"""Folding gradients into k buckets: each entry has one sign and one bucket, by its row and column.

Entry (i, c) belongs to bucket (i mod fo, (c + s (i div fo)) mod fi), with k = fo fi and s >= the number of columns,
coprime to fi: the entries with the same i mod fo are laid end to end, with gaps, and wound round fi buckets. So a
gradient with few nonzero columns still fills all buckets; one with a single row fills min(fi, columns) of them.
The result does not depend on the form of the gradient; for an outer product it costs little more than a pass
through the layer, since the columns of a bucket are a slice of one factor, with p fi intermediate numbers instead of
p d.
"""

from __future__ import annotations

from functools import lru_cache
from math import gcd, isqrt, prod
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from datadiet.signals.gradients.lookup import Lookup, accumulate
from datadiet.signals.gradients.products import chunks
from datadiet.signals.gradients.terms import OuterProduct, Term

__all__ = ["Buckets", "buckets_of", "fold_dense", "fold_outer", "fold_rows"]

_ROWS = 16  # the fewest rows for each of the fo, since the rows of a gradient differ much in size


class Buckets(NamedTuple):
    """How a parameter is folded: as a matrix of rows and columns, with fo, fi and the step s from above."""

    rows: int
    columns: int
    fo: int
    fi: int
    step: int

    def slices(self, x: Tensor) -> Tensor:
        """(n, columns) -> (fi, C, n), contiguous: the columns c with the same c mod fi, with zeros at the end."""
        filled = functional.pad(x, (0, -self.columns % self.fi))
        return filled.view(len(x), -1, self.fi).permute(2, 1, 0).contiguous()


@lru_cache
def buckets_of(k: int, shape: torch.Size) -> Buckets:
    """The buckets of a parameter; with at most k entries, each entry has its own.

    Args:
        k: how many buckets.
        shape: of the parameter.
    """
    size = prod(shape)
    if len(shape) < 2 or size <= k:
        return Buckets(1, size, 1, k, size)
    rows, columns = shape[0], size // shape[0]
    fo = next(fo for fo in range(max(1, min(rows // _ROWS, isqrt(k))), 0, -1) if k % fo == 0)
    fi = k // fo
    return Buckets(rows, columns, fo, fi, next(s for s in range(columns, columns + fi + 1) if gcd(s, fi) == 1))


def fold_dense(term: Term, signs: Tensor, buckets: Buckets) -> Tensor:
    """(B, k), from gradients that are formed a few examples at a time.

    Args:
        term: of any kind.
        signs: (rows, columns).
        buckets: of its parameter.
    """
    rows, columns, fo, fi, step = buckets
    parts = []
    for span in chunks(term.batch, rows * columns, signs.device):
        signed = term.dense(span).reshape(-1, rows, columns) * signs
        filled = functional.pad(signed, (0, step - columns, 0, -rows % fo))
        lines = filled.view(len(filled), -1, fo, step).transpose(1, 2).flatten(2)
        wound = functional.pad(lines, (0, -lines.shape[2] % fi)).view(len(filled), fo, -1, fi)
        parts.append(wound.sum(2).flatten(1))
    return torch.cat(parts)


def fold_outer(term: OuterProduct, kernels: Tensor, buckets: Buckets) -> Tensor:
    """(B, k), for the weight of a linear layer used at one position per example.

    For each slice of columns, the inputs times the signs are a matrix product; its entries times the output gradients
    are added into their buckets.

    Args:
        term: with one group and one position.
        kernels: (fi, C, rows), the signs as `buckets.slices` arranges them.
        buckets: of its parameter.
    """
    rows, _, fo, fi, step = buckets
    turns = torch.arange(-(-rows // fo), device=kernels.device)
    places = torch.arange(fi, device=kernels.device)[:, None]
    origin = (places - turns * step) % fi  # (fi, R): which slice lands in a bucket
    parts = []
    for span in chunks(term.batch, rows * fi, kernels.device):
        a, b = (factor[:, 0, 0] for factor in term.factors(span))
        signed = (buckets.slices(a).mT @ kernels).mul_(b)  # (fi, n, rows)
        filled = functional.pad(signed, (0, -rows % fo)).view(fi, len(a), -1, fo)
        parts.append(filled.transpose(1, 2)[origin, turns].sum(1).permute(1, 2, 0).flatten(1))
    return torch.cat(parts)


def fold_rows(term: Lookup, signs: Tensor, buckets: Buckets) -> Tensor:
    """(B, k), for a table in which few rows have a gradient.

    Args:
        term: which rows.
        signs: of the shape of the table.
        buckets: of the table.
    """
    _, columns, fo, fi, step = buckets
    values = (term.b * signs[term.ids]).flatten(1)
    entries = (term.ids[..., None] * signs.shape[1] + torch.arange(signs.shape[1], device=values.device)).flatten(1)
    i, c = entries // columns, entries % columns
    places = i % fo * fi + (c + i // fo * step) % fi
    return accumulate(values.new_zeros(term.batch, fo * fi), places, values)
