"""A batch: what every loop and every pass hands around."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, pairwise, repeat

import numpy as np
import torch
from torch import Tensor

from datadiet.errors import OptionError

__all__ = ["Batch", "Inputs", "chunks_of", "map_inputs", "sent"]

Inputs = Tensor | Mapping[str, Tensor]


def map_inputs(change: Callable[[Tensor], Tensor], inputs: Inputs) -> Inputs:
    """The inputs with every tensor changed."""
    if isinstance(inputs, Mapping):
        return {name: change(value) for name, value in inputs.items()}
    return change(inputs)


def sent(value: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device; neither the processor nor a CUDA device waits for the copy.

    Elsewhere the copy is waited for: only CUDA keeps pinned memory from being used again while it is read.
    """
    pinned = device.type == "cuda" and value.device.type == "cpu"
    return (value.pin_memory() if pinned else value).to(device, non_blocking=pinned)


def chunks_of(order: np.ndarray | Iterable[int], batch_size: int | Sequence[int]) -> Iterator[np.ndarray]:
    """Positions in chunks of one size, or of the sizes given, as int64; the last may be smaller.

    Raises:
        OptionError: a size below 1.
    """
    sizes = repeat(batch_size) if isinstance(batch_size, int) else batch_size
    if min([batch_size] if isinstance(batch_size, int) else batch_size, default=1) < 1:
        raise OptionError(f"batch_size={batch_size}: give at least 1.")
    positions = iter(order.tolist() if isinstance(order, np.ndarray) else order)
    for size in sizes:
        chunk = list(islice(positions, size))
        if not chunk:
            return
        yield np.array(chunk, dtype=np.int64)


@dataclass(frozen=True)
class Batch:
    """B examples, ready for a network.

    Attributes:
        inputs: a tensor (B, …), or name -> tensor (B, …) for a network that takes keyword arguments.
        targets: (B,) int64 class numbers for classification, or whatever the task takes.
        rows: (B,) int64 on the CPU, the positions of the examples in their source.
        view: which view of the examples this is: 0 is the clean one, others are augmented.
    """

    inputs: Inputs
    targets: Tensor
    rows: Tensor
    view: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    def part(self, where: slice) -> Batch:
        """Some of its examples."""
        inputs = map_inputs(lambda value: value[where], self.inputs)
        return replace(self, inputs=inputs, targets=self.targets[where], rows=self.rows[where])

    def parts(self, number: int) -> list[Batch]:
        """The batch in at most `number` parts whose sizes differ by at most one."""
        if number == 1:
            return [self]
        number = min(number, len(self))
        edges = [len(self) * part // number for part in range(number + 1)]
        spans = [slice(lo, hi) for lo, hi in pairwise(edges)]
        return [self.part(span) for span in spans]

    def to(self, device: torch.device) -> Batch:
        """The same on a device; `rows` stay on the CPU."""
        inputs = map_inputs(lambda value: sent(value, device), self.inputs)
        return replace(self, inputs=inputs, targets=sent(self.targets, device))
