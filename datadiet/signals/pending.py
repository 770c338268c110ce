"""Outputs of an accelerator whose signals wait to be computed, for many batches at once.

The signals of a batch are some fifty small kernels, and starting them takes the processor a good part of the time of a
training step. Copied, and measured later with those of other batches, they cost a step two or three kernels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from datadiet.attributes import is_ours
from datadiet.runtime.gather import RowBuffer
from datadiet.working_set import working_set

__all__ = ["Pending"]

Columns = dict[str, Tensor]
_PARTS = ("outputs", "targets", "features")


class Pending:
    """Batches of outputs, targets and features, in the order in which they were presented.

    It is emptied after a number of batches that their shapes alone decide, and its state holds the batches themselves:
    sums over another number of rows may round differently, and a resumed recording would not be that of one run.
    """

    def __init__(self) -> None:
        self._batches = RowBuffer()
        self._held: Columns = {}  # examples of what it holds, for their shapes and types
        self._numbers = 0

    def __bool__(self) -> bool:
        return bool(self._batches)

    @staticmethod
    def takes(signals: Callable[..., Any] | None, *given: Any) -> bool:
        """Whether the signals of a batch can wait: on an accelerator, if a function of datadiet's computes them."""
        return _far_away(given) and (signals is None or is_ours(signals))

    def fits(self, *given: Tensor | None) -> bool:
        """Whether another batch is of the types and shapes of those that are here."""
        return not self._batches or _kinds(_columns(given)) == _kinds(self._held)

    @property
    def full(self) -> bool:
        """Whether it is time to measure: at once, since a saved state is loaded to a processor, where sums round
        otherwise.
        """
        return bool(self._held) and self._numbers >= working_set(self._held["outputs"].device.type)

    def add(self, rows: Tensor, *given: Tensor | None) -> None:
        """Keep copies of a batch: a caller, or a captured graph, may overwrite it.

        Args:
            rows: (B,) int64.
            given: outputs (B, …), targets (B, …), and features (B, …) or None.
        """
        self._held = {name: value.detach().clone() for name, value in _columns(given).items()}
        self._batches.add(rows, self._held)
        self._numbers += sum(value.numel() for value in self._held.values())

    def measured(self, measure: Callable[..., Columns]) -> Iterator[tuple[Tensor, Columns]]:
        """Empty it: the rows and signals of each batch.

        Args:
            measure: (outputs, targets, features or None) -> name -> (B,).
        """
        state = self._batches.state_dict()
        self.load_state_dict({})
        if state:
            lengths = state["lengths"].tolist()
            signals = measure(*(state["columns"].get(name) for name in _PARTS))
            parts = {name: torch.split(values, lengths) for name, values in signals.items()}
            for place, rows in enumerate(torch.split(state["rows"], lengths)):
                yield rows, {name: values[place] for name, values in parts.items()}

    def state_dict(self) -> dict[str, Any]:
        """What it holds."""
        return self._batches.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold what a saved one held."""
        self._batches.load_state_dict(state)
        self._held = dict(state.get("columns", {}))
        self._numbers = sum(value.numel() for value in self._held.values())


def _columns(given: tuple[Tensor | None, ...]) -> Columns:
    return {name: value for name, value in zip(_PARTS, given, strict=True) if value is not None}


def _kinds(columns: Columns) -> dict[str, tuple[Any, ...]]:
    return {name: (value.dtype, value.shape[1:]) for name, value in columns.items()}


def _far_away(given: tuple[Any, ...]) -> bool:
    """Whether all are on an accelerator; on a processor signals and errors come at once."""
    return all(value is None or (isinstance(value, Tensor) and value.device.type != "cpu") for value in given)
