"""Prune and grow: a network that is sparse from the start, and whose masks go on changing while it trains.

From time to time, a share of the kept weights of each layer is dropped, those with the smallest |w|, and as many of the
others are grown. The share falls from its first value a to 0 at the end of the window, as a/2 (1 + cos(pi u)) at its
point u. Which weights are grown:

- RigL (Evci et al.: Rigging the Lottery: Making All Tickets Winners, ICML 2020, arXiv 1911.11134): those with the
  largest |gradient|, since the loss falls fastest there. a = 0.3, and the masks of the start are random, with ERK.
- SET (Mocanu et al.: Scalable training of artificial neural networks with adaptive sparse connectivity inspired by
  network science, Nature Communications 2018): random ones.
- GraNet (Liu et al.: Sparse Training via Boosting Pruning Plasticity with Neuroregeneration, NeurIPS 2021, arXiv
  2106.10404): as RigL with a = 0.5, in a network that is dense at first, and pruned gradually (see
  `datadiet.sparsity.pace`) before each exchange.

A grown weight starts at 0, without momentum. Weights that were just dropped may be grown again and stay what they are,
as in RigL's code.

Deviations: RigL changes its masks every 100 steps; here they change a hundred times in the window, or at every step of
a shorter one, so that a short training has an exchange at all. SET keeps the share constant, goes on to the end, drops
the smallest positive and the largest negative weights, and draws new weights; here it differs from RigL only in what
is grown, as in Evci et al. GraNet goes on exchanging weights after the pruning has ended. Ties are broken by position.

Cost: a hundred selections among the weights of each layer; the gradient is that of an ordinary step.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from datadiet.errors import OptionError
from datadiet.sparsity.allocation import Kept, Layers, draws, largest_in_each
from datadiet.sparsity.pace import Pace, PaceSpec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["GROWTH", "Growth", "GrowthSpec", "prune_and_grow"]


def prune_and_grow(weights: Layers, masks: Layers, scores: Layers, share: float) -> Kept:
    """Exchange a share of the kept weights of each layer: the smallest are dropped, and as many others are grown.

    Args:
        weights: name -> tensor.
        masks: name -> bool, True = kept.
        scores: name -> a number for each weight, finite, of the shape of the weights; the largest are grown. Dropped
            weights are candidates too.
        share: of the kept weights of a layer, in [0, 1); rounded down to a number of weights.

    Returns:
        name -> bool, True = kept; as many of each layer as before.

    Raises:
        DataError: NaN or infinity.

    References:
        Evci et al. 2020, algorithm 1.

    >>> import torch
    >>> weights, masks = {"a": torch.tensor([[3.0, -1.0, 0.0, 0.0]])}, {"a": torch.tensor([[True, True, False, False]])}
    >>> prune_and_grow(weights, masks, {"a": torch.tensor([[9.0, 1.0, 2.0, 5.0]])}, 0.5)["a"].int().tolist()
    [[1, 0, 0, 1]]
    """
    import torch

    counts = dict(zip(masks, torch.stack([mask.sum() for mask in masks.values()]).tolist(), strict=True))
    sizes = {name: weights[name].detach().abs().masked_fill(~mask, -1.0) for name, mask in masks.items()}
    stay = largest_in_each(sizes, {name: kept - math.floor(share * kept) for name, kept in counts.items()})
    first = {name: scores[name].masked_fill(one, torch.finfo(scores[name].dtype).max) for name, one in stay.items()}
    return largest_in_each(first, counts)


def _gradients(weights: Layers, seed: int) -> dict[str, Tensor]:
    """|gradient| of the latest step; 0 for weights that the network does not use."""
    import torch

    found = {name: weight.grad for name, weight in weights.items()}
    return {name: torch.zeros_like(weights[name]) if one is None else one.abs() for name, one in found.items()}


@dataclass(frozen=True)
class GrowthSpec(PaceSpec):
    """A method that prunes and grows.

    Attributes:
        scores: (weights, seed) -> name -> a number for each weight; the largest are grown.
        gradual: whether the network is dense at first, and becomes sparse within the window.
    """

    name: Literal["rigl", "set", "granet"]
    scores: Callable[[Layers, int], dict[str, Tensor]]
    gradual: bool = False

    @property
    def share(self) -> float:
        """Of the kept weights of each layer, how many are exchanged at first."""
        return float(self.parameters["share"])


_WINDOW = "0-0.75"

GROWTH: dict[str, GrowthSpec] = {
    spec.name: spec
    for spec in (
        GrowthSpec(
            "rigl", "sparse from the start; the smallest weights are exchanged for those with the largest gradients",
            "Evci et al. 2020", {"window": _WINDOW, "share": 0.3}, prune_and_grow, _gradients,
        ),
        GrowthSpec(
            "set", "sparse from the start; the smallest weights are exchanged for random ones", "Mocanu et al. 2018",
            {"window": _WINDOW, "share": 0.3}, prune_and_grow, draws,
        ),
        GrowthSpec(
            "granet", "dense at first, pruned gradually, with exchanges as in rigl", "Liu et al. 2021",
            {"window": _WINDOW, "share": 0.5}, prune_and_grow, _gradients, gradual=True,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Growth(Pace):
    """The pace of a method that prunes and grows.

    Attributes:
        kind: the name of the method.
        begin: of the window in which the masks change, as a share of the training.
        end: of this window.
        share: of the kept weights of each layer that is exchanged at the beginning of the window.

    >>> Growth.read("rigl"), Growth.read("set:0-1,share=0.2")
    (Growth(kind='rigl', begin=0.0, end=0.75, share=0.3), Growth(kind='set', begin=0.0, end=1.0, share=0.2))
    """

    end: float = 0.75
    share: float = 0.3

    @classmethod
    def read(cls, text: str) -> Growth:
        """The pace that a user writes.

        Raises:
            OptionError: another form, or a number out of range.
        """
        number = r"(\d*\.?\d+)"
        found = re.fullmatch(rf"({'|'.join(GROWTH)})(?::{number}-{number})?(?:[:,]share={number})?", str(text))
        if found is None:
            spec = GROWTH[str(text).partition(":")[0]]
            raise OptionError(f"sparsify_when={text!r} (--sparsify-when): write {spec.name} or {spec.written}.")
        spec = GROWTH[found[1]]
        begin, end = (found[2], found[3]) if found[2] else _WINDOW.split("-")
        pace = cls(spec.name, float(begin), float(end), float(found[4] or spec.share))
        if not (0 <= pace.begin < pace.end <= 1 and 0 < pace.share < 1):
            raise OptionError(
                f"sparsify_when={text!r} (--sparsify-when): the window must be ascending between 0 and 1, and the "
                "share of the weights to exchange between 0 and 1."
            )
        return pace

    def __str__(self) -> str:
        """The pace as users write it."""
        return f"{super().__str__()},share={self.share:g}"

    @property
    def spec(self) -> GrowthSpec:
        """The record of the method."""
        return GROWTH[self.kind]

    def sparsity(self, final: float, progress: float) -> float:
        """The sparsity at some progress of the training, 0 to 1."""
        return super().sparsity(final, progress) if self.spec.gradual else final

    def update(self, progress: float) -> int:
        """Which mask is in use, counted from 0 (none)."""
        return super().update(progress) + (not self.spec.gradual)

    def exchanged(self, progress: float) -> float:
        """The share of the kept weights of each layer to exchange at some progress within the window."""
        u = min(1.0, (progress - self.begin) / (self.end - self.begin))
        return self.share / 2 * (1 + math.cos(math.pi * u))
