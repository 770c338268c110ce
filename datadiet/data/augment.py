"""Augmentations of whole batches of images, as tensors.

Random numbers come from one CPU generator whatever the device, and as many whatever the values, so that the result is
a function of the generator's state and the shape alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from datadiet.errors import OptionError, unknown_name

__all__ = ["Augment", "apply", "parse_augment"]


@dataclass(frozen=True)
class Augment:
    """One augmentation: its name and, where it has one, its size in pixels."""

    name: str
    size: int = 0


def parse_augment(text: str) -> tuple[Augment, ...]:
    """Read a comma-separated list of augmentations, applied in that order; empty or "none" means none.

    Args:
        text: of "flip" (left to right, half of the time), "translate:k" (by -k..k pixels both ways, zeros come in)
            and "crop:k" (a crop of the old size from the image padded with k reflected pixels).

    Raises:
        OptionError: a name is unknown, or its size is missing, not wanted or not a positive whole number.

    >>> parse_augment("flip,translate:2")
    (Augment(name='flip', size=0), Augment(name='translate', size=2))
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return () if parts == ["none"] else tuple(map(_parse, parts))


def apply(x: torch.Tensor, ops: Sequence[Augment], generator: torch.Generator) -> torch.Tensor:
    """Augment a batch of images.

    Args:
        x: (B, C, H, W), uint8 or float, on any device; it is not changed.
        ops: what to do, in this order.
        generator: on the CPU; it advances.

    Returns:
        A tensor of the same shape, type and device.

    Raises:
        OptionError: x is not a batch of images, or is too small to be reflected by so many pixels.
    """
    if ops and x.ndim != 4:
        raise OptionError(f"inputs of shape {tuple(x.shape[1:])} are not images, so they cannot be augmented.")
    for op in ops:
        x = _OPS[op.name](x, op.size, generator)
    return x


def _parse(part: str) -> Augment:
    name, colon, size = part.partition(":")
    if name not in _OPS:
        raise unknown_name("augmentation", name, _OPS)
    if name == "flip":
        if colon:
            raise OptionError(f"{part!r}: flip takes no size.")
        return Augment(name)
    if not size.isdigit() or int(size) == 0:
        raise OptionError(f"{part!r} needs a size in pixels, for example {name}:2.")
    return Augment(name, int(size))


def _flip(x: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    flipped = torch.rand(len(x), generator=generator) < 0.5
    return torch.where(flipped.to(x.device)[:, None, None, None], x.flip(-1), x)


def _translate(x: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    return _random_crop(F.pad(x, (size, size, size, size)), size, generator)


def _crop(x: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    height, width = x.shape[2:]
    if size >= min(height, width):
        raise OptionError(f"crop:{size} reflects {size} pixels, which images of {height}x{width} do not have.")
    # torch's own reflecting pad does not take uint8.
    rows, columns = _reflected(height, size).to(x.device), _reflected(width, size).to(x.device)
    return _random_crop(x.index_select(2, rows).index_select(3, columns), size, generator)


def _reflected(length: int, size: int) -> torch.Tensor:
    position = torch.arange(-size, length + size).abs()
    return torch.minimum(position, 2 * (length - 1) - position)


def _random_crop(padded: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
    """From (B, C, H + 2k, W + 2k) one window (H, W) per example."""
    batch, _, tall, wide = padded.shape
    top, left = torch.randint(0, 2 * size + 1, (2, batch), generator=generator).to(padded.device)
    windows = padded.unfold(2, tall - 2 * size, 1).unfold(3, wide - 2 * size, 1)
    return windows[torch.arange(batch, device=padded.device), :, top, left]


_OPS: dict[str, Callable[[torch.Tensor, int, torch.Generator], torch.Tensor]] = {
    "flip": _flip,
    "translate": _translate,
    "crop": _crop,
}
