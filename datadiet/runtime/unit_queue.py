"""Which unit a free worker does next."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from heapq import heappop, heappush

from datadiet.runtime.units import Unit, in_order

__all__ = ["UnitQueue"]


class UnitQueue:
    """Units that wait for a worker; each can be taken once the files are there that it reads.

    Args:
        units: those that are not done. What a unit comes after and is not among them counts as done.

    Raises:
        OptionError: two units with the same name, or units that wait for each other.

    Attributes:
        left: the number of units that are not done.
        examples: that all units go through.
        reads: the files that units read.
    """

    def __init__(self, units: Iterable[Unit]) -> None:
        self._units = in_order(units)
        place = {unit.name: number for number, unit in enumerate(self._units)}
        self._place = place
        self._missing = [sum(name in place for name in unit.after) for unit in self._units]
        self._unread = [set(unit.reads) for unit in self._units]
        self._next: dict[int, list[int]] = {}
        self._readers: dict[str, list[int]] = {}
        for number, unit in enumerate(self._units):
            for name in unit.after:
                if name in place:
                    self._next.setdefault(place[name], []).append(number)
            for path in unit.reads:
                self._readers.setdefault(path, []).append(number)
        self.reads = frozenset(self._readers)
        self._first: list[int] = []  # a heap of those that can be taken
        self._alike: dict[tuple[str, tuple[str | int, ...]], deque[int]] = {}
        self._waiting: set[int] = set()
        self.left, self.examples = len(self._units), sum(unit.examples for unit in self._units)
        for number, missing in enumerate(self._missing):
            if not missing:
                self._offer(number)

    def take(self, last: Unit | None = None) -> Unit | None:
        """The next unit for a worker, or None if all that are left wait for others.

        Args:
            last: what the worker did last: it keeps the networks of a pass loaded, so further rows of it come first.
        """
        alike = self._alike.get((last.kind, last.key), deque()) if last is not None else deque[int]()
        while alike:
            number = alike.popleft()
            if number in self._waiting:
                self._waiting.remove(number)
                return self._units[number]
        while self._first:
            number = heappop(self._first)
            if number in self._waiting:
                self._waiting.remove(number)
                return self._units[number]
        return None

    def back(self, unit: Unit) -> None:
        """Return a unit whose worker was lost."""
        self._offer(self._place[unit.name])

    def done(self, unit: Unit) -> None:
        """A unit is done, so others may be able to begin."""
        self.left -= 1
        for number in self._next.get(self._place[unit.name], ()):
            self._missing[number] -= 1
            if not self._missing[number]:
                self._offer(number)

    def written(self, path: str) -> None:
        """A file is there before its unit is done, such as a checkpoint: what reads no other can begin."""
        for number in self._readers.get(path, ()):
            self._unread[number].discard(path)
            if self._missing[number] > 0 and not self._unread[number]:
                self._missing[number] = 0
                self._offer(number)

    def _offer(self, number: int) -> None:
        unit = self._units[number]
        self._waiting.add(number)
        heappush(self._first, number)
        self._alike.setdefault((unit.kind, unit.key), deque()).append(number)
