"""Wanda: in each row of a weight matrix, prune the weights that are small or multiply small inputs, without training.

Sun, Liu, Bair, Kolter: A Simple and Effective Pruning Approach for Large Language Models, ICLR 2024 (arXiv 2306.11695).
S_ij = |W_ij| ||X_j||_2, with X_j the inputs j of the layer over all examples and positions. Weights compete within a
row, all of one output; of each row of length L the (1 - s) L largest stay. With `m`, within every m weights of a row
(the paper's 4:8 and 2:4).

Deviations: all inputs come from one pass of the network as it is; in the authors' code for language models each block
reads what the pruned blocks before it put out. In a convolution, the input of a weight is what it meets while the
kernel moves. (1 - s) L is rounded half up, and at least 1.

Cost: a forward pass over these examples, and a sort of each row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.sparsity.allocation import Kept, Layers, check_sparsity
from datadiet.sparsity.n_m import check_pattern, n_m
from datadiet.sparsity.spec import Examples, Network, PruningSpec

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["SPEC", "wanda"]


@checked
def wanda(
    weights: Layers,
    sparsity: float,
    *,
    model: Network,
    batches: Examples,
    examples: int = 128,
    m: int = 0,
    others: Literal["refuse", "magnitude"] = "refuse",
) -> Kept:
    """The weights of each row that contribute most to its output.

    Args:
        weights: name -> parameter of the network.
        sparsity: the share to prune, in (0, 1).
        model: the network, which is left as it was.
        batches: number of examples -> batches of them; 0 = all.
        examples: how many to read; 0 = all. Paper: 128 sequences.
        m: the size of the groups of a row that lose the same share each; 0 = the whole row. Paper: also 4 and 8.
        others: what to do with parameters whose inputs are not known, since they belong to no linear layer,
            convolution or nn.MultiheadAttention, or to one that the examples do not reach: "magnitude" takes all inputs
            for equally large.

    Returns:
        name -> bool, True = kept; of each row as many.

    Raises:
        OptionError: a number out of range, a network that fails on the examples, or such a parameter with "refuse".
        DataError: weights or inputs that are NaN or infinite.

    References:
        Sun et al. 2024.
    """
    from datadiet.sparsity.input_norms import input_norms

    check_sparsity(sparsity)
    check_whole("m", m, 0)
    norms = input_norms(model, weights, batches(check_whole("examples", examples, 0)))
    unknown = [name for name in weights if name not in norms]
    if unknown and others == "refuse":
        raise OptionError(
            f"the inputs of {unknown[0]} are not known: it belongs to no linear layer, convolution or "
            "nn.MultiheadAttention, or to one with weight_norm, or the examples do not reach it: leave it out with "
            "keep_dense= (--keep-dense), or prune it by magnitude with others='magnitude'."
        )
    scores = {}
    for name, weight in weights.items():
        size = weight.detach().abs().float()
        scores[name] = size if name in unknown else size * norms[name]
    return {name: _largest_of_rows(name, score, sparsity, m) for name, score in scores.items()}


def _largest_of_rows(name: str, score: Tensor, sparsity: float, m: int) -> Tensor:
    length = score[0].numel()
    if not m and length == 1:
        return score >= 0  # a row of one weight keeps it
    return n_m({name: score}, sparsity, m=m or length)[name]


SPEC = PruningSpec(wanda, exact=False, reference="Sun et al. 2024", check=check_pattern, example={"sparsity": 0.5})
