"""How a convolution turns its input and the gradient of its output into terms of its parameters' gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from datadiet.signals.gradients.precision import rounds_products
from datadiet.signals.gradients.products import chunks, wide
from datadiet.signals.gradients.terms import Explicit, OuterProduct, Terms

__all__ = ["conv_rule", "conv_transposed_rule", "shorter_way"]

_PADDING = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def conv_rule(layer: nn.modules.conv._ConvNd, x: Tensor, grad: Tensor) -> Terms:
    """A linear layer on windows of the padded input; groups share nothing."""
    g, axes = layer.groups, len(layer.kernel_size)
    sizes = [
        (size + sum(room) - spread * (width - 1) - 1) // step + 1
        for size, room, width, step, spread in zip(
            x.shape[2:], _room(layer), layer.kernel_size, layer.stride, layer.dilation, strict=True
        )
    ]
    if sizes != list(grad.shape[2:]):
        raise ValueError(f"outputs of size {tuple(grad.shape[2:])} do not follow from inputs of {tuple(x.shape[2:])}")
    convolve = (functional.conv1d, functional.conv2d, functional.conv3d)[axes - 1]
    around = cache(lambda: _padded(layer, x))

    def windows() -> Tensor:
        return _grouped(_unfold_windows(_last_in_memory(around()), layer.kernel_size, layer.stride, layer.dilation), g)

    def apply(v: Tensor) -> Tensor:
        return convolve(around().to(v.dtype), v, None, layer.stride, 0, layer.dilation, g)

    def fold(gpd: Tensor) -> Tensor:
        return gpd.reshape(len(gpd), layer.out_channels, *layer.kernel_size, layer.in_channels // g).movedim(-1, 2)

    squares = shorter_way(layer, x, grad)
    return {
        "weight": lambda: OuterProduct(windows, _grouped(grad, g), axes, apply, grad, fold, layer.kernel_size, squares),
        "bias": lambda: Explicit(grad.flatten(2).sum(2, dtype=wide(grad))),
    }


def shorter_way(layer: nn.modules.conv._ConvNd, x: Tensor, grad: Tensor) -> Callable[[], Tensor] | None:
    """How to take the norms of the weight's gradients without a copy of all windows, or None.

    Copying the windows costs as much as multiplying them where a kernel is small and has many positions. In
    channels-last memory the windows of one row do, wherever the gradients are formed at all. On a processor the bounds
    are those of two cores of an AMD EPYC, and in the other layout a convolution with a group for every example copies
    nothing; an accelerator has no fast kernel for so many groups.
    """
    single = x.dtype == grad.dtype == torch.float32
    if not isinstance(layer, nn.Conv2d) or isinstance(layer.padding, str) or not single:
        return None
    plain = layer.groups == 1 and layer.padding_mode == "zeros" and min(layer.kernel_size) > 1
    positions, weight = grad[0, 0].numel(), layer.weight
    if not plain or layer.in_channels < 8 or positions < 128:
        return None
    in_rows = layer.stride[0] == 1 and x.is_contiguous(memory_format=torch.channels_last)
    if not _on_processor(x.device):
        by_gram = positions * (weight[0].numel() + len(weight)) < weight.numel() and not rounds_products(x.device)
        return partial(by_rows, layer, x, grad) if in_rows and not by_gram else None
    if weight.numel() > 20_000:
        return None
    if x.is_contiguous(memory_format=torch.channels_last):
        return partial(by_rows, layer, x, grad) if in_rows else None
    return partial(by_groups, layer, x, grad) if torch.backends.mkldnn.enabled else None


def _on_processor(device: torch.device) -> bool:
    """The one place that decides."""
    return device.type == "cpu"


def by_groups(layer: nn.Conv2d, x: Tensor, grad: Tensor) -> Tensor:
    """(B,) squared norms, by the weight gradient of a convolution that has a group for every example."""
    shape, padding = layer.weight.shape, [int(size) for size in layer.padding]
    parts = []
    for rows in chunks(len(x), layer.weight.numel(), x.device):
        several, back = (y[rows].contiguous().flatten(0, 1)[None] for y in (x, grad))
        n = several.shape[1] // layer.in_channels
        weight = x.new_empty(n * shape[0], *shape[1:])  # its gradient does not depend on its values
        found = torch.ops.aten.convolution_backward(
            back, several, weight, None, layer.stride, padding, layer.dilation, False, [0, 0], n, [False, True, False]
        )[1]
        parts.append(torch.linalg.vector_norm(found.view(n, shape[0], -1), dim=2).square().sum(1))
    return torch.cat(parts)


def by_rows(layer: nn.Conv2d, x: Tensor, grad: Tensor) -> Tensor:
    """(B,) squared norms, in channels-last memory and with stride 1 from row to row.

    Windows of one row are copied; a kernel's further rows are the same windows, moved by whole rows of positions.
    """
    (_, width), (down, across) = layer.kernel_size, layer.dilation
    positions, line = grad[0, 0].numel(), grad.shape[3]
    sides = [size for axis in (1, 0) for size in 2 * [int(layer.padding[axis])]]
    x, grad = x.movedim(1, -1), grad.movedim(1, -1)
    parts = []
    for rows in chunks(
        len(x), positions * (width * layer.in_channels + len(layer.weight)) + layer.weight.numel(), x.device
    ):
        around = functional.pad(x[rows], [0, 0, *sides])
        windows = around.unfold(2, across * (width - 1) + 1, layer.stride[1])[..., ::across].movedim(-1, -2)
        a, b = windows.flatten(3).flatten(1, 2), grad[rows].flatten(1, 2).mT
        moved = (a[:, line * down * row :][:, :positions] for row in range(layer.kernel_size[0]))
        products = torch.stack([b @ part for part in moved])
        parts.append(torch.linalg.vector_norm(products, dim=(0, 3)).square().sum(1))
    return torch.cat(parts)


def conv_transposed_rule(layer: nn.modules.conv._ConvTransposeNd, x: Tensor, grad: Tensor) -> Terms:
    """A transposed convolution is the gradient of a convolution, so here the gradient is unfolded, not the input."""
    g, axes = layer.groups, len(layer.kernel_size)
    padding = [int(size) for size in layer.padding]
    around = functional.pad(grad, [size for size in reversed(padding) for _ in range(2)])
    spread = _unfold_windows(_last_in_memory(around), layer.kernel_size, layer.stride, layer.dilation)
    windows = _grouped(spread[(slice(None), slice(None), *(slice(0, size) for size in x.shape[2:]))], g)
    transposed = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[axes - 1]

    # output_padding is found from the sizes, since forward(output_size=…) may set it too.
    further = [
        m - (t - 1) * step + 2 * room - spread_by * (size - 1) - 1
        for m, t, step, room, spread_by, size in zip(
            grad.shape[2:], x.shape[2:], layer.stride, padding, layer.dilation, layer.kernel_size, strict=True
        )
    ]

    def apply(v: Tensor) -> Tensor:
        out: Tensor = transposed(x.to(v.dtype), v, None, layer.stride, padding, further, g, layer.dilation)
        return out

    def fold(gpd: Tensor) -> Tensor:
        return gpd.reshape(len(gpd), layer.in_channels, *layer.kernel_size, layer.out_channels // g).movedim(-1, 2)

    return {
        "weight": lambda: OuterProduct(lambda: windows, _grouped(x, g), axes, apply, grad, fold, layer.kernel_size),
        "bias": lambda: Explicit(grad.flatten(2).sum(2, dtype=wide(grad))),
    }


def _grouped(x: Tensor, groups: int) -> Tensor:
    """(B, C, …) -> (B, g, …, C/g), a view."""
    return torch.unflatten(x, 1, (groups, -1)).movedim(2, -1)


def _room(layer: nn.modules.conv._ConvNd) -> list[tuple[int, int]]:
    """The padding before and after each axis; "same" may be uneven."""
    room = []
    for axis in range(len(layer.kernel_size)):
        if isinstance(layer.padding, str):
            total = layer.dilation[axis] * (layer.kernel_size[axis] - 1) if layer.padding == "same" else 0
        else:
            total = 2 * int(layer.padding[axis])
        room.append((total // 2, total - total // 2))
    return room


def _padded(layer: nn.modules.conv._ConvNd, x: Tensor) -> Tensor:
    """The input of a convolution (B, C, *spatial) with its padding, of any kind and mode."""
    sides = [size for room in reversed(_room(layer)) for size in room]
    return functional.pad(x, sides, mode=_PADDING[layer.padding_mode]) if any(sides) else x


def _last_in_memory(x: Tensor) -> Tensor:
    """The same tensor with its second axis contiguous in memory, so that windows are copied in long runs."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def _unfold_windows(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """All windows of x (B, C, *spatial), as a view (B, C, *positions, *kernel)."""
    for axis, (size, step, spread) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + axis, spread * (size - 1) + 1, step)
        x = x[..., ::spread]
    return x
