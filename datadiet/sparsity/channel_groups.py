"""Which channels of a network can only be removed together, and which can be removed at all.

A channel is an output of one layer and an input of others, and where a shortcut adds two layers, their channels go
together. torch-pruning (Fang et al. 2023, arXiv 2301.12900) finds these groups in the autograd graph of one pass.

Not all that it finds is right: it takes unknown operations for elementwise ones, so the channels that a shortcut pads
with zeros get the wrong partners. A group is therefore kept only if the network without some of its channels computes
what the network with these channels at zero computes. This is tried on a copy with random weights in float64, so that
the answer depends on the architecture alone and wrong partners cannot hide behind zeros or rounding. Groups that pass
through a LayerNorm or GroupNorm, whose statistics are over channels, are left whole by the same rule.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from datadiet.attributes import user_code
from datadiet.data.batch import Batch
from datadiet.errors import require
from datadiet.models.narrow import Removed, narrows, rebuilt, silenced
from datadiet.models.running import call
from datadiet.randomness import derive

__all__ = ["ChannelGroup", "Probe", "channel_groups", "copied", "removed_by"]

_TRIALS = 2  # of a removal, each with other units

Example = Batch | Tensor | Mapping[str, Any] | Sequence[Any]

_FAILURES = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AssertionError, ArithmeticError)


@dataclass(frozen=True)
class ChannelGroup:
    """Channels of several layers that can only be removed together, in units.

    A unit is one channel of each layer; more of a layer behind a flattening, or of a grouped convolution, all of whose
    groups must keep the same number.

    Attributes:
        members: (name of a layer, "out" or "in") -> for each unit the channels of that layer.
    """

    members: dict[tuple[str, str], list[list[int]]]

    @property
    def kind(self) -> tuple[Any, ...]:
        """What groups at the same place of alike blocks share: the axes and widths of their members."""
        return tuple((axis, len(units), len(units[0])) for (_, axis), units in self.members.items())

    def __len__(self) -> int:
        return len(next(iter(self.members.values())))


def removed_by(groups: Sequence[ChannelGroup], units: Sequence[Sequence[int]]) -> Removed:
    """What the layers lose with some units of each group."""
    gone: dict[str, dict[str, set[int]]] = {}
    for group, chosen in zip(groups, units, strict=True):
        for (layer, axis), channels in group.members.items() if len(chosen) else ():
            gone.setdefault(layer, {}).setdefault(axis, set()).update(*(channels[unit] for unit in chosen))
    return {layer: {axis: sorted(lost) for axis, lost in axes.items()} for layer, axes in gone.items()}


def copied(network: nn.Module) -> nn.Module:
    """A copy of a network, without gradients.

    Raises:
        OptionError: it cannot be copied.
    """
    kind = type(network).__name__
    with user_code(f"the network {kind} cannot be copied", advice="detach the tensors that it keeps from their graph"):
        return copy.deepcopy(network)


def channel_groups(network: nn.Module, example: Example, probe: Probe) -> list[ChannelGroup]:
    """The groups of channels that can be removed from a network, in the order of its layers.

    Args:
        network: what is traced; unchanged.
        example: a small batch for it.
        probe: of that network and example.

    Raises:
        MissingExtra: torch-pruning is not installed.
        OptionError: torch-pruning cannot follow the network.
    """
    return probe.sound(_traced(network, example))


def _traced(network: nn.Module, example: Example) -> list[ChannelGroup]:
    pruning = require("torch_pruning", "prune")
    traced = copied(network).requires_grad_(True)  # the graph of frozen weights has no edges
    layers = {layer: name for name, layer in traced.named_modules()}
    advice = "prune this network with masks (sparsify) instead"
    with user_code(f"torch-pruning cannot follow {type(network).__name__}", advice=advice), torch.enable_grad():
        graph = pruning.DependencyGraph().build_dependency(traced, example, call, verbose=False)
        found = [_group(graph, items, layers) for items in graph.get_all_groups()]
    order = {name: place for place, name in enumerate(layers.values())}
    shared = _sharing(traced)
    groups = [group for group in found if group is not None and not shared & {layer for layer, _ in group.members}]
    return sorted(groups, key=lambda group: min(order[layer] for layer, _ in group.members))


def _sharing(network: nn.Module) -> set[str]:
    """The layers that share a parameter with another."""
    owners: dict[Tensor, set[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        owners.setdefault(parameter, set()).add(name.rpartition(".")[0])
    return {layer for names in owners.values() if len(names) > 1 for layer in names}


def _group(graph: Any, items: Any, layers: Mapping[nn.Module, str]) -> ChannelGroup | None:
    """A group of torch-pruning's in our terms; None if it reaches what we do not narrow, such as the output."""
    targets = [item.dep.target.module for item in items]
    convolutions = [layer for layer in targets if isinstance(layer, _ConvNd) and layer.groups < layer.in_channels]
    size = len(items[0].idxs) // max((layer.groups for layer in convolutions), default=1)
    members: dict[tuple[str, str], list[list[int]]] = {}
    for item, layer in zip(items, targets, strict=True):
        if type(layer).__name__ == "_OutputOp" or isinstance(layer, nn.Parameter) or None in item.root_idxs:
            return None
        if layer not in layers:  # an operation without weights
            continue
        if not narrows(layer):
            return None
        axis = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
        units = members.setdefault((layers[layer], axis), [[] for _ in range(size)])
        for channel, root in zip(item.idxs, item.root_idxs, strict=True):
            if channel not in units[root % size]:
                units[root % size].append(channel)
    read = any(axis == "in" for _, axis in members)  # else they are the output, also where a layer returns it
    return ChannelGroup(members) if size > 1 and read else None


class Probe:
    """A copy of a network with random weights in float64, on which removals are tried.

    Args:
        network: any network; unchanged.
        example: a small batch for it.

    Raises:
        OptionError: it cannot be copied, or fails on the example.
    """

    def __init__(self, network: nn.Module, example: Example) -> None:
        self.network = copied(network).double().eval().requires_grad_(False)
        self.example = _in_float64(example)
        self.draws = torch.Generator().manual_seed(derive(0, "probe"))
        for name, parameter in self.network.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 else 0
            scale = (2 / max(fan_in, 1)) ** 0.5 if fan_in else 0.3
            # Of a normalisation; and biases for which few units are 0 throughout, which would hide a wrong removal.
            center = 0.0 if fan_in else 1.0 if name.endswith("weight") else 2.0
            parameter.copy_(center + scale * self._drawn(parameter))
        for layer in self.network.modules():
            if isinstance(layer, _BatchNorm) and layer.running_mean is not None and layer.running_var is not None:
                layer.running_mean.copy_(0.3 * self._drawn(layer.running_mean))
                layer.running_var.copy_(0.5 + self._drawn(layer.running_var).square())
        with user_code(f"the network {type(network).__name__} fails on the example", network):
            self._run(self.network)

    def sound(self, groups: Sequence[ChannelGroup]) -> list[ChannelGroup]:
        """The groups whose channels can be removed: all if they can go at once, else those of each kind."""
        if not groups or self._removable(groups):
            return list(groups)
        kinds: dict[Any, list[ChannelGroup]] = {}
        for group in groups:
            kinds.setdefault(group.kind, []).append(group)
        found = {id(group) for alike in kinds.values() for group in self._sound_of_a_kind(alike)}
        return [group for group in groups if id(group) in found]

    def _sound_of_a_kind(self, groups: list[ChannelGroup]) -> list[ChannelGroup]:
        """All of them if they can go at once, none if neither end can, as all attention fails alike; else halves."""
        if self._removable(groups):
            return groups
        if not (self._removable(groups[:1]) or self._removable(groups[-1:])):
            return []
        half = len(groups) // 2
        return [*self._sound_of_a_kind(groups[:half]), *self._sound_of_a_kind(groups[half:])] if half else []

    def _removable(self, groups: Sequence[ChannelGroup]) -> bool:
        return all(self.agrees(removed_by(groups, self._some(groups))) for _ in range(_TRIALS))

    def _some(self, groups: Sequence[ChannelGroup]) -> list[list[int]]:
        """A third of the units of each group, drawn at random."""
        shares = [max(1, len(group) // 3) for group in groups]
        drawn = [torch.randperm(len(group), generator=self.draws) for group in groups]
        return [units[:share].tolist() for units, share in zip(drawn, shares, strict=True)]

    def agrees(self, removed: Removed) -> bool:
        """Whether the network without some channels computes what it computes with these channels at zero."""
        try:
            narrow = self._run(rebuilt(copy.deepcopy(self.network), removed))
        except _FAILURES:  # a width that the code of the network has written down
            return False
        zeroed = self._run(silenced(copy.deepcopy(self.network), removed))
        return narrow.shape == zeroed.shape and bool((narrow - zeroed).abs().max() <= 1e-6 * zeroed.abs().max())

    def _run(self, network: nn.Module) -> Tensor:
        with torch.no_grad():
            return call(network, self.example)

    def _drawn(self, like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=self.draws, dtype=torch.float64).to(like.device)


def _in_float64(example: Example) -> Tensor | dict[str, Any] | list[Any]:
    given = example.inputs if isinstance(example, Batch) else example

    def change(value: Any) -> Any:
        return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value

    if isinstance(given, Tensor):
        return change(given)
    if isinstance(given, Mapping):
        return {name: change(value) for name, value in given.items()}
    return [change(value) for value in given]
