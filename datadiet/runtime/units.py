"""Units of work: the pieces that a run is made of, for any executor and any number of workers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from heapq import heappop, heappush
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from datadiet.errors import OptionError
from datadiet.runtime.layout import PartKey
from datadiet.runtime.plan import Plan

__all__ = ["Cost", "Emit", "MakeWorker", "Product", "Unit", "Worker", "in_order", "shard_rows", "shard_rule", "shards"]

SHARDS, SMALLEST, LARGEST = 256, 2048, 64 << 20  # parts of a pass; rows and bytes of one


@dataclass(frozen=True)
class Unit:
    """One piece of work, which writes files.

    Attributes:
        kind: "train", "prepare", "measure" or "embed".
        key: which one of that kind: a seed, a pass and its epoch …
        lo, hi: the range of rows, if it has one.
        after: names of the units whose files it reads.
        reads: those files, relative to the run; they need not exist, as the state of a training does not at first.
        presented: how many examples it goes through, if that is not the range of rows: for progress bars.
    """

    kind: str
    key: tuple[str | int, ...]
    lo: int = 0
    hi: int = 0
    after: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    presented: int = 0

    @property
    def examples(self) -> int:
        """How many examples it goes through."""
        return self.presented or self.hi - self.lo

    @property
    def name(self) -> str:
        """A name that is unique among units."""
        rows = f" rows {self.lo}-{self.hi}" if self.hi else ""
        return f"{self.kind} {' '.join(map(str, self.key))}{rows}"

    @property
    def part(self) -> PartKey:
        """The key of a unit of a pass: the name of its parts, the seed, the epoch."""
        name, seed, epoch = self.key
        return str(name), int(seed), int(epoch)


@dataclass(frozen=True)
class Cost:
    """Seconds to add to those of an entry of the log."""

    title: str
    seconds: float


class Writable(Protocol):
    """Something that writes itself completely or not at all, such as a table of scores."""

    def write(self, path: Path) -> Any:
        """Write it."""
        ...


Content: TypeAlias = (
    pa.Table | np.ndarray | str | tuple[dict[str, Any], dict[str, Any]] | dict[str, Any] | Cost | Writable | None
)


@dataclass(frozen=True)
class Product:
    """Something that a unit makes.

    Attributes:
        path: where it goes, relative to the run.
        content: a table, an array, text, tensors with JSON values beside them, JSON values or a cost to add to a file,
            something that writes itself, or None to remove the file.
        examples: of the unit that it finishes, if units are to be seen to advance: for progress bars.
    """

    path: str
    content: Content
    examples: int = 0


Emit = Callable[[Product], None]


class Worker(Protocol):
    """Does units. It is built in the process it works in, from something that can be pickled."""

    @property
    def plan(self) -> Plan:
        """Its plan, which must equal that of the run."""
        ...

    def run(self, unit: Unit, emit: Emit) -> None:
        """Do one unit, and emit each of its products as soon as it is ready."""
        ...

    def close(self) -> None:
        """Restore everything to its previous state."""
        ...


@dataclass(frozen=True)
class MakeWorker:
    """How to make a worker for a run in a folder.

    Attributes:
        here: in this process, from what is open already.
        elsewhere: in another process; it can be pickled, and opens everything anew.
    """

    here: Callable[[Path], Worker]
    elsewhere: Callable[[Path], Worker]


def shards(n: int, size: int) -> list[tuple[int, int]]:
    """The ranges of rows in which n examples are measured, whichever worker does it.

    >>> shards(5, 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    return [(lo, min(lo + size, n)) for lo in range(0, n, size)]


def shard_rule() -> list[int]:
    """What determines how passes are split, besides n, the batch and the width: for the plan."""
    return [SHARDS, SMALLEST, LARGEST]


def shard_rows(n: int, batch: int, row_bytes: int = 64) -> int:
    """The rows of a part: about 256 parts of at least 2,048 rows, none over 64 MiB, in whole batches.

    Args:
        n: examples.
        batch: examples per batch; a part is a multiple of it.
        row_bytes: the bytes stored per example.

    >>> shard_rows(1000, 512), shard_rows(10**7, 512), shard_rows(10**7, 512, 4096)
    (2048, 39424, 16384)
    """
    rows = max(-(-n // SHARDS), SMALLEST)
    whole = -(-rows // batch) * batch
    return min(whole, max(1, LARGEST // row_bytes // batch) * batch)


def in_order(units: Iterable[Unit]) -> list[Unit]:
    """The units, each after those whose files it reads, otherwise in the given order.

    Raises:
        OptionError: two units with the same name, or units that wait for each other.
    """
    given = list(units)
    place = {unit.name: number for number, unit in enumerate(given)}
    if len(place) != len(given):
        twice = next(name for name, times in Counter(unit.name for unit in given).items() if times > 1)
        raise OptionError(f"two units are called {twice!r}: name each once.")
    graph = TopologicalSorter({n: [place[name] for name in u.after if name in place] for n, u in enumerate(given)})
    try:
        graph.prepare()
    except CycleError as error:
        waiting = ", ".join(given[number].name for number in error.args[1][:3])
        raise OptionError(f"the units {waiting} wait for each other.") from None
    out, ready = list[Unit](), list[int]()
    while graph.is_active():
        for number in graph.get_ready():
            heappush(ready, number)
        number = heappop(ready)
        out.append(given[number])
        graph.done(number)
    return out
