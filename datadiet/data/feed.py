"""From a data set to batches that a network can take: moved to the device, augmented, normalised.

A data set is the un-augmented view. Augmentation happens here, per batch, on tensors, and only when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.data.augment import apply, parse_augment
from datadiet.data.source import Source
from datadiet.errors import DataError

__all__ = ["Feed", "Normalisation", "measure_normalisation", "resolve_augment"]

_PROBED, _PROBED_VALUES, _CHUNK = 4096, 1 << 26, 64  # examples, numbers in them, examples at a time


@dataclass(frozen=True)
class Normalisation:
    """x -> (x - mean) / std, per channel of images and per feature of vectors, in the units of the stored inputs."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        mean = torch.tensor(self.mean, device=x.device).view(shape)
        std = torch.tensor(self.std, device=x.device).view(shape)
        return (x.float() - mean) / std


def measure_normalisation(source: Source) -> Normalisation | None:
    """Mean and standard deviation over at most 4096 evenly spaced examples, fewer if they are large.

    None for float inputs of more than one dimension: whoever made them has scaled them already. A channel or feature
    that is constant is only centred.
    """
    if source.dtype != torch.uint8 and len(source.shape) != 1:
        return None
    number = min(len(source), max(_CHUNK, min(_PROBED, _PROBED_VALUES // prod(source.shape))))
    places = np.arange(number) * len(source) // number
    origin = (
        source.take(places[:1]).transpose(0, 1).flatten(1).double()[:, :1]
    )  # so that no large offset hides a spread
    total, squares, count = torch.zeros(len(origin)).double(), torch.zeros(len(origin)).double(), 0
    for lo in range(0, number, _CHUNK):
        x = source.take(places[lo : lo + _CHUNK]).transpose(0, 1).flatten(1).double() - origin
        total, squares, count = total + x.sum(dim=1), squares + x.square().sum(dim=1), count + x.shape[1]
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std[std == 0] = 1.0
    return Normalisation(tuple((mean + origin[:, 0]).tolist()), tuple(std.tolist()))


def resolve_augment(augment: str, shape: tuple[int, ...]) -> str:
    """What "auto" means for inputs of a shape.

    "flip,translate:2" for colour images of 24 pixels or more, else "none".
    """
    if augment != "auto":
        return augment
    colour = len(shape) == 3 and shape[0] == 3 and min(shape[1:]) >= 24
    return "flip,translate:2" if colour else "none"


@dataclass(frozen=True)
class Feed:
    """A data set, ready for a network.

    Attributes:
        source: the data.
        normalisation: how inputs are scaled; None leaves them as they are.
        device: where batches go.
        augment: what `batches` does when it is given a generator.
        workers: loader processes for data that is too big to hold decoded.
    """

    source: Source
    normalisation: Normalisation | None
    device: torch.device
    augment: str = "none"
    workers: int = 0

    def __len__(self) -> int:
        return len(self.source)

    def on(self, source: Source) -> Feed:
        """The same preparation of other data, such as the evaluation set, without augmentation."""
        if source.shape != self.source.shape:
            raise DataError(
                f"inputs of shape {source.shape} in {source.spec} and {self.source.shape} in {self.source.spec}: they "
                "must be the same."
            )
        return replace(self, source=source, augment="none")

    def batches(
        self,
        order: np.ndarray | Iterable[int],
        batch_size: int | Sequence[int],
        generator: torch.Generator | None = None,
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Batches in a given order.

        Args:
            order: positions of examples.
            batch_size: how many make a batch, the last one may be smaller; or the size of each batch.
            generator: the randomness of augmentation; None = no augmentation.

        Yields:
            inputs float32 (B, …) and labels int64 (B,) on the device, positions int64 (B,) on the CPU.
        """
        operations = parse_augment(self.augment)
        for inputs, labels, positions in self.source.batches(order, batch_size, workers=self.workers):
            x = inputs.to(self.device, non_blocking=True)
            if generator is not None and operations:
                x = apply(x, operations, generator)
            x = x.float() if self.normalisation is None else self.normalisation(x)
            if x.ndim == 4:  # channels last: convolutions on the CPU are half again as fast
                x = x.contiguous(memory_format=torch.channels_last)
            yield x, labels.to(self.device, non_blocking=True), positions

    def describe(self) -> dict[str, Any]:
        """What was resolved, for the identity block and for the user."""
        scale = None if self.normalisation is None else {"mean": self.normalisation.mean, "std": self.normalisation.std}
        return {"shape": list(self.source.shape), "normalisation": scale, "augment": self.augment}
