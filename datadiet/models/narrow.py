"""A network with fewer channels: its convolutions, linear layers and BatchNorms made narrower.

What is removed is written as plain lists, so that JSON can hold it and the narrow network can be built again without
pickle: `rebuilt` on a fresh network, then `load_state_dict`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from datadiet.errors import OptionError, unknown_name

__all__ = ["Removed", "narrows", "parameters_without", "rebuilt", "silenced"]

Removed = dict[str, dict[str, list[int]]]
"""Name of a layer -> "out" and "in" -> the output and the input channels that it loses, ascending.

The input channels of a BatchNorm and of a depthwise convolution are its output channels, and stand under "out" alone.
"""

_WIDTHS = {
    _ConvNd: {"out": "out_channels", "in": "in_channels"},
    nn.Linear: {"out": "out_features", "in": "in_features"},
    _BatchNorm: {"out": "num_features"},
}


def narrows(layer: nn.Module) -> bool:
    """Whether channels of a layer can be removed: a convolution, linear layer or BatchNorm with a weight of its own."""
    plain = isinstance(layer._parameters.get("weight"), nn.Parameter)  # neither left out nor parametrised
    return isinstance(layer, tuple(_WIDTHS)) and plain and not getattr(layer, "transposed", False)


def rebuilt(network: nn.Module, removed: Removed) -> nn.Module:
    """A fresh network, made as narrow as the one that `shrink` returned: its weights then fit.

    Args:
        network: one of the same kind, which is changed in place; parameters keep their dtype, device, memory format and
            `requires_grad`, and lose their gradients.
        removed: what `shrink` returned; after several calls of `shrink`, apply them in their order.

    Returns:
        The network.

    Raises:
        OptionError: a layer or channel that the network does not have; it is then unchanged.
    """
    layers = _layers(network, removed)
    for name, axes in removed.items():
        _narrow(layers[name], axes)
    return network


def silenced(network: nn.Module, removed: Removed) -> nn.Module:
    """A network whose removed channels are there but zero, in place: their weights, biases and BatchNorm entries.

    Raises:
        OptionError: as in `rebuilt`.
    """
    layers = _layers(network, removed)
    with torch.no_grad():
        for name, axes in removed.items():
            for parameter in layers[name].parameters(recurse=False):
                parameter.index_fill_(0, _indices(axes.get("out", []), parameter), 0)
    return network


def parameters_without(network: nn.Module, removed: Removed) -> int:
    """How many parameters are left without some channels; nothing is removed."""
    layers = dict(network.named_modules())
    count = sum(parameter.numel() for parameter in network.parameters())
    for name, axes in removed.items():
        kept = {axis: (_width(layers[name], axis), len(gone)) for axis, gone in axes.items()}
        for key, parameter in layers[name].named_parameters(recurse=False):
            left = parameter.numel()
            for axis, (width, gone) in kept.items():
                if axis == "out" or key == "weight":
                    left = left // width * (width - gone)
            count += left - parameter.numel()
    return count


def _layers(network: nn.Module, removed: Removed) -> dict[str, nn.Module]:
    """The layers by name, after a check that all that is to go is there."""
    layers = {name: layer for name, layer in network.named_modules() if narrows(layer)}
    for name, axes in removed.items():
        if name not in layers:
            raise unknown_name("layer of this network with channels", name, layers)
        for axis, gone in axes.items():
            width = _width(layers[name], axis)
            if not gone or not 0 <= min(gone) <= max(gone) < width or len(set(gone)) >= width:
                raise OptionError(
                    f"{name!r} has {width} channels ({axis}), and {len(set(gone))} of them up to number "
                    f"{max(gone, default=0)} are to go: give a fresh network of the kind that was shrunk."
                )
    return layers


def _attribute(layer: nn.Module, axis: str) -> str:
    widths = next(widths for kind, widths in _WIDTHS.items() if isinstance(layer, kind))
    known = ["out"] if _depthwise(layer) else [*widths]
    if axis not in known:
        raise OptionError(f"a {type(layer).__name__} has no channels called {axis!r}: write {' or '.join(known)}.")
    return widths[axis]


def _depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, _ConvNd) and layer.groups == layer.in_channels == layer.out_channels > 1


def _width(layer: nn.Module, axis: str) -> int:
    return int(getattr(layer, _attribute(layer, axis)))


def _narrow(layer: nn.Module, axes: dict[str, list[int]]) -> None:
    depthwise = _depthwise(layer)
    groups = layer.groups if isinstance(layer, _ConvNd) and not depthwise else 1
    for axis, gone in axes.items():
        width = _width(layer, axis)
        kept = sorted(set(range(width)) - set(gone))
        if axis == "in":  # a grouped convolution's weight has the input channels of one group
            kept = [channel for channel in kept if channel < width // groups]
        _keep(layer, kept, 0 if axis == "out" else 1)
        setattr(layer, _attribute(layer, axis), width - len(set(gone)))
    if depthwise:
        assert isinstance(layer, _ConvNd)
        layer.in_channels = layer.groups = layer.out_channels


@torch.no_grad()
def _keep(layer: nn.Module, kept: list[int], dim: int) -> None:
    """Cut the weights of a layer along a dimension, those that have it."""
    for name, value in [*layer.named_parameters(recurse=False), *layer.named_buffers(recurse=False)]:
        if value.ndim <= dim:  # a bias has no inputs, and the number of batches no channels
            continue
        cut = value.index_select(dim, _indices(kept, value)).contiguous(memory_format=_memory_format(value))
        setattr(layer, name, nn.Parameter(cut, value.requires_grad) if isinstance(value, nn.Parameter) else cut)


def _indices(channels: list[int], value: Tensor) -> Tensor:
    return torch.tensor(channels, dtype=torch.int64, device=value.device)


def _memory_format(value: Tensor) -> torch.memory_format:
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(value.ndim)
    return last if last is not None and value.is_contiguous(memory_format=last) else torch.contiguous_format
