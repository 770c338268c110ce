"""Exact deduplication: of equal items, keep one.

Items are texts or bytes; rows of an array, which are equal if all their bytes are; or numbers, such as hashes computed
elsewhere. Common tools (datatrove, data-juicer, text-dedup) keep the first item that they read, so that the result
depends on how the data is sharded; here the hardest of the group is kept, or the one with the smallest key.

Deviations: none that affects the groups. Items are compared by 128-bit hashes; a Bloom filter would need less memory,
but would report some false duplicates.

Cost: a hash per item and a sort; 16 bytes of hash and about 60 more bytes per item.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from numbers import Integral, Number
from typing import Any

import numpy as np

from datadiet.arrays import in_numpy
from datadiet.errors import OptionError
from datadiet.geometry import Matrix
from datadiet.randomness import Keys
from datadiet.selectors.clustered import rank_in_group
from datadiet.selectors.explained import Explained, explained
from datadiet.selectors.ordering import check_k, choose_keys
from datadiet.selectors.preference import Preference, by_preference, check_preference, equal_groups, firsts
from datadiet.selectors.shingles import normalised
from datadiet.selectors.spec import SelectorSpec

__all__ = ["SPEC", "exact_dedup"]

_ROWS = 4096


@explained
def exact_dedup(
    texts: Any,
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
        texts: n str or bytes; or an (n, d) array or memory map, or a `Matrix`; or (n,) integers.
        k: how many to keep, 1..n; None keeps one of each group.
        normalise: compare texts in Unicode NFC, ignoring case, with runs of white space as single spaces.
        prefer: with hardness, which item of a group to keep.
        hardness: (n,) numbers, higher = harder. Without it the smallest key is kept.
        rng, keys: the smaller key is preferred among equals.

    Returns:
        (k,) int64 positions, most preferred first; with k, then the second of each group, the third, and so on. Nested:
        a smaller k gives a prefix; `.explain` also gives `witness`: the kept item of the group, `similarity`: 1.

    Raises:
        OptionError: items of another kind, k outside 1..n, or `normalise` for items that are not texts.

    >>> sorted(exact_dedup(["a", "b", "a"], hardness=np.array([1, 5, 2])).tolist())
    [1, 2]
    """
    n = len(texts) if hasattr(texts, "__len__") and getattr(texts, "shape", None) != () else 0
    if not n:
        raise OptionError("there is nothing to compare: give a list or an array of at least one item.")
    if k is not None:
        check_k(k, n)
    keys = choose_keys(n, rng, keys)
    order = by_preference(check_preference(prefer, hardness, n), prefer, keys)
    group = equal_groups(_as_bytes(texts, normalise))
    groups = int(group.max()) + 1
    turn = rank_in_group(group[order], groups)  # the first of every group, then the second of those that have one, …
    chosen = order[np.argsort(turn, kind="stable")][: groups if k is None else k]
    kept = np.zeros(n, dtype=bool)
    kept[chosen] = True
    first = firsts(group, order)
    named = ~kept & kept[first]
    return Explained(
        chosen,
        witness=np.where(named, first, -1),
        similarity=np.where(named, np.float32(1), np.float32(np.nan)),
    )


def _as_bytes(items: Any, normalise: bool) -> Iterator[Any]:
    items = _unwrapped(items)
    shape: tuple[int, ...] = getattr(items, "shape", (len(items),))
    kind = np.dtype(items.dtype).kind if hasattr(items, "dtype") else "O"
    if kind in "OSUT" and len(shape) == 1:
        return _of_texts(items, normalise)
    if normalise:
        raise OptionError("normalise=True is for texts, and these are numbers: leave it out.")
    if (len(shape) == 2 and shape[1] and kind != "O") or (len(shape) == 1 and kind in "iub"):
        return (row for lo in range(0, shape[0], _ROWS) for row in np.ascontiguousarray(items[lo : lo + _ROWS]))
    raise OptionError(f"items of shape {shape} and type {items.dtype}: give n texts, rows (n, d), or (n,) integers.")


def _unwrapped(items: Any) -> Any:
    """Lists of texts and arrays as they are; tensors, Series, columns and numbers converted to one of these."""
    if isinstance(items, Matrix):
        return items.rows
    if hasattr(items, "to_pylist"):  # an Arrow column
        items = items.to_pylist()
    elif hasattr(items, "detach") or isinstance(items, np.ma.MaskedArray):
        return in_numpy(items, "the items")
    elif hasattr(items, "to_numpy"):
        return items.to_numpy()
    numbers = isinstance(items, (list, tuple)) and isinstance(items[0], (Number, list, tuple, np.ndarray))
    return _of_numbers(items) if numbers else items


def _of_numbers(items: Sequence[Any]) -> Any:
    """Numbers, or rows of numbers, as an array in which different ones stay different."""
    whole = all(isinstance(item, Integral) for item in items)
    try:
        if whole:
            return np.array(items, dtype=np.uint64 if max(map(int, items)) >= 2**63 else np.int64)
        made = np.asarray(items)
    except (ValueError, OverflowError) as error:
        what = "integers of more than 64 bits" if whole else "rows of different lengths"
        raise OptionError(f"{what}: give n texts, rows (n, d), or (n,) integers.") from error
    rows = [row for row in items if isinstance(row, (list, tuple))]
    natural_numbers = (x for row in rows for x in row if isinstance(x, Integral))
    if made.dtype.kind == "f" and any(abs(int(x)) > 2**53 for x in natural_numbers):
        raise OptionError("integers above 2^53 beside other numbers would be rounded: give an array of one type.")
    return made if made.dtype.kind in "iubf" else items


def _of_texts(items: Iterable[Any], normalise: bool) -> Iterator[bytes]:
    for place, item in enumerate(items):
        if isinstance(item, str):
            yield b"t" + (normalised(item) if normalise else item).encode("utf-8", "surrogatepass")
        elif isinstance(item, bytes) and not normalise:
            yield b"b" + item
        else:
            raise OptionError(
                f"item {place} is of type {type(item).__name__}: give str{'' if normalise else ' or bytes'} for "
                "every item."
            )


SPEC = SelectorSpec(exact_dedup, nested=True, reference="hashing")
