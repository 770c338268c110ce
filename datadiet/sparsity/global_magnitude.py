"""Global magnitude pruning: prune the smallest weights of the whole network, but keep a minimum in each layer.

Gupta et al.: Is Complexity Required for Neural Network Pruning? A Case Study on Global Magnitude Pruning, 2022
(arXiv 2209.14624). Keep the K = (1 - s) N weights with the largest |w| over all layers, of which each layer keeps its
m = `min_per_layer` largest (the paper's minimum threshold, against layers that vanish at high sparsity).

Deviations: the authors' code scales the rates of the other layers until the total fits. Here what a floor protects is
kept first, and the rest of K are the largest of all others: of all choices with these floors, the one with the largest
sum of |w|, and exactly K. Ties are broken by the position in the network.

Cost: a selection among N numbers.
"""

from __future__ import annotations

from datadiet.parameters import checked
from datadiet.sparsity.allocation import Kept, Layers, floors, kept_of, largest_everywhere
from datadiet.sparsity.spec import PruningSpec

__all__ = ["SPEC", "global_magnitude"]


@checked
def global_magnitude(weights: Layers, sparsity: float, *, min_per_layer: float = 0.0005) -> Kept:
    """The largest weights of the whole network.

    Args:
        weights: name -> tensor.
        sparsity: the share to prune, in (0, 1).
        min_per_layer: how many each layer keeps at least, or, below 1, as a share of all weights. Paper: 0.05 %.

    Returns:
        name -> bool, True = kept; exactly (1 - sparsity) N of them.

    Raises:
        OptionError: a number out of range, or floors that need more.
        DataError: NaN or infinity.

    References:
        Gupta et al. 2022.

    >>> import torch
    >>> layers = {"a": torch.tensor([[3.0, -9.0]]), "b": torch.tensor([[0.1, 0.2]])}
    >>> {name: kept.tolist() for name, kept in global_magnitude(layers, 0.5, min_per_layer=1).items()}
    {'a': [[False, True]], 'b': [[False, True]]}
    """
    scores = {name: weight.detach().abs() for name, weight in weights.items()}
    return largest_everywhere(scores, kept_of(weights, sparsity), floors(weights, min_per_layer))


SPEC = PruningSpec(global_magnitude, reference="Gupta et al. 2022")
