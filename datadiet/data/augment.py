"""Augmentations of whole batches of images, as tensors.

An augmented view of an example is a function of (seed, view, index of the example), never of the batch it is in: every
rank, loader worker and cached teacher sees the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from datadiet.data.batch import sent
from datadiet.errors import OptionError, unknown_name
from datadiet.randomness import mix64, uniform

__all__ = ["Augment", "Draw", "apply", "keyed_draws", "parse_augment", "view_of_epoch"]

Draw = Callable[[str], torch.Tensor]  # what is drawn -> (B,) float64 in (0, 1), one draw per example


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
        OptionError: a name is unknown, or its size is missing, not allowed or not a positive whole number.

    >>> parse_augment("flip,translate:2")
    (Augment(name='flip', size=0), Augment(name='translate', size=2))
    """
    parts = [part.strip() for part in text.split(",") if part.strip()]
    return () if parts == ["none"] else tuple(map(_parse, parts))


def view_of_epoch(epoch: int, views: int = 0) -> int:
    """The view that an epoch presents.

    Args:
        epoch: from 1.
        views: how many views are repeated in turn; 0 = a new one every epoch.

    >>> [view_of_epoch(epoch) for epoch in (1, 2, 3)], [view_of_epoch(epoch, views=2) for epoch in (1, 2, 3)]
    ([1, 2, 3], [1, 2, 1])
    """
    return 1 + (epoch - 1) % views if views else epoch


def keyed_draws(seed: int, view: int, index: np.ndarray) -> Draw:
    """Draws that depend only on (seed, view, index of the example, what is drawn).

    Args:
        seed: a whole number of at least 0.
        view: which view, from 1.
        index: (B,) integers, the positions of the examples in their source.
    """
    return lambda what: torch.from_numpy(uniform(mix64(seed, f"view {view} {what}", index)))


def apply(x: torch.Tensor, ops: Sequence[Augment], draw: Draw) -> torch.Tensor:
    """Augment a batch of images.

    Args:
        x: (B, C, H, W), uint8 or float, on any device; it is not changed.
        ops: what to do, in this order.
        draw: the randomness, such as `keyed_draws`.

    Returns:
        A tensor of the same shape, type and device.

    Raises:
        OptionError: x is not a batch of images, or is too small to be reflected by so many pixels.
    """
    if ops and x.ndim != 4:
        raise OptionError(
            f"inputs of shape {tuple(x.shape[1:])} are not images: choose augment=none (--set augment=none)."
        )
    for place, op in enumerate(ops):
        x = _OPS[op.name](x, op.size, lambda what, place=place: draw(f"{place} {what}"))  # type: ignore[misc]
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


def _flip(x: torch.Tensor, size: int, draw: Draw) -> torch.Tensor:
    flipped = draw("flip") < 0.5
    return torch.where(sent(flipped, x.device)[:, None, None, None], x.flip(-1), x)


def _translate(x: torch.Tensor, size: int, draw: Draw) -> torch.Tensor:
    return _random_crop(F.pad(x, (size, size, size, size)), size, draw)


def _crop(x: torch.Tensor, size: int, draw: Draw) -> torch.Tensor:
    height, width = x.shape[2:]
    if size >= min(height, width):
        raise OptionError(
            f"crop:{size} reflects {size} pixels, and the images have {height}x{width}: give a smaller size."
        )
    # torch's own reflecting pad does not take uint8.
    rows, columns = _reflected(height, size, x.device), _reflected(width, size, x.device)
    return _random_crop(x.index_select(2, rows).index_select(3, columns), size, draw)


def _reflected(length: int, size: int, device: torch.device) -> torch.Tensor:
    position = torch.arange(-size, length + size, device=device).abs()
    return torch.minimum(position, 2 * (length - 1) - position)


def _random_crop(padded: torch.Tensor, size: int, draw: Draw) -> torch.Tensor:
    """From (B, C, H + 2k, W + 2k) one window (H, W) per example."""
    batch, _, tall, wide = padded.shape
    top, left = (sent((draw(what) * (2 * size + 1)).long(), padded.device) for what in ("top", "left"))
    windows = padded.unfold(2, tall - 2 * size, 1).unfold(3, wide - 2 * size, 1)
    return windows[torch.arange(batch, device=padded.device), :, top, left]


_OPS: dict[str, Callable[[torch.Tensor, int, Draw], torch.Tensor]] = {
    "flip": _flip,
    "translate": _translate,
    "crop": _crop,
}
