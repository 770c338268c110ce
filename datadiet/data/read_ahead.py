"""Loader processes: what is read for some chunks of rows, ahead of its use and in their order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

__all__ = ["read_ahead"]

T = TypeVar("T")


def read_ahead(read: Callable[[np.ndarray], T], chunks: Iterable[np.ndarray], workers: int) -> Iterator[T]:
    """What `read` returns for each chunk.

    Args:
        read: a function of row numbers (B,) int64.
        chunks: consumed as needed.
        workers: processes that read; 0 reads in this one.

    Raises:
        Exception: what `read` raises, as if it had been called here.
    """
    if workers == 0:
        yield from map(read, chunks)
        return
    # A generator of its own, because a DataLoader otherwise draws from torch's global one.
    loader = DataLoader(
        _Chunks(read), batch_size=None, sampler=chunks, num_workers=workers,
        collate_fn=_unchanged, generator=torch.Generator(),
    )  # fmt: skip
    for found in loader:
        if isinstance(found, Exception):
            raise found
        yield found


class _Chunks(Dataset[Any], Generic[T]):
    """Gives a loader process one chunk at a time."""

    def __init__(self, read: Callable[[np.ndarray], T]) -> None:
        self.read = read

    def __getitem__(self, rows: np.ndarray) -> T | Exception:
        try:
            return self.read(rows)
        except Exception as error:  # a loader would replace its message by a traceback
            return error


def _unchanged(found: Any) -> Any:
    return found
