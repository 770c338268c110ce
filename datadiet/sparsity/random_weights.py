"""Random pruning: prune weights drawn at random, a chosen number in each layer.

Liu et al.: The Unreasonable Effectiveness of Random Pruning: Return of the Most Naive Baseline for Sparse Training,
ICLR 2022 (arXiv 2202.02643). A network pruned at random before training, with layer shares by ERK, comes close to a
dense one if it is wide enough. It is the baseline of every other method.

Deviations: the authors draw each weight by itself, so their sparsity is random too; here each layer keeps an exact
number.

Cost: one random number for each weight.
"""

from __future__ import annotations

from typing import Literal

from datadiet.parameters import checked
from datadiet.sparsity.allocation import Kept, Layers, draws, kept_of, largest_in_each, shares
from datadiet.sparsity.spec import PruningSpec

__all__ = ["SPEC", "random_weights"]


@checked
def random_weights(
    weights: Layers, sparsity: float, *, layers: Literal["uniform", "er", "erk"] = "erk", seed: int = 0
) -> Kept:
    """Weights drawn at random in each layer.

    Args:
        weights: name -> tensor.
        sparsity: the share to prune, in (0, 1).
        layers: how the layers share what is kept. Paper: "erk".
        seed: of the draws. A higher sparsity with the same seed keeps a part of the same weights of a layer.

    Returns:
        name -> bool, True = kept; exactly (1 - sparsity) N of them.

    Raises:
        OptionError: a number out of range, or another `layers`.

    References:
        Liu et al. 2022.
    """
    return largest_in_each(draws(weights, seed), shares(weights, kept_of(weights, sparsity), layers))


SPEC = PruningSpec(random_weights, when="start", reference="Liu et al. 2022")
