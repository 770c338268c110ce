"""Threads that each take a tile: what is not a matrix product then runs on all cores too.

Each thread does its products alone, so that no bit of a result depends on how many there are.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

__all__ = ["Workers"]

Item = TypeVar("Item")
Made = TypeVar("Made")


class Workers:
    """As many threads as torch would use on the CPU; on another device only the caller's.

    A context manager: inside, torch in each of these threads, and in the caller's, uses one thread.

    Args:
        on: where the tiles are.
    """

    def __init__(self, on: torch.device) -> None:
        import torch

        self.on = on
        self.threads = torch.get_num_threads() if on.type == "cpu" else 1
        self._pool: ThreadPoolExecutor | None = None
        self._own = threading.local()
        self._open = ExitStack()

    def __enter__(self) -> Workers:
        import torch

        if self.threads > 1:
            self._open.callback(torch.set_num_threads, self.threads)
            torch.set_num_threads(1)
            self._pool = self._open.enter_context(ThreadPoolExecutor(self.threads, "tiles", _alone))
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def in_order(self, work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[tuple[Item, Made]]:
        """Each item with what `work` makes of it. A few more items than there are threads are held at once."""
        if self._pool is None:
            for item in items:
                yield item, work(item)
            return
        waiting: deque[tuple[Item, Future[Made]]] = deque()
        for item in items:
            waiting.append((item, self._pool.submit(_quietly, work, item)))
            if len(waiting) > self.threads:
                first, made = waiting.popleft()
                yield first, made.result()
        for first, made in waiting:
            yield first, made.result()

    def buffer(self, *shape: int) -> torch.Tensor:
        """An uninitialised float32 tensor that the calling thread may use until it asks for the next of that width."""
        import torch

        held: dict[Any, torch.Tensor] = self._own.__dict__.setdefault("held", {})
        rows, width = shape
        if width not in held or len(held[width]) < rows:
            held[width] = torch.empty(rows, width, device=self.on)
        return held[width][:rows]


def _alone() -> None:
    import torch

    torch.set_num_threads(1)


def _quietly(work: Callable[[Item], Made], item: Item) -> Made:
    """Without gradients, which is a setting of each thread."""
    import torch

    with torch.inference_mode():
        return work(item)
