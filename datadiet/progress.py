"""Bars for what takes long: on stderr, where that is a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

__all__ = ["progress_bar", "steps"]

T = TypeVar("T")


def progress_bar(title: str, total: int, show: bool = True) -> Any:
    """A bar of vectors."""
    from tqdm import tqdm

    hidden = None if show else True
    return tqdm(total=total, desc=title, unit="vec", unit_scale=True, leave=False, disable=hidden)


def steps(title: str, items: Sequence[T]) -> Iterable[T]:
    """The items, with a bar that counts them and appears after a second."""
    from tqdm import tqdm

    return tqdm(items, desc=title, leave=False, disable=None, delay=1)
