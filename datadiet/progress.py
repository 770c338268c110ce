"""Progress bars for slow work: on stderr, if it is a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

__all__ = ["progress_bar", "steps"]

T = TypeVar("T")


def progress_bar(title: str, total: int, show: bool = True, unit: str = "vec") -> Any:
    """A bar that counts vectors, or other units."""
    from tqdm import tqdm

    hidden = None if show else True
    return tqdm(total=total, desc=title, unit=unit, unit_scale=True, leave=False, disable=hidden)


def steps(title: str, items: Sequence[T]) -> Iterable[T]:
    """The items, with a bar that counts them and appears after a second."""
    from tqdm import tqdm

    return tqdm(items, desc=title, leave=False, disable=None, delay=1)
