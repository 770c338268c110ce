"""What a sampler was given of the presentations of the epoch under way, until the next one begins."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.errors import OptionError, first_line
from datadiet.runtime.gather import RowBuffer

__all__ = ["PendingValues"]

_SPARE = 1 << 12


class PendingValues:
    """Values of examples, each of which counts once: that of its first presentation in the epoch.

    They stay on their device, so that no step waits for it.

    Args:
        n: examples of the data set.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self._batches, self._held = RowBuffer(), 0

    def add(self, index: Any, values: Any) -> None:
        """Add some presentations.

        Args:
            index: (m,) integers in 0..n-1: a tensor, an array or a list.
            values: (m,) finite numbers, likewise.

        Raises:
            OptionError: other types or shapes, or an index that is out of range, if it is on the CPU.
        """
        rows, given = _tensor("index", index), _tensor("values", values).detach()
        if rows.ndim != 1 or given.shape != rows.shape or given.is_complex():
            raise OptionError(
                f"index has the shape {tuple(rows.shape)} and the values {tuple(given.shape)} ({given.dtype}): give "
                "one real number for each index."
            )
        if not len(rows):
            return
        if rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool:
            raise OptionError(f"index has the type {rows.dtype}: give positions in the data set as whole numbers.")
        # Copies, since a caller may go on to weight the losses in place, or to fill the same array again.
        rows, given = rows.to(torch.int64, copy=True), given.clone()
        if rows.device.type == "cpu":
            self._check(rows)
        self._batches.add(rows, {"values": given})
        self._held += len(rows)
        if self._held > 2 * self.n + _SPARE:  # an epoch that is presented again and again
            first, kept = self.take()
            self.add(first, kept)

    def gather(self) -> None:
        """Hold what all processes of a process group hold, by step and then by rank; all of them must call it."""
        if self._batches:
            rows, columns = self._batches.gather()
            self._batches.add(rows, columns)
            self._held = len(rows)

    def take(self) -> tuple[np.ndarray, np.ndarray]:
        """Empty it: the examples, (m,) int64 ascending, and the value of the first presentation of each, float32.

        Raises:
            OptionError: a value that is not finite, or an index that is out of range.
        """
        state = self._batches.state_dict()
        self._batches, self._held = RowBuffer(), 0
        if not state:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.float32)
        self._check(state["rows"])
        rows, values = state["rows"].numpy(), state["columns"]["values"].float().cpu().numpy()
        first = np.full(self.n, -1)
        first[rows[::-1]] = np.arange(len(rows))[::-1]  # of several, the one that is assigned last stays
        examples = np.flatnonzero(first >= 0)
        values = values[first[examples]]
        if not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            raise OptionError(
                f"a value of {values[bad]} was given for example {examples[bad]}: a schedule cannot choose by it; "
                "lower the learning rate if the training diverges."
            )
        return examples, values

    def state_dict(self) -> dict[str, Any]:
        """What it holds."""
        return self._batches.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold what a saved one held."""
        self._batches.load_state_dict(state)
        self._held = len(state["rows"]) if state else 0

    def _check(self, rows: Tensor) -> None:
        low, high = int(rows.min()), int(rows.max())
        if low < 0 or high >= self.n:
            raise OptionError(
                f"an index of {low if low < 0 else high} was given, and the data set has {self.n} examples: give "
                "positions in the data set (dd.Indexed adds them to each item)."
            )


def _tensor(name: str, given: Any) -> Tensor:
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"{name} is not an array of numbers ({first_line(error)}): give one.") from None
