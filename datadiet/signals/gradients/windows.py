"""The padded input of a convolution and its windows, as views without copies."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

__all__ = ["last_in_memory", "padded", "unfold_windows"]

_MODES = {"zeros": "constant", "reflect": "reflect", "replicate": "replicate", "circular": "circular"}


def padded(layer: nn.modules.conv._ConvNd, x: Tensor) -> Tensor:
    """The input of a convolution, with its padding.

    Args:
        layer: with padding "valid", "same" (which may be uneven) or numbers, and any of PyTorch's padding modes.
        x: (B, C, *spatial).
    """
    room: list[int] = []
    for size, kernel, dilation in zip(
        reversed(_sizes(layer)), reversed(layer.kernel_size), reversed(layer.dilation), strict=True
    ):
        total = dilation * (kernel - 1) if size is None else 2 * size
        room += [total // 2, total - total // 2]
    return functional.pad(x, room, mode=_MODES[layer.padding_mode]) if any(room) else x


def _sizes(layer: nn.modules.conv._ConvNd) -> list[int | None]:
    if isinstance(layer.padding, str):
        return [0 if layer.padding == "valid" else None] * len(layer.kernel_size)
    return [int(size) for size in layer.padding]


def last_in_memory(x: Tensor) -> Tensor:
    """The same tensor with its second axis contiguous in memory, so that windows are copied in long runs."""
    return x.movedim(1, -1).contiguous().movedim(-1, 1)


def unfold_windows(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]) -> Tensor:
    """All windows of x (B, C, *spatial), as a view (B, C, *positions, *kernel)."""
    for axis, (size, step, spread) in enumerate(zip(kernel, stride, dilation, strict=True)):
        x = x.unfold(2 + axis, spread * (size - 1) + 1, step)
        x = x[..., ::spread]
    return x
