"""Blocks of vectors on a device, in tiles of one shape.

A matrix product of another shape may round differently, so every product takes TILE rows at fixed places; the last tile
is filled up with zeros. How much is read at once then changes no bit of a result.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from datadiet.geometry.matrix import TILE, Matrix

if TYPE_CHECKING:
    import torch

__all__ = ["pick_device", "tiles"]


def pick_device(device: str) -> torch.device:
    """The torch device of a name; "auto" is the first GPU, or the CPU."""
    import torch

    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def tiles(matrix: Matrix, chunk: int, device: torch.device) -> Iterator[tuple[slice, torch.Tensor]]:
    """All vectors in order: the slice of rows, and (TILE, d) float32 on the device, zeros after its last row."""
    import torch

    step = max(1, chunk // TILE) * TILE
    for span, block in matrix.blocks(step):
        values = torch.from_numpy(block).to(device)
        for lo in range(0, len(block), TILE):
            tile = values[lo : lo + TILE]
            if len(tile) < TILE:
                tile = torch.cat([tile, tile.new_zeros(TILE - len(tile), tile.shape[1])])
            yield slice(span.start + lo, min(span.start + lo + TILE, span.stop)), tile
