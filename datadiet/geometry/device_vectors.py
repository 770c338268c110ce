"""The vectors of a matrix on a device: float32 tiles at fixed places, wherever the vectors are kept.

On a processor a block is read when it is first used, by the thread that uses it. An accelerator holds all vectors, in
the type in which they are stored, if they fit. Otherwise blocks are sent to it through pinned memory, each while the
one before is worked on. A matrix product of another shape may round differently, so tiles have a fixed height and stand
at multiples of it: a result is the same to the bit however much is read at once and wherever it is kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from datadiet.devices import free_memory
from datadiet.geometry.device import Device
from datadiet.geometry.matrix import CHUNK, TILE, Matrix

if TYPE_CHECKING:
    import torch

__all__ = ["Block", "DeviceVectors"]

_STORED = (np.float16, np.int8, np.uint8)  # sent in their own type; everything else is sent as float32
_PER_ROW = 64  # bytes that an algorithm keeps for each vector
_STREAMED = 4  # how many of the device's working sets are sent at a time
_WORKING_SETS = 16  # how many an algorithm may use at a time


class Block(Protocol):
    """Some vectors in a row, valid until the next block is asked for.

    Attributes:
        span: which.
    """

    span: slice

    def tiles(self, height: int) -> Iterator[torch.Tensor]:
        """The vectors in order, (height, d) float32 and what remains, each valid until the next; do not change them."""

    def take(self, rows: Any) -> torch.Tensor:
        """Some of the vectors: (p, d) float32.

        Args:
            rows: (p,) int64 or a slice, counted from the start of the block.
        """

    def __len__(self) -> int: ...


class _HostBlock:
    """Vectors that are read when they are first used."""

    def __init__(self, matrix: Matrix, span: slice) -> None:
        self.matrix, self.span = matrix, span

    def __len__(self) -> int:
        return int(self.span.stop - self.span.start)

    @cached_property
    def _stored(self) -> np.ndarray:
        return self.matrix.stored(self.span)

    def tiles(self, height: int) -> Iterator[torch.Tensor]:
        out = np.empty((min(height, len(self)), self.matrix.dim), dtype=np.float32)  # new memory for each is slower
        for lo in range(0, len(self), height):
            hi = min(lo + height, len(self))
            rows = slice(self.span.start + lo, self.span.start + hi)
            yield _as_tensor(self.matrix.as_float32(self._stored[lo:hi], rows, out[: hi - lo]))

    def take(self, rows: Any) -> torch.Tensor:
        chosen = np.arange(len(self))[rows] if isinstance(rows, slice) else rows.numpy()
        return _as_tensor(self.matrix.as_float32(self._stored[chosen], self.span.start + chosen))


class _DeviceBlock:
    """Vectors on a device, as they are stored, and the factor of each."""

    def __init__(self, span: slice, stored: torch.Tensor, scale: torch.Tensor | None) -> None:
        self.span, self._stored, self._scale = span, stored, scale

    def __len__(self) -> int:
        return int(self.span.stop - self.span.start)

    def tiles(self, height: int) -> Iterator[torch.Tensor]:
        for lo in range(0, len(self), height):
            yield self.take(slice(lo, lo + height))

    def take(self, rows: Any) -> torch.Tensor:
        return _float32(self._stored[rows], None if self._scale is None else self._scale[rows])


class DeviceVectors:
    """The vectors of a matrix on a device.

    Args:
        matrix: n vectors of d numbers.
        device: where.
        chunk: vectors read at once from where they are stored; no result depends on it.
        keep: whether to hold them on an accelerator if they fit: not worth it if they are read once.
    """

    def __init__(self, matrix: Matrix, device: Device, chunk: int, *, keep: bool = True) -> None:
        import torch

        self.matrix, self.device = matrix, device
        self._chunk = min(max(1, chunk // TILE), -(-len(matrix) // TILE)) * TILE
        self._scale = self._held = None
        if device.wide and matrix.scale is not None:
            self._scale = torch.from_numpy(matrix.scale).to(device.on)
        if device.wide and keep and self._fits():
            sender = _Sender(matrix, device, self._chunk)
            self._held = sender.empty(len(matrix))
            sender.send(slice(0, len(matrix)), self._held)
            sender.arrived()

    def __len__(self) -> int:
        return len(self.matrix)

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return self.matrix.dim

    def blocks(self, height: int, step: int = CHUNK) -> Iterator[Block]:
        """All vectors in order.

        Args:
            height: of the tiles that they will be taken in: a block is a whole number of tiles, but for the last.
            step: the most vectors in a block, but at least one tile. An accelerator that streams them may have fewer.
        """
        rows = max(1, step // height) * height
        if not self.device.wide:
            for span in _spans(len(self), rows):
                yield _HostBlock(self.matrix, span)
        elif self._held is not None:
            for span in _spans(len(self), rows):
                yield self._block(span, self._held[span])
        else:
            most = max(1, _STREAMED * self.device.at_once // self.matrix.dim // height) * height
            yield from self._streamed(min(rows, most))

    def take(self, rows: torch.Tensor) -> torch.Tensor:
        """Some of the vectors: (p, d) float32.

        Args:
            rows: (p,) int64 on the device.
        """
        if self._held is not None:
            return _float32(self._held[rows], None if self._scale is None else self._scale[rows])
        read, place = np.unique(rows.cpu().numpy(), return_inverse=True)  # each row once, in the order on disk
        found = self.matrix.take(read)[place.reshape(-1)]
        return _as_tensor(found).to(self.device.on)

    def _fits(self) -> bool:
        stored = len(self) * self.matrix.dim * _type_to_send(self.matrix).itemsize
        return stored + _PER_ROW * len(self) + 4 * _WORKING_SETS * self.device.at_once <= free_memory(self.device.on)

    def _block(self, span: slice, stored: torch.Tensor) -> Block:
        return _DeviceBlock(span, stored, None if self._scale is None else self._scale[span])

    def _streamed(self, rows: int) -> Iterator[Block]:
        """Blocks in two buffers in turn; while one is worked on, the next is read and sent."""
        sender, spans = _Sender(self.matrix, self.device, self._chunk), list(_spans(len(self), rows))
        buffers = [sender.empty(min(rows, len(self))) for _ in range(2)]
        with ExitStack() as opened:
            opened.callback(sender.arrived)  # if it ends early, the buffers are not free before that
            pool: ThreadPoolExecutor | None = None
            if threading.main_thread().is_alive():  # a program that is shutting down cannot start threads
                pool = opened.enter_context(ThreadPoolExecutor(1, "blocks"))

            def start(number: int) -> Callable[[], Any]:
                span, buffer = spans[number], buffers[number % 2]
                sender.after_what_runs()  # on the block that was in this buffer
                if pool is None:
                    sender.send(span, buffer)
                    return lambda: None
                return pool.submit(sender.send, span, buffer).result

            ready = start(0)
            for number, span in enumerate(spans):
                ready()
                sender.arrived()
                if number + 1 < len(spans):
                    ready = start(number + 1)
                yield self._block(span, buffers[number % 2][: span.stop - span.start])


class _Sender:
    """Sends rows of a matrix to a device through two pieces of pinned memory: one is read while the other is copied.

    Only CUDA says when a piece has been copied, so that it may be filled again; elsewhere each copy is waited for.
    """

    def __init__(self, matrix: Matrix, device: Device, chunk: int) -> None:
        import torch

        self.matrix, self.on, self.chunk = matrix, device.on, chunk
        self._type = getattr(torch, _type_to_send(matrix).name)
        cuda: Any = torch.cuda
        self._side = cuda.Stream(device.on) if device.on.type == "cuda" else None
        shape, pin = (chunk, matrix.dim), self._side is not None
        self._pieces = [torch.empty(shape, dtype=self._type, device="cpu", pin_memory=pin) for _ in range(2)]
        self._copied = [cuda.Event() for _ in range(2)] if pin else []
        self.after_what_runs()

    def empty(self, rows: int) -> torch.Tensor:
        """Room for vectors on the device."""
        import torch

        return torch.empty((rows, self.matrix.dim), dtype=self._type, device=self.on)

    def send(self, span: slice, into: torch.Tensor) -> None:
        """Copy the vectors of `span` to the first rows of `into`; it may still be under way afterwards."""
        import torch

        with torch.inference_mode(), nullcontext() if self._side is None else torch.cuda.stream(self._side):
            for turn, lo in enumerate(range(span.start, span.stop, self.chunk)):
                hi = min(lo + self.chunk, span.stop)
                piece = self._pieces[turn % 2][: hi - lo]
                if self._copied:
                    self._copied[turn % 2].synchronize()
                piece.numpy()[...] = self.matrix.stored(slice(lo, hi))
                into[lo - span.start : hi - span.start].copy_(piece, non_blocking=self._side is not None)
                if self._copied:
                    self._copied[turn % 2].record()

    def arrived(self) -> None:
        """Make the work that follows wait for what was sent."""
        import torch

        if self._side is not None:
            torch.cuda.current_stream(self.on).wait_stream(self._side)

    def after_what_runs(self) -> None:
        """Make what is sent from now on wait for the work that was started before."""
        import torch

        if self._side is not None:
            self._side.wait_stream(torch.cuda.current_stream(self.on))


def _type_to_send(matrix: Matrix) -> np.dtype[Any]:
    kept = matrix.rows.dtype in [np.dtype(each) for each in _STORED]
    return np.dtype(matrix.rows.dtype if kept else np.float32)


def _spans(n: int, rows: int) -> Iterator[slice]:
    for lo in range(0, n, rows):
        yield slice(lo, min(lo + rows, n))


def _as_tensor(rows: np.ndarray) -> torch.Tensor:
    import torch

    # torch warns about arrays that are not writeable, such as a read-only memory map.
    return torch.from_numpy(rows if rows.flags.writeable else rows.copy())


def _float32(stored: torch.Tensor, scale: torch.Tensor | None) -> torch.Tensor:
    rows = stored.float()
    if scale is None:
        return rows
    return rows * scale[:, None] if rows is stored else rows.mul_(scale[:, None])
