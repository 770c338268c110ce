"""Ids as a sequence of str, kept as Arrow strings."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa

__all__ = ["Ids"]

_CHUNK, _SHOWN, _LONGEST = 4096, 6, 40


class Ids(Sequence[str]):
    """n ids, which are not turned into Python objects until they are asked for.

    >>> ids = Ids(pa.array(["a", "b", "c"]))
    >>> ids[0], ids[-1], list(ids[1:]), "b" in ids, ids == ["a", "b", "c"]
    ('a', 'c', ['b', 'c'], True, True)

    Attributes:
        arrow: (n,) Arrow strings.
    """

    def __init__(self, ids: Ids | pa.Array | pa.ChunkedArray | Sequence[str]) -> None:
        """Wrap Arrow strings, or convert a sequence of str."""
        if isinstance(ids, Ids):
            ids = ids.arrow
        if isinstance(ids, pa.ChunkedArray):
            ids = ids.combine_chunks()
        self.arrow: pa.Array = ids if isinstance(ids, pa.Array) else pa.array(ids, pa.string())

    def __len__(self) -> int:
        return len(self.arrow)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice | np.ndarray) -> Ids: ...

    def __getitem__(self, place: Any) -> Any:
        """The id at a place; for a slice or an array of places, those ids. A negative place counts from the end."""
        if isinstance(place, (int, np.integer)):
            return self.arrow[int(place)].as_py()
        if isinstance(place, slice):
            return Ids(self.arrow.take(pa.array(np.arange(len(self))[place])))
        places = np.asarray(place)
        if places.ndim == 0 and places.dtype.kind in "iu":
            return self[int(places)]
        if places.ndim == 1 and (places.dtype.kind in "iu" or not len(places)):
            places = places.astype(np.int64)
        elif places.ndim == 1 and places.dtype == bool and len(places) == len(self):
            places = np.flatnonzero(places)
        else:
            raise TypeError(f"{place!r} is not a place among the ids: give an int, a slice, or an array of ints.")
        if len(places) and not -len(self) <= places.min() <= places.max() < len(self):
            raise IndexError(f"a place is outside the {len(self)} ids.")
        return Ids(self.arrow.take(pa.array(np.where(places < 0, places + len(self), places))))

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), _CHUNK):
            yield from self.arrow.slice(start, _CHUNK).to_pylist()

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Ids):
            return bool(self.arrow.equals(other.arrow))
        for convert in ("to_pylist", "tolist"):  # of Arrow, and of numpy and pandas
            other = getattr(other, convert)() if hasattr(other, convert) else other
        return isinstance(other, Sequence) and not isinstance(other, (str, bytes)) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        first = (one if len(one) <= _LONGEST else f"{one[:_LONGEST]}…" for one in self[:_SHOWN])
        shown = ", ".join(map(repr, first)) + (", …" if len(self) > _SHOWN else "")
        return textwrap.fill(f"Ids([{shown}], {len(self)} in all)", 100)

    def __arrow_array__(self, type: pa.DataType | None = None) -> pa.Array:
        """Themselves, for pyarrow."""
        return self.arrow if type is None else self.arrow.cast(type)

    def to_pylist(self) -> list[str]:
        """All ids as a list."""
        return list(self)
