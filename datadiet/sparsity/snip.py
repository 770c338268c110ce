"""SNIP: before training, prune the weights whose removal would change the loss least, by one gradient.

Lee, Ajanthan, Torr: SNIP: Single-shot Network Pruning based on Connection Sensitivity, ICLR 2019 (arXiv 1810.02340).
With a factor c = 1 on every weight, the connection sensitivity is |dL(c w)/dc| = |g w|, where g is the gradient of the
mean loss L over some examples; the K = (1 - s) N weights with the largest are kept. Which examples these are is open:
they may be chosen.

Deviations: the authors divide by the sum of all sensitivities, which does not change their order. Each layer keeps a
minimum (the paper: none). Dropout is off; BatchNorm uses the statistics of each batch, as in the authors' code, so
with it, scores depend on how the examples are batched; without it, they do not.

Cost: a forward and a backward pass over these examples.
"""

from __future__ import annotations

from datadiet.parameters import check_whole, checked
from datadiet.sparsity.allocation import Kept, Layers, floors, kept_of, largest_everywhere
from datadiet.sparsity.spec import Examples, Losses, Network, PruningSpec

__all__ = ["SPEC", "snip"]


@checked
def snip(
    weights: Layers,
    sparsity: float,
    *,
    model: Network,
    losses: Losses,
    batches: Examples,
    examples: int = 128,
    min_per_layer: float = 0.0005,
) -> Kept:
    """The weights to which the loss is most sensitive.

    Args:
        weights: name -> parameter of the network.
        sparsity: the share to prune, in (0, 1).
        model: the network, which is left as it was.
        losses: (outputs, targets) -> (B,).
        batches: number of examples -> batches of them; 0 = all.
        examples: how many to read; 0 = all. Paper: one batch, of 100 or 128. With many classes, take some of each.
        min_per_layer: how many each layer keeps at least, or, below 1, as a share of all weights. Paper: 0.

    Returns:
        name -> bool, True = kept; exactly (1 - sparsity) N of them.

    Raises:
        OptionError: a number out of range, floors that need more, or a network that fails on the examples.
        DataError: sensitivities that are NaN or infinite.

    References:
        Lee et al. 2019.
    """
    from datadiet.models.running import call_in_run
    from datadiet.sparsity.gradients import as_training_begins, mean_gradient

    kept, least = kept_of(weights, sparsity), floors(weights, min_per_layer)
    chosen = batches(check_whole("examples", examples, 0))
    with as_training_begins(model, weights):
        gradient = mean_gradient(weights, chosen, lambda batch: losses(call_in_run(model, batch), batch.targets).sum())
    scores = {name: (gradient[name] * weight.detach()).abs() for name, weight in weights.items()}
    return largest_everywhere(scores, kept, least)


SPEC = PruningSpec(snip, when="start", reference="Lee et al. 2019")
