"""Random projections of per-example gradients to k numbers that keep norms and inner products on average.

Two kinds. The Kronecker projection L G R' of a matrix gradient G, with L (ko, p) and R (ki, d) of entries ±1/sqrt(ko)
and ±1/sqrt(ki) and k = ko ki, is computed from the factors of G, which is never formed (LoGra: Choe et al. 2024, arXiv
2405.13954). Fold: G times one sign per entry, then every entry is added into one of k buckets (`fold.py`). Parameters
are projected independently of each other and summed.

Both are unbiased, E ||P x||^2 = ||x||^2 and E <P x, P y> = <x, y>, since E P'P = I. Fold: the square of a bucket is the
sum of the squares of its entries, each in one bucket, plus products of different signs, which are independent with mean
0. Kronecker: E L'L and E R'R are identities in the same way, and L and R are independent. Sum: every P has mean 0, so
products of different parameters vanish.

Their noise differs. For G = b a' the standard deviation of ||P x||^2 / ||x||^2 is sqrt((1 + 2/ko) (1 + 2/ki) - 1) by
Kronecker, 0.52 at k = 256, and about sqrt(2/k), 0.09, by fold or for G with many equal singular values. So gradients
of rank one (a layer that sees one position per example) are folded, as are gradients that are formed anyway and those
with at most k entries, which fold keeps exactly.

*Deviations*: fold is a count sketch whose buckets go by position instead of by a hash, so that for G = b a' nothing of
the size of G is formed.

*Cost*: Kronecker T (d ki + p ko + k) operations per example and use on T positions; fold p d, like one pass through the
layer. The signs are drawn once and kept: ko p + ki d of them for Kronecker, p d for fold.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod, sqrt
from typing import Any, Literal

import torch
from torch import Tensor

from datadiet.errors import OptionError
from datadiet.randomness import derive
from datadiet.signals.gradients.batch import ModelInputs, size_of
from datadiet.signals.gradients.checks import finite_rows
from datadiet.signals.gradients.engine import PerExample
from datadiet.signals.gradients.fold import buckets_of, fold_dense, fold_outer, fold_rows
from datadiet.signals.gradients.lookup import Lookup
from datadiet.signals.gradients.products import wide
from datadiet.signals.gradients.terms import OuterProduct, Term
from datadiet.signals.kronecker import sides

__all__ = ["Projector", "projected"]


class Projector:
    """A random projection, fixed by the seed and, for each parameter, its name and shape.

    One projector may serve all batches and all checkpoints of a network; two with the same arguments are equal.

    Attributes:
        k: columns, ko·ki with ko <= ki <= 2 ko: squares, twice squares, 12, 20, 30, …
        seed: a whole number of at least 0.
        by_layer: k columns for each layer instead of their sum.
        method: "auto"; "kronecker" or "fold" for all parameters of more than k entries.

    Raises:
        OptionError: k below 4 or without such factors; an unknown method.
    """

    def __init__(
        self, k: int, seed: int = 0, *, by_layer: bool = False, method: Literal["auto", "kronecker", "fold"] = "auto"
    ) -> None:
        if method not in ("auto", "kronecker", "fold"):
            raise OptionError(f"method={method!r}: give 'auto', 'kronecker' or 'fold'.")
        self.k, self.seed, self.by_layer, self.method = k, seed, by_layer, method
        self._sides = sides(k)
        self._several: dict[tuple[str, torch.Size], bool] = {}
        self._drawn: dict[tuple[Any, ...], Tensor] = {}

    def blocks(self, engine: PerExample) -> list[str]:
        """The layers in the order of their columns; without `by_layer`, a single block with an empty name."""
        return list(dict.fromkeys(map(self._block, engine.parameters)))

    def edges(self, engine: PerExample) -> list[int]:
        """The columns where blocks begin and end, from 0: the `blocks` of `datainf`."""
        return [self.k * number for number in range(len(self.blocks(engine)) + 1)]

    def project(self, name: str, parameter: Tensor, terms: Sequence[Term]) -> Tensor:
        """The projected gradients of one parameter.

        Args:
            name: of the parameter.
            parameter: for its shape and dtype.
            terms: the terms that sum to its gradient.

        Returns:
            (B, k), float64 for float64 weights, else float32, on the device of the terms.

        Raises:
            OptionError: the parameter has one position per example in one batch and several in another.
        """
        kronecker = self._by_kronecker(name, parameter.shape, terms)
        parts = [(self._kronecker if kronecker else self._fold)(name, parameter, term) for term in terms]
        return sum(parts[1:], parts[0])

    def _block(self, name: str) -> str:
        return name.rpartition(".")[0] if self.by_layer else ""

    def _by_kronecker(self, name: str, shape: torch.Size, terms: Sequence[Term]) -> bool:
        small = len(shape) < 2 or prod(shape) <= self.k
        if small or self.method != "auto":
            return not small and self.method == "kronecker"
        several = any(_positions(term) > 1 for term in terms)
        if self._several.setdefault((name, shape), several) != several:
            raise OptionError(
                f"{name} is used at {'several positions' if several else 'one position'} per example in this batch, "
                "unlike in the first one, by which its projection was chosen: choose it with method='kronecker' or "
                "method='fold'."
            )
        return several

    def _kronecker(self, name: str, parameter: Tensor, term: Term) -> Tensor:
        sizes = len(parameter), parameter[0].numel()
        left, right = (
            self._signs(name, role, (own, size), parameter) / sqrt(own)
            for role, own, size in zip(("left", "right"), self._sides, sizes, strict=True)
        )
        return term.kronecker(left, right).flatten(1)

    def _fold(self, name: str, parameter: Tensor, term: Term) -> Tensor:
        buckets = buckets_of(self.k, parameter.shape)
        shape = buckets.rows, buckets.columns
        if isinstance(term, OuterProduct) and parameter.ndim == 2 and buckets.rows > 1 and _positions(term) == 1:
            kernels = self._signs(name, "fold", shape, parameter, buckets.slices)
            return fold_outer(term, kernels, buckets)
        signs = self._signs(name, "fold", shape, parameter)
        if isinstance(term, Lookup):
            return fold_rows(term, signs.view(parameter.shape), buckets)
        return fold_dense(term, signs, buckets)

    def _signs(
        self,
        name: str,
        role: str,
        shape: tuple[int, int],
        like: Tensor,
        arrange: Callable[[Tensor], Tensor] | None = None,
    ) -> Tensor:
        """Entries ±1 with the dtype and device of a parameter; drawn once, arranged and kept."""
        key = (name, role, shape, wide(like), like.device, arrange is None)
        if key not in self._drawn:
            generator = torch.Generator().manual_seed(derive(self.seed, "project", name, role))
            signs = 2 * torch.randint(0, 2, shape, generator=generator, dtype=torch.int8) - 1
            self._drawn[key] = (signs if arrange is None else arrange(signs)).to(like.device, wide(like))
        return self._drawn[key]


def projected(engine: PerExample, projector: Projector, inputs: ModelInputs, targets: Any) -> Tensor:
    """The projected gradients of a batch.

    Independent of what else is in the batch up to rounding (relative 1e-5), since the order of sums may change.

    Args:
        engine: of a model in evaluation mode.
        projector: the same for all batches and networks that you want to compare.
        inputs: a tensor (B, …), or a sequence or mapping of arguments.
        targets: (B,) labels, or whatever the engine's loss takes.

    Returns:
        (B, k) float32; (B, layers·k) if the projector is `by_layer`, in the order of `projector.blocks(engine)`, zero
        for a layer that no loss depends on.

    Raises:
        OptionError: anything that the engine refuses; a number of positions that changes from one to several.
        DataError: a gradient that is not finite; it names the row.
    """
    sums: dict[str, Tensor] = {}

    def add(name: str, terms: Sequence[Term]) -> None:
        block, part = projector._block(name), projector.project(name, engine.parameters[name], terms)
        sums[block] = sums[block] + part.to(sums[block].device) if block in sums else part

    losses = engine(inputs, targets, add)
    zero = losses.new_zeros(size_of(inputs), projector.k)
    out = torch.cat([sums.get(block, zero).to(zero.device) for block in projector.blocks(engine)], 1)
    finite_rows(out)
    return out.float()


def _positions(term: Term) -> int:
    """How many vectors an example multiplies with the parameter; 1 for a gradient that is formed anyway."""
    if isinstance(term, OuterProduct):
        return term.sizes[1]
    return term.ids.shape[1] if isinstance(term, Lookup) else 1
