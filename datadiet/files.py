"""Files on disk: written completely or not at all, and never silently misread.

Every artefact is written to a temporary name beside its target and renamed. A Parquet artefact carries its identity
block (canonical JSON) in the schema metadata and in a JSON file beside it, because pandas, datasets, polars and duckdb
drop the former when they rewrite a file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.errors import DataError, OptionError, first_line

__all__ = [
    "array_digest",
    "atomic_write",
    "canonical",
    "digest",
    "hash_ids",
    "plain",
    "parquet_identity",
    "read_json",
    "read_parquet",
    "read_vectors",
    "sidecar",
    "write_json",
    "write_parquet",
]

_KEY = b"datadiet"


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
    return hashlib.blake2b(canonical(value).encode(), digest_size=16).hexdigest()


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


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary name beside path, then rename; on any failure nothing is left behind."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for stray in path.parent.glob(f".{path.name}.*.tmp"):
        _remove_stray(stray)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _remove_stray(temporary: Path) -> None:
    """Remove the leftover of a process that was killed while writing; one that is alive may still be writing."""
    pid = temporary.name.split(".")[-2]
    if pid.isdecimal() and int(pid) != os.getpid():
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            temporary.unlink(missing_ok=True)
        except PermissionError:  # it is alive and belongs to another user
            return


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file, indented, keys sorted."""
    text = json.dumps(plain(value), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    atomic_write(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        DataError: the file is not JSON.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a JSON file ({error}): write it again or remove it.") from None


def sidecar(path: Path) -> Path:
    """The JSON file beside a Parquet artefact."""
    return Path(path).with_suffix(".json")


def write_parquet(path: Path, table: pa.Table, identity: dict[str, Any], *, beside: bool = True) -> None:
    """Write a table with its identity block, zstd-compressed; the same table gives the same bytes.

    Raises:
        OptionError: the name does not end in .parquet, or the JSON file beside it is not datadiet's.
    """
    if Path(path).suffix != ".parquet":
        raise OptionError(f"{path} must be a Parquet file: give a name that ends in .parquet.")
    if beside and sidecar(path).exists() and not _is_ours(_json_or_none(sidecar(path))):
        raise OptionError(
            f"{sidecar(path)} exists and would be overwritten by the description of {path}: give another name."
        )
    stamped = table.replace_schema_metadata({_KEY: canonical(identity).encode()})
    floats = [name for name in table.column_names if pa.types.is_floating(table.schema.field(name).type)]

    def write(temporary: Path) -> None:
        # Measured numbers hardly repeat, so a dictionary costs more than it saves; split by bytes they compress.
        pq.write_table(stamped, temporary, compression="zstd", use_dictionary=False, use_byte_stream_split=floats)

    atomic_write(Path(path), write)
    if beside:
        write_json(sidecar(path), identity)


def parquet_identity(path: Path) -> tuple[dict[str, Any] | None, pa.Schema, int]:
    """The identity block (None if lost), the schema and the number of rows, from the footer alone.

    Raises:
        DataError: missing, truncated or not Parquet.
    """
    try:
        footer = pq.read_metadata(path)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist: give the path of a score or selection file.") from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a complete Parquet file ({first_line(error)}): write it again.") from None
    schema = footer.schema.to_arrow_schema()
    block = (schema.metadata or {}).get(_KEY)
    if block is not None:
        return _of_this_version(json.loads(block), path), schema, footer.num_rows
    beside: Any = read_json(sidecar(path)) if sidecar(path).exists() else None
    return (_of_this_version(beside, path) if _is_ours(beside) else None), schema, footer.num_rows


def read_vectors(path: Path) -> np.ndarray:
    """An array from a .npy file.

    Raises:
        DataError: the file is truncated or not a .npy file.
    """
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except (ValueError, OSError, EOFError) as error:
        raise DataError(
            f"{path} is not a complete .npy file ({first_line(error)}): remove it and score again."
        ) from None


def _json_or_none(path: Path) -> Any:
    try:
        return read_json(path)
    except DataError:
        return None


def _is_ours(value: Any) -> bool:
    return isinstance(value, dict) and str(value.get("format", "")).startswith("datadiet.")


def _of_this_version(identity: dict[str, Any], path: Path) -> dict[str, Any]:
    if identity.get("version", 1) > 1:
        raise DataError(f"{path} has format version {identity['version']}, but this datadiet reads 1: update datadiet.")
    return identity


def read_parquet(path: Path, columns: Iterable[str] | None = None) -> tuple[pa.Table, dict[str, Any] | None]:
    """A table and its identity block (None if both copies are lost).

    Raises:
        DataError: missing, truncated or not Parquet.
    """
    identity, _, _ = parquet_identity(path)
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns)), identity
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is damaged ({first_line(error)}): write it again.") from None
