"""From a data set to batches that a network can take: moved to the device, augmented, normalised.

A data set is the un-augmented view. Augmentation happens here, per batch, on tensors, and only when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.data.augment import Augment, Draw, apply, keyed_draws, parse_augment
from datadiet.data.batch import Batch, chunks_of, map_inputs, sent
from datadiet.data.decode import DECODER
from datadiet.data.resident import Resident
from datadiet.data.source import Source
from datadiet.errors import DataError
from datadiet.working_set import working_set

__all__ = ["Feed", "Normalisation", "measure_normalisation", "resolve_augment"]

_EVAL_BATCH, _EVAL_NUMBERS = 512, 1 << 25  # the most examples, and numbers of their inputs, in a batch
_AHEAD = 256  # batches whose positions and draws are sent to a device at once
_PROBED, _PROBED_VALUES, _CHUNK = 4096, 1 << 26, 64  # examples, numbers in them, examples at a time


@dataclass(frozen=True)
class Normalisation:
    """x -> (x - mean) / std, per channel of images and per feature of vectors, in the units of the stored inputs."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, x: Tensor) -> Tensor:
        shape = (1, -1) + (1,) * (x.ndim - 2)
        if x.device not in self._moved:
            self._moved[x.device] = tuple(torch.tensor(part, device=x.device) for part in (self.mean, self.std))
        mean, std = (part.view(shape) for part in self._moved[x.device])
        large = x.device.type == "cpu" and x.ndim == 4 and x.numel() > working_set("cpu")
        return _in_pieces(x, mean, std) if large else (x.float() - mean).div_(std)

    def after(self, other: Normalisation) -> Normalisation:
        """What turns inputs normalised by another one into inputs normalised by this one."""
        mean = tuple((to - by) / scale for to, by, scale in zip(self.mean, other.mean, other.std, strict=True))
        return Normalisation(mean, tuple(to / by for to, by in zip(self.std, other.std, strict=True)))

    @cached_property
    def _moved(self) -> dict[torch.device, tuple[Tensor, ...]]:
        """Both as tensors, for each device that asked."""
        return {}


def _in_pieces(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """(x - mean) / std of images (B, C, H, W) in the layout of x, a few at a time, which the cache holds meanwhile."""
    last = x.is_contiguous(memory_format=torch.channels_last)
    wide = x.permute(0, 2, 3, 1) if last else x
    out = torch.from_numpy(np.empty(wide.shape, dtype=np.float32))  # numpy asks for huge pages, which are faster to get
    rows = out
    if last:  # each pixel's channels follow each other: repeat the scale
        rows, wide = out.flatten(1), wide.flatten(1)
        mean, std = (part.flatten().repeat(x.shape[2] * x.shape[3]) for part in (mean, std))
    step = max(1, working_set("cpu") // max(1, prod(x.shape[1:])))
    for lo in range(0, len(x), step):
        part = rows[lo : lo + step]
        part.copy_(wide[lo : lo + step])
        part.sub_(mean).div_(std)
    return out.permute(0, 3, 1, 2) if last else out


def measure_normalisation(source: Source, integers: str = "tokens") -> Normalisation | None:
    """Mean and standard deviation over at most 4096 evenly spaced examples, fewer if they are large.

    Args:
        source: the data. A constant channel or feature is only centred.
        integers: what integers that are not images are: "tokens" or "numbers".

    Returns:
        None for tokens, and for float inputs of more than one dimension, which are scaled already.
    """
    if source.dtype == torch.int64 and integers == "tokens":
        return None
    if source.dtype != torch.uint8 and len(source.shape) != 1:
        return None
    number = min(len(source), max(_CHUNK, min(_PROBED, _PROBED_VALUES // prod(source.shape))))
    places = np.arange(number) * len(source) // number
    chunks = (source.take(places[lo : lo + _CHUNK]).transpose(0, 1).flatten(1) for lo in range(0, number, _CHUNK))
    origin = source.take(places[:1]).transpose(0, 1).flatten(1).double()[:, :1]  # so that no offset hides a spread
    total, squares, count = (_pixel_sums if source.dtype == torch.uint8 else _sums)(chunks, origin)
    mean = total / count
    std = (squares / count - mean.square()).clamp_min(0).sqrt()
    std[std == 0] = 1.0
    return Normalisation(tuple((mean + origin[:, 0]).tolist()), tuple(std.tolist()))


def _sums(chunks: Iterable[Tensor], origin: Tensor) -> tuple[Tensor, Tensor, int]:
    """Sums and sums of squares (C,) of the distances from an origin (C, 1), float64, and how many there are per row.

    Args:
        chunks: (C, m) each.
        origin: of each row.
    """
    total, squares, count = torch.zeros(len(origin)).double(), torch.zeros(len(origin)).double(), 0
    for chunk in chunks:
        x = chunk.double() - origin
        total, squares, count = total + x.sum(dim=1), squares + x.square().sum(dim=1), count + x.shape[1]
    return total, squares, count


def _pixel_sums(chunks: Iterable[Tensor], origin: Tensor) -> tuple[Tensor, Tensor, int]:
    """The same for bytes, from counts of their 256 values: whole numbers, so both ways are exact."""
    counts = torch.zeros((len(origin), 256), dtype=torch.int64)
    for chunk in chunks:
        counts += torch.stack([torch.bincount(row, minlength=256) for row in chunk])
    distances = torch.arange(256).double() - origin
    return (counts * distances).sum(dim=1), (counts * distances.square()).sum(dim=1), int(counts[0].sum())


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
        augment: how views other than 0 differ from the clean one.
        workers: loader processes for data that is too big to hold decoded.
        augment_seed: the seed of the views.
        channels_last: whether images are laid out with their channels last.
    """

    source: Source
    normalisation: Normalisation | None
    device: torch.device
    augment: str = "none"
    workers: int = 0
    augment_seed: int = 0
    channels_last: bool = True

    def __len__(self) -> int:
        return len(self.source)

    @property
    def eval_batch(self) -> int:
        """Examples per batch where no gradient is taken: 512, or a smaller power of two if they take over 128 MiB."""
        fit = max(1, _EVAL_NUMBERS // max(1, prod(self.source.shape)))
        return min(_EVAL_BATCH, 1 << (fit.bit_length() - 1))

    def on(self, source: Source) -> Feed:
        """The same preparation of other data, such as the evaluation set, without augmentation."""
        if source.shape != self.source.shape:
            raise DataError(
                f"inputs of shape {source.shape} in {source.spec} and {self.source.shape} in {self.source.spec}: they "
                "must be the same."
            )
        return replace(self, source=source, augment="none")

    def batches(
        self, order: np.ndarray | Iterable[int], batch_size: int | Sequence[int], view: int = 0
    ) -> Iterator[Batch]:
        """Batches in a given order.

        Args:
            order: positions of examples.
            batch_size: how many make a batch, the last one may be smaller; or the size of each batch.
            view: which view; 0 = the clean one.

        Yields:
            Batches with inputs (B, …), float32 or int64 tokens, and targets int64 (B,) on the device.
        """
        if self._resident is None:
            return self._sent(order, batch_size, view)
        return self._taken(self._resident, chunks_of(order, batch_size), view)

    def first(self, n: int, view: int = 0) -> Batch:
        """The first n examples, or all if there are fewer, as one batch."""
        n = min(n, len(self))
        return next(self._sent(np.arange(n), n, view))

    @cached_property
    def _resident(self) -> Resident | None:
        return Resident.of(self.source, self.device)

    def _sent(self, order: np.ndarray | Iterable[int], batch_size: int | Sequence[int], view: int) -> Iterator[Batch]:
        """Batches that are sent to the device one by one."""
        operations = self._operations(view)
        for inputs, labels, rows in self.source.batches(order, batch_size, workers=self.workers):
            draw = keyed_draws(self.augment_seed, view, self.source.index[rows.numpy()])
            yield self._prepared(Batch(inputs, labels, rows, view).to(self.device), operations, draw)

    def _taken(self, resident: Resident, chunks: Iterator[np.ndarray], view: int) -> Iterator[Batch]:
        """The same batches, taken from a copy on the device; the positions and draws of many are sent at once."""
        operations = self._operations(view)
        while ahead := list(islice(chunks, _AHEAD)):
            positions, lo = np.concatenate(ahead), 0
            places = sent(torch.from_numpy(positions), self.device)
            draws = _kept(keyed_draws(self.augment_seed, view, self.source.index[positions]), self.device)
            for chunk in ahead:
                span = slice(lo, lo + len(chunk))
                inputs, labels = resident.take(chunk, places[span])
                batch = Batch(inputs, labels, torch.from_numpy(chunk), view)
                yield self._prepared(batch, operations, partial(_part_of, draws, span))
                lo = span.stop

    def _operations(self, view: int) -> tuple[Augment, ...]:
        return parse_augment(self.augment) if view else ()

    def _prepared(self, batch: Batch, operations: tuple[Augment, ...], draw: Draw) -> Batch:
        """A batch, augmented, normalised and laid out."""

        def one(x: Tensor) -> Tensor:
            if not x.is_floating_point() and x.dtype != torch.uint8 and self.normalisation is None:
                return x  # token ids, masks
            x = apply(x, operations, draw)
            if x.ndim == 4:  # channels last: convolutions on the CPU are half again as fast
                last = torch.channels_last if self.channels_last else torch.contiguous_format
                x = x.contiguous(memory_format=last)
            return x.float() if self.normalisation is None else self.normalisation(x)

        return replace(batch, inputs=map_inputs(one, batch.inputs))

    def describe(self) -> dict[str, Any]:
        """What was resolved, for the identity block and for the user."""
        scale = None if self.normalisation is None else {"mean": self.normalisation.mean, "std": self.normalisation.std}
        return {"shape": list(self.source.shape), "normalisation": scale, "augment": self.augment, "decoder": DECODER}


def _kept(draw: Draw, device: torch.device) -> Draw:
    """The same draws, made once and sent to a device."""
    return cache(lambda what: sent(draw(what), device))


def _part_of(draw: Draw, span: slice, what: str) -> Tensor:
    return draw(what)[span]
