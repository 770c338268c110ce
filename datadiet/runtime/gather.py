"""Gathering the rows that each rank recorded, in the order in which they were presented."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

__all__ = ["gather_rows"]


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
