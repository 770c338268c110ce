"""A copy of a data set on an accelerator, so that its batches are taken there and nothing is sent at a step."""

from __future__ import annotations

from math import prod

import numpy as np
import torch
from torch import Tensor

from datadiet.data.batch import sent
from datadiet.data.source import Source
from datadiet.devices import free_memory

__all__ = ["Resident"]

_SHARE = 4  # a copy may take a quarter of the free memory; the rest is the network's


class Resident:
    """The inputs and labels of a source on a device; each input is sent when it is first taken.

    Args:
        source: n examples.
        device: where they are kept.
    """

    def __init__(self, source: Source, device: torch.device) -> None:
        self.source, self.device = source, device
        self._inputs = torch.empty((len(source), *source.shape), dtype=source.dtype, device=device)
        self._labels = sent(source.label_tensor, device)
        self._there = np.zeros(len(source), dtype=bool)

    @classmethod
    def of(cls, source: Source, device: torch.device) -> Resident | None:
        """A copy of decoded data, if the device has room for it; None if its batches are better sent one by one."""
        most = _room(device)
        fits = most and source.inputs.in_memory
        return cls(source, device) if fits and _size(source) <= most else None

    def take(self, positions: np.ndarray, places: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs (B, …) and labels (B,), without waiting for the device.

        Args:
            positions: (B,) int64.
            places: the same on the device.

        Raises:
            DataError: as `Source.take`, when an input is first taken.
        """
        missing = np.unique(positions[~self._there[positions]])
        if len(missing):
            to = sent(torch.from_numpy(missing), self.device)
            self._inputs.index_copy_(0, to, sent(self.source.take(missing), self.device))
            self._there[missing] = True
        return self._inputs.index_select(0, places), self._labels.index_select(0, places)


def _room(device: torch.device) -> int:
    """The bytes that a copy may take: none on a processor, which has the data already."""
    return free_memory(device) // _SHARE


def _size(source: Source) -> int:
    return len(source) * prod(source.shape) * source.dtype.itemsize
