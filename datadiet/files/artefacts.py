"""The files of artefacts: JSON and Parquet, with an identity block.

A Parquet artefact carries its identity
block (canonical JSON) in the schema metadata and in a JSON file beside it, because pandas, datasets, polars and duckdb
drop the former when they rewrite a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.errors import DataError, OptionError
from datadiet.files.descriptions import check_identity_block
from datadiet.files.opening import json_of, open_file, parse_json
from datadiet.files.tables import parquet_footer, parquet_table, refuse_twice
from datadiet.files.writing import atomic_write, check_name

__all__ = [
    "array_digest",
    "canonical",
    "digest",
    "hash_ids",
    "plain",
    "parquet_identity",
    "read_json",
    "read_parquet",
    "sidecar",
    "write_json",
    "write_parquet",
]

_KEY, _CHECK = b"datadiet", b"datadiet.check"


def canonical(value: Any) -> str:
    """JSON text that is the same for equal values: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_from_numpy)


def plain(value: Any) -> Any:
    """A value as it will be read back from JSON: numpy numbers and arrays become Python's, tuples become lists."""
    return json.loads(canonical(value))


def _from_numpy(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    return str(value)


def digest(value: Any) -> str:
    """A 32-hex-digit hash of a JSON value."""
    return hashlib.blake2b(canonical(value).encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def array_digest(values: Any) -> str:
    """A 32-hex-digit hash of an array's bytes."""
    return hashlib.sha256(memoryview(values).cast("B")).hexdigest()[:32]  # most processors have SHA-256 in hardware


def hash_ids(ids: pa.Array | pa.ChunkedArray) -> str:
    """A hash of string ids (n,) and their order, however they are chunked.

    >>> hash_ids(pa.array(["a", "bc"])) == hash_ids(pa.chunked_array([["a"], ["bc"]]))
    True
    >>> hash_ids(pa.array(["a", "bc"])) == hash_ids(pa.array(["ab", "c"]))
    False
    """
    lengths, text = hashlib.blake2b(digest_size=16), hashlib.blake2b(digest_size=16)
    for chunk in ids.chunks if isinstance(ids, pa.ChunkedArray) else [ids]:
        if len(chunk) == 0:
            continue
        chunk = chunk.cast(pa.large_string())
        _, offset_buffer, data = chunk.buffers()
        offsets = np.frombuffer(offset_buffer, dtype=np.int64)[chunk.offset : chunk.offset + len(chunk) + 1]
        lengths.update(np.diff(offsets).astype("<i8").tobytes())
        if data is not None:
            text.update(memoryview(data)[int(offsets[0]) : int(offsets[-1])])
    return hashlib.blake2b(lengths.digest() + text.digest(), digest_size=16).hexdigest()


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, indented, keys sorted."""
    text = json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    atomic_write(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is not JSON.
    """
    with open_file(path, "a JSON file", "write it again or remove it") as file:
        return parse_json(file.read_text(encoding="utf-8"))


def sidecar(path: Path) -> Path:
    """The JSON file beside a Parquet artefact."""
    return Path(path).with_suffix(".json")


def write_parquet(path: Path, table: pa.Table, identity: dict[str, Any], *, beside: bool = True) -> None:
    """Write a table with its identity block, zstd-compressed; the same table gives the same bytes.

    Raises:
        OptionError: no file can have the name, it does not end in .parquet, or it or the JSON file beside it is
            something else.
    """
    check_name(Path(path))
    if Path(path).suffix != ".parquet":
        raise OptionError(f"{path} must be a Parquet file: give a name that ends in .parquet.")
    described = beside and sidecar(path).exists()
    if beside:
        _refuse_to_replace(path, identity.get("format"))
    stamped = table.replace_schema_metadata({_KEY: canonical(identity).encode(), _CHECK: digest(identity).encode()})
    floats = [name for name in table.column_names if pa.types.is_floating(table.schema.field(name).type)]

    def write(temporary: Path) -> None:
        # Measured numbers hardly repeat, so a dictionary costs more than it saves; split by bytes they compress.
        # The checksums find a flipped bit, which zstd alone may decompress to other numbers.
        with temporary.open("wb") as file:
            pq.write_table(
                stamped, file, compression="zstd", use_dictionary=False, use_byte_stream_split=floats,
                write_page_checksum=True,
            )  # fmt: skip
        if beside:  # before the table has its name: whoever finds it finds its description too
            write_json(sidecar(path), identity)

    try:
        atomic_write(Path(path), write)
    except BaseException:
        if beside and not described:
            sidecar(path).unlink(missing_ok=True)
        raise


def _refuse_to_replace(path: Path, kind: str | None) -> None:
    """Refuse to write over an artefact of another kind, or over a JSON file of somebody else."""
    there = _format_of(path)
    if there not in (None, kind):
        raise OptionError(f"{path} holds {there.partition('.')[2]}, which would be lost: give another name.")
    if sidecar(path).exists():
        found = _json_or_none(sidecar(path))
        damaged = found is None and there is not None  # ours, as the table beside it is
        if not _is_ours(found) and not damaged:
            raise OptionError(
                f"{sidecar(path)} exists and would be overwritten by the description of {path}: give another name."
            )


def parquet_identity(path: Path) -> tuple[dict[str, Any] | None, pa.Schema, int]:
    """The identity block (None if lost), the schema and the number of rows, from the footer alone.

    Raises:
        DataError: missing, truncated or not Parquet.
    """
    footer = parquet_footer(path)
    schema = footer.schema.to_arrow_schema()
    refuse_twice(schema.names, str(path))
    block, check = ((schema.metadata or {}).get(key) for key in (_KEY, _CHECK))
    if block is not None:
        found = json_of(block)
        if not isinstance(found, dict) or (check is not None and digest(found).encode() != check):
            raise DataError(f"{path} has a damaged description: make the file again.")
        return _checked(found, path), schema, footer.num_rows
    beside: Any = read_json(sidecar(path)) if sidecar(path).exists() else None
    return (_checked(beside, path) if _is_ours(beside) else None), schema, footer.num_rows


def _format_of(path: Path) -> str | None:
    """The format of the artefact in a file; None if there is none."""
    try:
        return (parquet_identity(path)[0] or {}).get("format") if Path(path).exists() else None
    except DataError:
        return None


def _json_or_none(path: Path) -> Any:
    try:
        return read_json(path)
    except DataError:
        return None


def _is_ours(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("format", "")).startswith("datadiet.")


def _checked(identity: dict[str, Any], path: Path) -> dict[str, Any]:
    version = identity.get("version", 1)
    if version != 1:
        raise DataError(f"{path} has format version {version}, but this datadiet reads 1: update datadiet.")
    check_identity_block(identity, path)
    return identity


def read_parquet(path: Path, columns: Iterable[str] | None = None) -> tuple[pa.Table, dict[str, Any] | None]:
    """A table and its identity block (None if both copies are lost).

    Raises:
        DataError: missing, truncated or not Parquet.
    """
    identity, _, _ = parquet_identity(path)
    return parquet_table(path, columns), identity
