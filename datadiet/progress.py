"""Progress bars for slow work: on stderr, if it is a terminal."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

__all__ = ["Progress", "progress_bar", "steps"]

T = TypeVar("T")

_log = logging.getLogger("datadiet")
_SAY = 60.0  # seconds between two lines


class Progress:
    """Progress of work that others do: a bar, or without a terminal a line in the log each minute.

    Args:
        unit: what is counted.
        total: how many there are.
    """

    def __init__(self, unit: str, total: int) -> None:
        self.total, self.done, self._text = total, 0, ""
        self._bar = progress_bar("", total, unit=unit)
        self._begun = self._said = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def advance(self, count: int) -> None:
        """So many more are done; fewer than none if some have to be done again."""
        self.done += count
        self._bar.update(count)

    def describe(self, text: str) -> None:
        """Say what is going on, and how long it may take."""
        self._bar.set_description(text)
        now = time.monotonic()
        if self._bar.disable and now - self._said >= _SAY:
            self._said = now
            left = (now - self._begun) * (self.total - self.done) / self.done if self.done > 0 else None
            rest = "" if left is None else f", about {left / 60:.0f} min left"
            _log.info("%s; %.0f %% of the examples%s", text, 100 * self.done / max(self.total, 1), rest)


def progress_bar(title: str, total: int, show: bool = True, unit: str = "vec") -> Any:
    """A bar that counts vectors, or other units."""
    from tqdm import tqdm

    hidden = None if show else True
    return tqdm(total=total, desc=title, unit=unit, unit_scale=True, leave=False, disable=hidden)


def steps(title: str, items: Sequence[T]) -> Iterable[T]:
    """The items, with a bar that counts them and appears after a second."""
    from tqdm import tqdm

    return tqdm(items, desc=title, leave=False, disable=None, delay=1)
