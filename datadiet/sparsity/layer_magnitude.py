"""Magnitude pruning: prune the smallest weights of each layer, the same share of all, or one that follows its shape.

Han et al.: Learning both Weights and Connections for Efficient Neural Networks, NeurIPS 2015 (arXiv 1506.02626), with
the shares of `datadiet.sparsity.allocation.shares`: "uniform" is what Zhu and Gupta 2017 (arXiv 1710.01878) use, "erk"
what Evci et al. 2020 (arXiv 1911.11134) found better.

Deviations: exact numbers per layer by largest remainder, and ties by position; the first layer and the head are pruned
too, unless they are named in `keep_dense`.

Cost: a selection among the numbers of each layer.
"""

from __future__ import annotations

from typing import Literal

from datadiet.parameters import checked
from datadiet.sparsity.allocation import Kept, Layers, kept_of, largest_in_each, shares
from datadiet.sparsity.spec import PruningSpec

__all__ = ["SPEC", "layer_magnitude"]


@checked
def layer_magnitude(weights: Layers, sparsity: float, *, layers: Literal["uniform", "er", "erk"] = "uniform") -> Kept:
    """The largest weights of each layer.

    Args:
        weights: name -> tensor.
        sparsity: the share to prune, in (0, 1).
        layers: how the layers share what is kept.

    Returns:
        name -> bool, True = kept; exactly (1 - sparsity) N of them.

    Raises:
        OptionError: a number out of range, or another `layers`.
        DataError: NaN or infinity.

    References:
        Han et al. 2015; Zhu and Gupta 2017; Evci et al. 2020.

    >>> import torch
    >>> layers = {"a": torch.tensor([[3.0, -9.0]]), "b": torch.tensor([[0.1, 0.2]])}
    >>> {name: kept.tolist() for name, kept in layer_magnitude(layers, 0.5).items()}
    {'a': [[False, True]], 'b': [[False, True]]}
    """
    scores = {name: weight.detach().abs() for name, weight in weights.items()}
    return largest_in_each(scores, shares(weights, kept_of(weights, sparsity), layers))


SPEC = PruningSpec(layer_magnitude, reference="Zhu and Gupta 2017")
