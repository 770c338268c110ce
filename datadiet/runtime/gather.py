"""The rows of an epoch and what was recorded of each, collected from all ranks in the order of presentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["RowBuffer", "gather_rows"]


class RowBuffer:
    """The batches of an epoch so far: rows, and columns with a value of each."""

    def __init__(self) -> None:
        self._rows: list[Tensor] = []
        self._columns: list[Mapping[str, Tensor]] = []

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def names(self) -> set[str]:
        """The names of its columns."""
        return set(self._columns[-1]) if self._columns else set()

    def add(self, rows: Tensor, columns: Mapping[str, Tensor]) -> None:
        """Add a batch.

        Args:
            rows: (B,) int64 on the CPU.
            columns: name -> (B,), the same names in each batch, on any one device.
        """
        self._rows.append(rows)
        self._columns.append(columns)

    def gather(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Empty the buffer: the rows of all ranks on the CPU, and the columns, by step and then by rank."""
        rows, columns, lengths = self._joined()
        step = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        self._rows, self._columns = [], []
        return gather_rows(rows, step, columns)

    def state_dict(self) -> dict[str, Any]:
        """What it holds: one tensor for each column, and the lengths of the batches."""
        if not self._rows:
            return {}
        rows, columns, lengths = self._joined()
        return {"rows": rows, "lengths": lengths, "columns": columns}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Hold what a saved one held."""
        self._rows, self._columns = [], []
        if state:
            lengths = state["lengths"].tolist()
            self._rows = list(state["rows"].split(lengths))
            columns = {name: values.split(lengths) for name, values in state["columns"].items()}
            self._columns = [{name: parts[i] for name, parts in columns.items()} for i in range(len(lengths))]

    def _joined(self) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        last = self._columns[-1]  # its device is that of the training; a loaded state is on the CPU
        columns = {name: torch.cat([c[name].to(last[name].device) for c in self._columns]) for name in last}
        rows = torch.cat([rows.to(self._rows[-1].device) for rows in self._rows]).cpu()
        return rows, columns, torch.tensor([len(rows) for rows in self._rows])


def gather_rows(rows: Tensor, step: Tensor, columns: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """All ranks' rows, by step and then by rank; without a process group, the rows unchanged.

    Args:
        rows: (m,) int64 on the CPU; m may differ between ranks.
        step: (m,) int64, the batch in which each row was presented.
        columns: name -> (m,), on any one device.

    Returns:
        The rows on the CPU, and the columns; the same on every rank.
    """
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return rows, columns
    device = next(iter(columns.values())).device
    all_steps = _gather(step.to(device))
    order = torch.argsort(all_steps, stable=True)
    gathered = {name: _gather(values)[order] for name, values in columns.items()}
    return _gather(rows.to(device))[order].cpu(), gathered


def _gather(values: Tensor) -> Tensor:
    """Concatenate over ranks; gloo and nccl gather equal sizes only, so shorter ranks are padded."""
    world = dist.get_world_size()
    sizes = [torch.zeros(1, dtype=torch.int64, device=values.device) for _ in range(world)]
    dist.all_gather(sizes, torch.tensor([len(values)], device=values.device))
    lengths = [int(size) for size in sizes]
    raw = values.to(torch.uint8) if values.dtype == torch.bool else values
    padded = torch.zeros(max(lengths), dtype=raw.dtype, device=raw.device)
    padded[: len(raw)] = raw
    out = [torch.empty_like(padded) for _ in range(world)]
    dist.all_gather(out, padded)
    return torch.cat([part[:m] for part, m in zip(out, lengths, strict=True)]).to(values.dtype)
