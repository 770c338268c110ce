"""Threads that each take a few tiles, so that the work between matrix products runs on all cores too.

Each thread computes its products alone, so no bit of a result depends on the number of threads.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from datadiet.geometry.device import Device

if TYPE_CHECKING:
    import torch

__all__ = ["Workers", "numpy_like_torch", "usual_threads"]

Item = TypeVar("Item")
Made = TypeVar("Made")


def usual_threads() -> int:
    """How many threads torch will use, found without loading it."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        cores = os.cpu_count() or 1
    return min(int(given), cores) if given.isdecimal() and int(given) else cores


def numpy_like_torch() -> AbstractContextManager[object]:
    """numpy's products in no more threads than torch was told to use; numpy itself does not know of that setting."""
    torch = sys.modules.get("torch")
    if torch is None or torch.get_num_threads() >= usual_threads():
        return nullcontext()
    limited: AbstractContextManager[object] = _blas().limit(limits=torch.get_num_threads(), user_api="blas")
    return limited


@lru_cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


class Workers:
    """As many threads as torch would use on a processor; on an accelerator, only the caller's.

    A context manager: inside, torch uses one thread in each of these threads and in the caller's. Threads that other
    parts of the program start meanwhile still use the usual number.

    Args:
        device: where the tiles are.

    Attributes:
        device: the same.
        threads: how many there are.
    """

    def __init__(self, device: Device) -> None:
        import torch

        self.device = device
        # A program that is shutting down cannot start threads.
        several = not device.wide and threading.main_thread().is_alive()
        self.threads = torch.get_num_threads() if several else 1
        self._pool: ThreadPoolExecutor | None = None
        self._own = threading.local()
        self._open = ExitStack()

    def __enter__(self) -> Workers:
        import torch

        before = torch.get_num_threads()
        if not self.device.wide and before > 1:
            self._open.callback(torch.set_num_threads, before)
            torch.set_num_threads(1)
            if self.threads > 1:
                self._pool = self._open.enter_context(ThreadPoolExecutor(self.threads, "tiles"))
                self._start(self._pool)
            # A thread takes the number set last when it first uses torch, so a short-lived thread sets it again.
            _in_a_thread(torch.set_num_threads, before)
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Have every thread of the pool use torch for the first time."""
        import torch

        met = threading.Barrier(self.threads)
        for done in [pool.submit(lambda: (torch.get_num_threads(), met.wait())) for _ in range(self.threads)]:
            done.result()

    def share(self, n: int, most: int, least: int) -> int:
        """How many of n rows to hand out at a time: a multiple of `least`, at most `most` for all threads together."""
        each = min(most // self.threads, -(-n // self.threads))
        return max(1, each // least) * least

    def in_order(self, work: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[tuple[Item, Made]]:
        """Each item with the result of `work` on it, in order. Slightly more items than threads are held at once."""
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
        while waiting:
            first, made = waiting.popleft()
            yield first, made.result()

    def buffer(self, rows: int, width: int, use: str = "") -> torch.Tensor:
        """An uninitialised float32 tensor, the calling thread's until it asks again for that width and use."""
        import torch

        held: dict[Any, torch.Tensor] = self._own.__dict__.setdefault("held", {})
        if (width, use) not in held or len(held[width, use]) < rows:
            held[width, use] = torch.empty(rows, width, device=self.device.on, dtype=torch.float32)
        return held[width, use][:rows]


def _in_a_thread(work: Callable[..., object], *arguments: object) -> None:
    thread = threading.Thread(target=work, args=arguments, daemon=True)
    try:
        thread.start()
    except RuntimeError:  # the program is shutting down
        return
    thread.join()


def _quietly(work: Callable[[Item], Made], item: Item) -> Made:
    """Run without gradients, which every thread must ask for itself."""
    import torch

    with torch.inference_mode():
        return work(item)
