"""Blocks of vectors on a device, in tiles of one shape.

A matrix product of another shape may round differently, so every product takes TILE rows, or the remainder, at fixed
places. A result is then the same to the bit however much is read at once.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry.matrix import TILE, Matrix

if TYPE_CHECKING:
    import torch

__all__ = ["centre_of", "full_precision", "load", "torch_device", "spans", "tiles"]


def torch_device(device: str) -> torch.device:
    """The torch device of a name; "auto" is the first GPU, or the CPU."""
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"device={device!r} cannot be used here: give 'auto', 'cpu' or another torch device."
        ) from error


def spans(n: int, chunk: int) -> Iterator[slice]:
    """n rows in order, a whole number of tiles at a time: about `chunk` rows, at least one tile."""
    step = max(1, chunk // TILE) * TILE
    for lo in range(0, n, step):
        yield slice(lo, min(lo + step, n))


def load(matrix: Matrix, span: slice, device: torch.device) -> torch.Tensor:
    """Some vectors in float32 on the device."""
    import torch

    block = matrix.take(span)
    # torch warns about arrays that are not writeable, such as a read-only memory map.
    return torch.from_numpy(block if block.flags.writeable else block.copy()).to(device)


def tiles(matrix: Matrix, chunk: int, device: torch.device) -> Iterator[tuple[slice, torch.Tensor]]:
    """All vectors in order: the slice of rows, and those rows, at most TILE, in float32 on the device."""
    import torch

    for span in spans(len(matrix), chunk):
        for lo, tile in enumerate(torch.split(load(matrix, span, device), TILE)):
            start = span.start + lo * TILE
            yield slice(start, start + len(tile)), tile


def centre_of(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """A point to measure Euclidean coordinates from: |x|^2 - 2 x.c + |c|^2 loses the digits that x and c share.

    Args:
        low: (d,) the least coordinates of some vectors.
        high: (d,) the greatest.

    Returns:
        (d,) float32, the middle, rounded to a power of two near the spread: subtracting it from coordinates with few
        digits is exact, and equal distances stay equal.
    """
    middle = (low.astype(np.float64) + high) / 2
    spread = high.astype(np.float64) - low
    step = np.exp2(np.ceil(np.log2(np.where(spread > 0, spread, 1))))
    return np.where(spread > 0, np.round(middle / step) * step, middle).astype(np.float32)


@contextlib.contextmanager
def _float32_products() -> Iterator[None]:
    import torch

    try:
        before = torch.get_float32_matmul_precision()
    except RuntimeError:  # set by torch's newer switches, which the older getter refuses to read
        switches: list[Any] = [getattr(torch.backends, name).matmul for name in ("cuda", "mkldnn")]
        held = [switch.fp32_precision for switch in switches]
        for switch in switches:
            switch.fp32_precision = "ieee"
        try:
            yield
        finally:
            for switch, value in zip(switches, held, strict=True):
                switch.fp32_precision = value
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class _Together:
    """A context that overlapping users share: the first enters it, the last leaves it."""

    def __init__(self, make: Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self.make, self.lock, self.inside, self.context = make, threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self.lock:
            if not self.inside:
                self.context.enter_context(self.make())
            self.inside += 1

    def __exit__(self, *error: object) -> None:
        with self.lock:
            self.inside -= 1
            if not self.inside:
                self.context.close()


_PRECISION = _Together(_float32_products)


def full_precision() -> contextlib.AbstractContextManager[None]:
    """Matrix products in full float32, even if the caller allowed TF32 or bfloat16 for training.

    The setting is shared by all threads of the process.
    """
    return _PRECISION
