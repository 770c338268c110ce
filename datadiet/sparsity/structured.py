"""Structured pruning: a smaller network, with whole channels removed, which any hardware runs faster.

The groups of coupled channels come from `channel_groups`. The importance of a unit of a group is the summed saliency of
its weights in the layers of the group, divided by the mean over the group, so that groups can be compared (the group
norm with p = 2 of Fang et al. 2023, arXiv 2301.12900); the least important units of the whole network go.

*Deviations*: torch-pruning's own ratio is of channels, and a group all of whose channels rank low is left whole by it.
Here the target is the share of the parameters, which is what people mean, and each group keeps a tenth of its units.

*Cost*: some traced and some untraced passes of a small batch; about a second for a ResNet-20.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from datadiet.errors import OptionError, unknown_name
from datadiet.models.narrow import Removed, parameters_without, rebuilt
from datadiet.parameters import check_whole
from datadiet.randomness import derive
from datadiet.sparsity.allocation import check_sparsity
from datadiet.sparsity.channel_groups import ChannelGroup, Example, Probe, channel_groups, copied, removed_by

__all__ = ["IMPORTANCES", "shrink"]

IMPORTANCES = ("magnitude", "taylor", "random")

_LEAST = 0.1  # the share of its units that each group keeps, so that no layer becomes a bottleneck

Importance = str | Mapping[str, Tensor]


def shrink(
    network: nn.Module,
    sparsity: float | str,
    example: Example,
    *,
    importance: Importance = "magnitude",
    round_to: int = 1,
    keep_dense: Sequence[str] = (),
    seed: int = 0,
) -> tuple[nn.Module, Removed]:
    """A smaller copy of a network: the least important channels are removed.

    The small network computes what the given one computes with these channels at zero, up to rounding. It has new
    parameters, so give it a new optimizer. The outputs of the network are never removed, nor are channels that pass
    through a LayerNorm or that attention splits into heads: of a transformer, the hidden layers of its perceptrons can
    go.

    Args:
        network: any network; it is left as it is.
        sparsity: the share of the parameters to remove, between 0 and 1; as few channels as reach it are removed.
        example: a small batch, or its inputs, on the network's device.
        importance: "magnitude" (squared weights), "taylor" (|weight x gradient|, of the gradients that the network
            has), "random" (the baseline), or name of a weight -> tensor of its shape, the saliency of each weight.
        round_to: remove channels of a group only if a multiple of this number of units is left: 8 suits tensor cores.
        keep_dense: names of layers, or of modules that hold some, to leave as wide as they are, inputs included.
        seed: of "random".

    Returns:
        The small network, in the mode, dtype, device and memory format of the given one; and what was removed, for
        `rebuilt`.

    Raises:
        MissingExtra: torch-pruning is not installed.
        OptionError: a sparsity outside (0, 1) or out of reach, an unknown importance or layer, a saliency that is
            missing or not finite, or a network whose channels cannot be removed.
    """
    sparsity = check_sparsity(sparsity)
    check_whole("round_to", round_to, 1)
    whole = _inside(network, (keep_dense,) if isinstance(keep_dense, str) else keep_dense)
    probe = Probe(network, example)
    groups = channel_groups(network, example, probe)
    groups = [group for group in groups if not whole & {layer for layer, _ in group.members}]
    if not groups:
        raise OptionError(
            f"no channels can be removed from {type(network).__name__} without changing what the others compute: "
            "prune it with masks (sparsify) instead."
        )
    removed = _least(network, groups, _scores(network, groups, importance, seed), sparsity, round_to)
    if not probe.agrees(removed):
        raise OptionError(
            f"channels of {type(network).__name__} that can be removed one by one cannot be removed together: name the "
            "layers that read several of them in keep_dense, or prune it with masks (sparsify)."
        )
    return rebuilt(copied(network), removed), removed


def _inside(network: nn.Module, names: Sequence[str]) -> set[str]:
    """The modules of some names, and those inside them."""
    known = [name for name, _ in network.named_modules() if name]
    names = [name.removesuffix(".weight") for name in names]  # masks call a layer by its weight
    for name in names:
        if name not in known:
            raise unknown_name("layer of the network", name, known)
    return {module for module in known if any(module == name or module.startswith(f"{name}.") for name in names)}


def _least(
    network: nn.Module, groups: Sequence[ChannelGroup], scores: Sequence[Tensor], sparsity: float, round_to: int
) -> Removed:
    """The fewest units, in the order of their importance, that hold a share of the parameters."""
    owners = torch.cat([torch.full((len(group),), place) for place, group in enumerate(groups)])
    owners = owners[torch.cat(list(scores)).argsort(stable=True)]
    orders = [score.argsort(stable=True).tolist() for score in scores]
    total = sum(parameter.numel() for parameter in network.parameters())

    def removed(units: int) -> Removed:
        taken = torch.bincount(owners[:units], minlength=len(groups)).tolist()
        counts = [_count(len(group), number, round_to) for group, number in zip(groups, taken, strict=True)]
        return removed_by(groups, [order[:count] for order, count in zip(orders, counts, strict=True)])

    def share(units: int) -> float:
        return 1 - parameters_without(network, removed(units)) / total

    low, high = 0, len(owners)
    if share(high) < sparsity:
        narrower = ", or a smaller round_to" if round_to > 1 else ""
        raise OptionError(
            f"sparsity={sparsity:g} is out of reach for {type(network).__name__}: removing channels takes away at most "
            f"{share(high):.1%} of its parameters. Give less{narrower}, or prune it with masks (sparsify)."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if share(middle) >= sparsity else (middle, high)
    return removed(high)


def _count(units: int, lowest: int, round_to: int) -> int:
    """How many units a group loses, if so many of them are among the least important of the network.

    >>> _count(16, 3, 1), _count(16, 3, 8), _count(16, 9, 8), _count(16, 16, 1)
    (3, 0, 8, 14)
    """
    kept = max(units - lowest, ceil(_LEAST * units))
    return units - min(units, -(-kept // round_to) * round_to)


def _scores(network: nn.Module, groups: Sequence[ChannelGroup], importance: Importance, seed: int) -> list[Tensor]:
    """The importance of the units of each group: float64 on the CPU, with a mean of 1."""
    if importance == "random":
        draws = torch.Generator().manual_seed(derive(seed, "channels"))
        return [torch.rand(len(group), generator=draws, dtype=torch.float64) for group in groups]
    layers = dict(network.named_modules())
    names = sorted({layer for group in groups for layer, _ in group.members})
    saliency = {name: _saliency(f"{name}.weight", layers[name], importance) for name in names}
    found = []
    for group in groups:
        total = torch.zeros(len(group), dtype=torch.float64)
        for (name, axis), units in group.members.items():
            channels = _of_channels(saliency[name], layers[name], axis).cpu()
            owners = torch.tensor([unit for unit, members in enumerate(units) for _ in members])
            total.index_add_(0, owners, channels[torch.tensor([channel for members in units for channel in members])])
        if not bool(total.isfinite().all()):
            raise OptionError(f"the importance of the channels of {min(group.members)[0]!r} is not finite: check it.")
        found.append(total / total.mean().clamp(min=torch.finfo(torch.float64).tiny))
    return found


@torch.no_grad()
def _saliency(name: str, layer: nn.Module, importance: Importance) -> Tensor:
    """What each weight of a layer counts: float64, on its device."""
    weight = layer.get_parameter("weight")
    if isinstance(importance, Mapping):
        if name not in importance or importance[name].shape != weight.shape:
            raise OptionError(f"the importance has no saliency for {name!r} of shape {tuple(weight.shape)}: add it.")
        return importance[name].double()
    if importance not in IMPORTANCES:
        raise unknown_name("importance", importance, IMPORTANCES)
    if importance == "magnitude":
        return weight.double().square()
    if weight.grad is None:
        raise OptionError(
            f"importance='taylor' needs gradients, and {name!r} has none: call backward on the loss of the examples "
            "that are to decide first."
        )
    return (weight.double() * weight.grad.double()).abs()


def _of_channels(saliency: Tensor, layer: nn.Module, axis: str) -> Tensor:
    """The saliency of a layer's weights, summed over each of its channels."""
    if axis == "out":
        return saliency.flatten(1).sum(1) if saliency.ndim > 1 else saliency
    groups = layer.groups if isinstance(layer, _ConvNd) else 1
    split = saliency.reshape(groups, len(saliency) // groups, saliency.shape[1], -1)
    return split.sum((1, 3)).flatten()
