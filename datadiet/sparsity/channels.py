"""Channels: whole channels are removed, so that the network is smaller and faster on any hardware.

Fang et al.: DepGraph: Towards Any Structural Pruning, CVPR 2023 (arXiv 2301.12900). Channels of several layers that can
only be removed together form a group. The importance of a unit of a group is the summed saliency of its weights divided
by the mean over the group, and the least important units of the whole network go. The saliency of a weight w is w^2;
with "taylor" it is |w g|, where g is the gradient of the mean loss over some examples (after Molchanov et al.:
Importance Estimation for Neural Network Pruning, CVPR 2019, arXiv 1906.10771).

Deviations: the sparsity is the share of the parameters, not of the channels; each group keeps a tenth of its units; and
a group stays whole unless the network without some of its channels computes what the whole one does with them at zero.
Molchanov et al. sum (w g)^2.

Cost: about a second for a ResNet-20; with "taylor", also a forward and a backward pass over the examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from datadiet.parameters import check_whole, checked
from datadiet.sparsity.spec import ChannelSpec, Context, Network

if TYPE_CHECKING:
    from torch import Tensor

    from datadiet.data.batch import Batch
    from datadiet.models.narrow import Removed
else:  # so that the annotations can be read without torch
    Batch = Removed = Tensor = Any

__all__ = ["SPEC", "channels"]


@checked
def channels(
    context: Context,
    sparsity: float,
    *,
    example: Batch,
    keep_dense: Sequence[str] = (),
    importance: Literal["magnitude", "taylor", "random"] = "magnitude",
    round_to: int = 1,
    examples: int = 128,
) -> tuple[Network, Removed]:
    """A smaller copy of a network: the least important channels are removed.

    Args:
        context: the network, which is left as it was; the losses and examples of "taylor"; the seed of "random".
        sparsity: the share of the parameters to remove, in (0, 1).
        example: a small batch for the network.
        keep_dense: names of layers to leave as wide as they are.
        importance: "magnitude" (squared weights), "taylor" (|weight x gradient|) or "random", the baseline.
        round_to: what the numbers of channels that are left are multiples of. 8 suits tensor cores.
        examples: how many "taylor" reads; 0 = all.

    Returns:
        The small network, and what was removed, for `datadiet.sparsity.rebuilt`.

    Raises:
        MissingExtra: torch-pruning is not installed.
        OptionError: a sparsity out of reach, an unknown layer, or a network whose channels cannot be removed.

    References:
        Fang et al. 2023; Molchanov et al. 2019.
    """
    from datadiet.sparsity.structured import shrink

    check_whole("examples", examples, 0)
    saliency = _taylor(context, examples) if importance == "taylor" else importance
    how: dict[str, Any] = {"round_to": round_to, "keep_dense": keep_dense, "seed": context.seed}
    return shrink(context.model, sparsity, example, importance=saliency, **how)


def _taylor(context: Context, examples: int) -> dict[str, Tensor]:
    """Name of each weight that can lose channels -> |weight x gradient| of the mean loss, float64."""
    from datadiet.models.narrow import narrows
    from datadiet.models.running import call_in_run
    from datadiet.sparsity.gradients import as_training_begins, mean_gradient

    model, losses, batches = context.model, context.losses, context.batches
    assert losses is not None and batches is not None, "the workflow gives both"
    weights = {f"{name}.weight": layer.weight for name, layer in model.named_modules() if narrows(layer)}

    def total(batch: Batch) -> Tensor:
        return losses(call_in_run(model, batch), batch.targets).sum()

    with as_training_begins(model, weights):
        gradient = mean_gradient(weights, batches(examples), total)
    return {name: (weight.detach().double() * gradient[name].double()).abs() for name, weight in weights.items()}


SPEC = ChannelSpec(channels, reference="Fang et al. 2023")
