"""GraSP: before training, keep the weights whose removal would reduce the flow of gradients most.

Wang, Zhang, Grosse: Picking Winning Tickets Before Training by Preserving Gradient Flow, ICLR 2020 (arXiv 2002.07376).
With g the gradient and H the Hessian of the mean loss in the prunable weights, removing them all at once (delta = -w)
changes |g|^2 by 2 delta' H g to first order, to which weight i adds -2 w_i (H g)_i. The paper's score is
S = -w (H g): a weight with a large S is in the way of the gradient, so the K = (1 - s) N smallest are kept, and the
others pruned.

Deviations: the authors' code divides the logits by 200, which the formula does not have: it makes all probabilities
nearly equal, so that g and H hardly depend on how sure the network is. It is the default here too; `temperature` 1 is
the loss itself. They take g and H on two halves of a batch in turn; here, both are means over all examples, which
differs only with BatchNorm. Each layer keeps a minimum (the paper: none), and weights that are 0 already are pruned
first, though S = 0 is not the largest. Dropout is off; BatchNorm uses the statistics of each batch, as in their code.

Cost: two forward and backward passes over these examples, the second one with a backward pass through itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.sparsity.allocation import Kept, Layers, floors, kept_of, largest_everywhere
from datadiet.sparsity.spec import Examples, Losses, Network, PruningSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from datadiet.data.batch import Batch

__all__ = ["SPEC", "grasp"]


@checked
def grasp(
    weights: Layers,
    sparsity: float,
    *,
    model: Network,
    losses: Losses,
    batches: Examples,
    examples: int = 128,
    temperature: float = 200.0,
    min_per_layer: float = 0.0005,
) -> Kept:
    """The weights that the flow of gradients needs most.

    Args:
        weights: name -> parameter of the network.
        sparsity: the share to prune, in (0, 1).
        model: the network, which is left as it was; it must be differentiable twice.
        losses: (outputs, targets) -> (B,).
        batches: number of examples -> batches of them; 0 = all. They are read twice.
        examples: how many to read; 0 = all. Authors' code: 10 or 25 of each class.
        temperature: what the logits are divided by, above 0. Paper: 1. Authors' code: 200.
        min_per_layer: how many each layer keeps at least, or, below 1, as a share of all weights. Paper: 0.

    Returns:
        name -> bool, True = kept; exactly (1 - sparsity) N of them.

    Raises:
        OptionError: a number out of range, floors that need more, or a network that fails on the examples.
        DataError: scores that are NaN or infinite.

    References:
        Wang et al. 2020.
    """
    import torch

    from datadiet.models.running import call_in_run
    from datadiet.sparsity.gradients import as_training_begins

    kept, least = kept_of(weights, sparsity), floors(weights, min_per_layer)
    check_whole("examples", examples, 0)
    if not 0 < temperature < float("inf"):
        raise OptionError(f"temperature={temperature}: give a number above 0.")

    def loss(batch: Batch) -> Tensor:
        return losses(call_in_run(model, batch) / temperature, batch.targets).sum()

    with as_training_begins(model, weights):
        product = _hessian_times_gradient(weights, lambda: batches(examples), loss)
    scores = {}
    for name, value in product.items():
        weight = weights[name].detach()
        scores[name] = (weight * value).masked_fill_(weight == 0, torch.finfo(value.dtype).min)
    return largest_everywhere(scores, kept, least)


def _hessian_times_gradient(
    weights: Layers, batches: Callable[[], Iterable[Batch]], loss: Callable[[Batch], Tensor]
) -> dict[str, Tensor]:
    """name -> H g, of the mean of a loss over all examples, whose sum over a batch a function gives."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from datadiet.sparsity.gradients import mean_gradient

    leaves = [*weights.values()]
    gradient = mean_gradient(weights, batches(), loss)

    def slope(batch: Batch) -> Tensor:
        """g' times the gradient of this batch: its own gradient is H g, for a g that is held fixed."""
        found = torch.autograd.grad(loss(batch), leaves, create_graph=True, allow_unused=True, materialize_grads=True)
        return torch.stack([(fixed * one).sum() for fixed, one in zip(gradient.values(), found, strict=True)]).sum()

    with sdpa_kernel(SDPBackend.MATH):  # fused attention cannot be differentiated twice
        return mean_gradient(weights, batches(), slope)


SPEC = PruningSpec(grasp, when="start", reference="Wang et al. 2020")
