"""Exact deduplication: of equal items, keep one.

Items are texts or bytes, rows of an array, equal if all their bytes are, or numbers such as hashes computed elsewhere.
Tools in use (datatrove, data-juicer, text-dedup) keep the first in the order of reading, so that the result depends on
how the data is sharded; here it is the hardest of the group, or the one with the smallest key.

Deviations: none that changes which groups there are. 128-bit hashes stand for items; a Bloom filter would need less
memory and call some items duplicates that are none.

Cost: one hash per item, a sort, 16 bytes of hash and some 60 bytes more per item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from numbers import Number
from typing import Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.geometry import Matrix
from datadiet.geometry.matrix import in_numpy
from datadiet.randomness import Keys
from datadiet.selectors.explained import Explained, without_reasons
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.preference import (
    Preference,
    by_preference,
    check_preference,
    equal_groups,
    firsts,
    places,
)
from datadiet.selectors.shingles import normalised

__all__ = ["exact_dedup", "exact_dedup_explained"]

_ROWS = 4096


def exact_dedup_explained(
    items: Any,
    k: int | None = None,
    *,
    normalise: bool = False,
    prefer: Preference = "hardest",
    hardness: np.ndarray | None = None,
    rng: np.random.Generator | None = None,
    keys: Keys | None = None,
) -> Explained:
    """Keep one of every group of equal items.

    Args:
        items: n str or bytes; or an (n, d) array or memory map, or a `Matrix`; or (n,) integers.
        k: how many to keep, 1..n; None keeps one of each group.
        normalise: compare texts in Unicode NFC, without case, and with white space as single blanks.
        prefer: with hardness, which of a group to keep.
        hardness: (n,) numbers, higher = harder. Without it the smallest key is kept.
        rng, keys: the smaller key is preferred among equals.

    Returns:
        `chosen`, which is all that `exact_dedup` returns: (k,) int64 positions, most preferred first; with k then the
        second of each group, the third, and so on. Nested: a smaller k gives a prefix. `witness` is the kept one of the
        group, `similarity` 1.

    Raises:
        OptionError: items of another kind, k outside 1..n, or `normalise` for what is no text.

    >>> sorted(exact_dedup(["a", "b", "a"], hardness=np.array([1, 5, 2])).tolist())
    [1, 2]
    """
    n = len(items)
    if not n:
        raise OptionError("there is nothing to compare: give at least one item.")
    if k is not None:
        check_k(k, n)
    keys = choose_keys(n, rng, keys)
    order = by_preference(check_preference(prefer, hardness, n), prefer, keys)
    group = equal_groups(_as_bytes(items, normalise))
    chosen = _one_after_the_other(group, order)
    chosen = chosen[: group.max() + 1 if k is None else k]
    kept = np.zeros(n, dtype=bool)
    kept[chosen] = True
    first = firsts(group, order)
    named = ~kept & kept[first]
    return Explained(
        chosen,
        witness=np.where(named, first, -1),
        similarity=np.where(named, np.float32(1), np.float32(np.nan)),
    )


exact_dedup = without_reasons(exact_dedup_explained)


def _one_after_the_other(group: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The first of every group in order, then the second of those that have one, and so on."""
    together = order[np.argsort(group[order], kind="stable")]
    starts = np.flatnonzero(np.diff(group[together], prepend=-1))
    number = np.empty(len(order), dtype=np.int64)
    number[together] = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    return np.lexsort((places(order), number))


def _as_bytes(items: Any, normalise: bool) -> Iterator[Any]:
    items = items.rows if isinstance(items, Matrix) else items
    items = items.to_pylist() if hasattr(items, "to_pylist") else items  # an Arrow column
    items = in_numpy(items) if hasattr(items, "detach") else _of_numbers(items)
    shape = getattr(items, "shape", (len(items),))
    kind = np.dtype(items.dtype).kind if isinstance(items, np.ndarray) or hasattr(items, "dtype") else "O"
    if kind in "OSUT" and len(shape) == 1:
        return _of_texts(items, normalise)
    if normalise:
        raise OptionError("normalise=True is for texts, and these are numbers: leave it out.")
    if (len(shape) == 2 and kind != "O") or (len(shape) == 1 and kind in "iub"):
        return (row for lo in range(0, shape[0], _ROWS) for row in np.ascontiguousarray(items[lo : lo + _ROWS]))
    raise OptionError(f"items of shape {shape} and type {items.dtype}: give n texts, rows (n, d), or (n,) integers.")


def _of_numbers(items: Any) -> Any:
    """A list of numbers, or of rows of them, as an array; everything else as it is."""
    if not isinstance(items, (list, tuple)) or not isinstance(items[0], (Number, list, tuple, np.ndarray)):
        return items
    try:
        made = np.asarray(items)
    except ValueError as error:
        raise OptionError("rows of different lengths: give n texts, rows (n, d), or (n,) integers.") from error
    return made if made.dtype.kind in "iubf" else items


def _of_texts(items: Iterable[Any], normalise: bool) -> Iterator[bytes]:
    for place, item in enumerate(items):
        if isinstance(item, str):
            yield b"t" + (normalised(item) if normalise else item).encode("utf-8", "surrogatepass")
        elif isinstance(item, bytes) and not normalise:
            yield b"b" + item
        else:
            raise OptionError(
                f"item {place} is a {type(item).__name__}: give str{'' if normalise else ' or bytes'} for every item."
            )
