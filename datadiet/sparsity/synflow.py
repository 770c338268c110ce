"""SynFlow: before training, prune the weights that carry least from input to output, in rounds, without data.

Tanaka et al.: Pruning neural networks without any data by iteratively conserving synaptic flow, NeurIPS 2020 (arXiv
2006.05467). With the absolute values of all parameters in place of the parameters, and an input of ones, R is the sum
of the outputs; the score of a weight is (dR/dw) w. What flows into a unit flows out of it, so the scores of a layer sum
to R whatever its size, and a layer with few weights left has high ones: pruned in n rounds, where N d^(k/n) weights are
left after round k (density d = 1 - s), no layer vanishes as long as it need not.

Deviations: as in the authors' code, biases and the factors of normalisation are absolute values too; running means
count as 0, since those of a trained network would make the flow negative. What is pruned in a round stays so. All in
float64.

Cost: n forward and backward passes of one example, and n selections among N numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from datadiet.attributes import user_code
from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.sparsity.allocation import Kept, Layers, floors, kept_of, largest_everywhere
from datadiet.sparsity.spec import Examples, Network, PruningSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from datadiet.data.batch import Batch

__all__ = ["SPEC", "synflow"]


@checked
def synflow(weights: Layers, sparsity: float, *, model: Network, batches: Examples, rounds: int = 100) -> Kept:
    """The weights that carry most from input to output.

    Args:
        weights: name -> parameter of the network.
        sparsity: the share to prune, in (0, 1).
        model: the network, which is left as it was.
        batches: number of examples -> batches of them. Of one example the shape is read, and nothing else.
        rounds: n. Paper: 100. In one round, layers vanish at high sparsity.

    Returns:
        name -> bool, True = kept; exactly (1 - sparsity) N of them.

    Raises:
        OptionError: a number out of range, inputs that are not floating-point numbers, or a network that fails on
            ones.
        DataError: scores that are NaN or infinite.

    References:
        Tanaka et al. 2020.
    """
    import torch

    check_whole("rounds", rounds)
    kept, none = kept_of(weights, sparsity), floors(weights, 0)
    n = sum(weight.numel() for weight in weights.values())
    ones = _ones(next(iter(batches(1))))
    state = _positive(model)
    masks = {name: torch.ones_like(weight, dtype=torch.bool) for name, weight in weights.items()}
    for done in range(1, rounds + 1):
        left = max(kept, math.floor(n * (kept / n) ** (done / rounds) + 0.5))
        scores = _scores(model, ones, state, masks)
        if done == 1 and not torch.stack([score.any() for score in scores.values()]).any():
            raise OptionError(
                f"no weight of this {type(model).__name__} carries anything from an input of ones to the outputs, as "
                "with LayerNorm, which makes it 0: choose a method that reads examples, such as snip."
            )
        masks = largest_everywhere(
            {name: score.masked_fill(~masks[name], -1.0) for name, score in scores.items()}, left, none
        )
    return masks


def _ones(batch: Batch) -> Batch:
    """An example of ones, of the shape and names of those in a batch."""
    import torch

    from datadiet.data.batch import Batch, map_inputs

    def ones(value: Tensor) -> Tensor:
        if not value.is_floating_point():
            raise OptionError(
                f"synflow sends an input of ones through the network, and this one takes {value.dtype}, such as "
                "tokens: choose a method that reads examples, such as snip."
            )
        return torch.ones_like(value[:1], dtype=torch.float64)

    return Batch(map_inputs(ones, batch.inputs), batch.targets[:1], batch.rows[:1])


def _positive(model: nn.Module) -> dict[str, Tensor]:
    """The state of a network in float64, all of it positive: name -> absolute value; 0 for running means."""
    from datadiet.sparsity.gradients import running_norms

    means = {id(norm.running_mean) for norm in running_norms(model)}
    named = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    state = {}
    for name, value in named.items():
        if value.is_floating_point():
            positive = value.detach().double().abs()
            state[name] = positive.zero_() if id(value) in means else positive
    return state


def _scores(
    model: nn.Module, ones: Batch, state: Mapping[str, Tensor], masks: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """name -> (dR/dw) w of each weight, with those set to 0 that a mask leaves out."""
    import torch
    from torch.func import functional_call

    from datadiet.data.batch import map_inputs
    from datadiet.models.running import evaluating, logits_of

    leaves = {name: (state[name] * mask).requires_grad_() for name, mask in masks.items()}
    inputs = map_inputs(lambda value: value.clone(), ones.inputs)  # which a network may change in place
    args, named = ((), dict(inputs)) if isinstance(inputs, Mapping) else ((inputs,), {})
    problem = f"the network {type(model).__name__} fails on an input of ones in float64"
    with evaluating(model), torch.enable_grad(), user_code(problem, model):
        flow = logits_of(functional_call(model, {**state, **leaves}, args, named)).sum()
        found = torch.autograd.grad(flow, [*leaves.values()], allow_unused=True, materialize_grads=True)
    return {name: (one * leaves[name].detach()).abs() for name, one in zip(leaves, found, strict=True)}


SPEC = PruningSpec(synflow, when="start", reference="Tanaka et al. 2020", reads_values=False)
