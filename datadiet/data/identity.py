"""A data set's identity: the number of examples, hashes of their ids and labels, and a hash of 64 fixed rows.

Scores and selections carry it, so that they are never applied to other data. It needs only numpy and pyarrow, and does
not depend on how Arrow arrays are chunked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from datadiet.errors import DataError, FingerprintMismatch
from datadiet.files import hash_ids

if TYPE_CHECKING:
    from datadiet.data.source import Source

__all__ = ["check_identity", "evenly_spaced", "hash_ids", "hash_labels", "identity_of", "no_common_id", "other_ids"]

_CONTENT_ROWS = 64


def identity_of(source: Source) -> dict[str, Any]:
    """The identity of a source.

    Returns:
        {"n": int, "ids": hex, "labels": hex or None, "content": hex, "content_kind": "bytes" | "array",
        "positional_ids": bool}. "content" covers the encoded bytes where the source holds encoded images (or text
        rows), the shape and bytes of the arrays otherwise; resizing does not change it.

    Raises:
        DataError: one of the 64 rows cannot be read.
    """
    rows = source.inputs.rows
    content = hashlib.blake2b(digest_size=16)
    for position in evenly_spaced(len(source), _CONTENT_ROWS).tolist():
        raw = _raw(source, position)
        if isinstance(raw, np.ndarray) and raw.dtype == np.int64 and (raw == raw.astype(np.float32)).all():
            raw = raw.astype(np.float32)  # as before integers stayed integers: the identity is the same
        header = len(raw) if isinstance(raw, bytes) else (raw.shape, raw.dtype.str)
        content.update(f"{header};".encode())
        content.update(raw if isinstance(raw, bytes) else np.ascontiguousarray(raw).tobytes())
    return {
        "n": len(source),
        "ids": hash_ids(source.ids),
        "labels": None if source.labels is None else hash_labels(source.labels),
        "content": content.hexdigest(),
        "content_kind": rows.kind,
        "positional_ids": source.positional_ids,
    }


def _raw(source: Source, position: int) -> bytes | np.ndarray:
    try:
        return source.inputs.raw(int(source.index[position]))
    except DataError:
        if not source.skipped:
            raise
        return b"unreadable"  # it is listed in `skipped`


def check_identity(
    expected: Mapping[str, Any], found: Mapping[str, Any], what: str, ids: tuple[pa.Array, pa.Array] | None = None
) -> None:
    """Refuse an artefact that belongs to other data.

    Args:
        expected: the identity in the artefact; keys that it lacks are not compared.
        found: the identity of this data.
        what: what to call the artefact, for example "selection.parquet".
        ids: those of the artefact and those of this data, where they are at hand: the error compares them.

    Raises:
        FingerprintMismatch: naming the first difference, in the order n, ids (unless both sides only have row
            numbers), labels (if both are known), content (if both are of the same kind).
    """
    for key, words in (
        ("n", "the number of examples"),
        ("ids", "the ids or their order"),
        ("labels", "the labels"),
        ("content", "the content of the examples"),
    ):
        ours, theirs = expected.get(key), found.get(key)
        if ours is None or theirs is None or ours == theirs:
            continue
        if key == "ids" and expected.get("positional_ids") and found.get("positional_ids"):
            continue
        if key == "content" and expected.get("content_kind") != found.get("content_kind"):
            continue
        if key == "ids" and ids is not None and no_common_id(*ids):
            raise other_ids(what, *ids)
        raise FingerprintMismatch(
            f"{what} belongs to another data set: they differ in {words} ({ours} there, {theirs} in the data at hand). "
            "Give the data it was made from, in the same order, or make it again for this data."
        )


def no_common_id(there: pa.Array, here: pa.Array) -> bool:
    """Whether no id of an artefact is among those of the data at hand."""
    return bool(pc.index_in(there.cast(here.type), value_set=here).null_count == len(there))


def other_ids(what: str, there: pa.Array, here: pa.Array) -> FingerprintMismatch:
    """The error for an artefact that has no id in common with the data at hand; it shows one of each."""
    return FingerprintMismatch(
        f"{what} belongs to another data set: its ids look like {there[0].as_py()!r}, those of the data at hand like "
        f"{here[0].as_py()!r}. Give the data it was made from; if this is the same data, repeat the image=, label= and "
        "id= (--image, --label, --id) that it was scored with."
    )


def hash_labels(labels: np.ndarray) -> str:
    """A hash of encoded labels (n,)."""
    return hashlib.blake2b(np.ascontiguousarray(labels, dtype="<i8").tobytes(), digest_size=16).hexdigest()


def evenly_spaced(n: int, count: int) -> np.ndarray:
    """At most `count` distinct, evenly spaced positions in range(n), ascending int64, always the same.

    >>> evenly_spaced(10, 4).tolist(), evenly_spaced(2, 4).tolist()
    ([0, 2, 5, 7], [0, 1])
    """
    count = min(n, count)
    return np.arange(count, dtype=np.int64) * n // max(count, 1)
