"""Tables in files: Parquet, CSV and JSON lines, within the limits of `opening` and with all their values checked."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datadiet.errors import DataError
from datadiet.files.opening import check_size, open_file, read_limit
from datadiet.files.parquet_sizes import decoded_size

__all__ = ["parquet_footer", "parquet_table", "read_csv", "read_json_lines", "refuse_twice"]

# Readers infer types block by block, and a JSON line must fit in one block: large blocks avoid both failures.
_BLOCK = 64 << 20
_DEEPEST = 500
_OPEN = np.frombuffer(b"[{", dtype=np.uint8)
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}\n")
# Bytes that a value takes besides its text: a number has 8, and the JSON reader holds them twice.
_PER_CELL, _PER_JSON_VALUE = 8, 16


def refuse_twice(names: Sequence[str], what: str) -> None:
    """Refuse two columns of one name.

    Raises:
        DataError: it names the first.
    """
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{what}: two columns are named {twice!r}: rename one.")


def parquet_footer(path: str | Path) -> pq.FileMetaData:
    """The footer of a Parquet file."""
    with open_file(path, "a complete Parquet file", "write it again") as file, _native(file) as opened:
        footer = pq.read_metadata(opened)
        _read_names(footer.schema.to_arrow_schema())
        return footer


def parquet_table(path: str | Path, columns: Iterable[str] | None = None) -> pa.Table:
    """The rows of a Parquet file, with checked page checksums where it has them."""
    with open_file(path, "a complete Parquet file", "write it again") as file, _native(file) as opened:
        parquet = pq.ParquetFile(opened, page_checksum_verification=True)
        check_size(file, decoded_size(opened, parquet.metadata, read_limit(file.stat().st_size)))
        # ParquetFile, since read_table would turn a folder named label=3 into a column.
        return _valid(parquet.read(columns=None if columns is None else list(columns)))


def read_csv(path: str | Path, header: bool = True) -> pa.Table:
    """The rows of a CSV file with commas, which may be compressed; without a header the columns are f0, f1, …"""
    from pyarrow import csv

    advice = "check what wrote it; fields are separated by commas"
    with open_file(path, "a readable CSV file", advice) as file, _stream(file, _PER_CELL) as stream:
        options = csv.ReadOptions(block_size=_BLOCK, autogenerate_column_names=not header)
        table = _valid(csv.read_csv(stream, options, csv.ParseOptions(newlines_in_values=True)))
        names = table.column_names
        if header and len(names) == 1 and not {";", "\t"}.isdisjoint(names[0]):
            raise ValueError(f"all of {names[0]!r} is one column: other marks than commas separate its fields")
        raw = [field.name for field in table.schema if pa.types.is_binary(field.type)]
        if raw:  # what Arrow makes of texts in another encoding
            raise ValueError(f"column {raw[0]!r} is not in UTF-8")
        return table


def read_json_lines(path: str | Path) -> pa.Table:
    """The rows of a file of JSON lines, which may be compressed."""
    import pyarrow.json

    with (
        open_file(path, "a readable file of JSON lines", "check what wrote it") as file,
        _stream(file, _PER_JSON_VALUE, _Nesting()) as stream,
    ):
        return _valid(pyarrow.json.read_json(stream, pyarrow.json.ReadOptions(block_size=_BLOCK)))


def _valid(table: pa.Table) -> pa.Table:
    """The table; Arrow raises if its values, or the names of its columns and their fields, are not what they say."""
    _read_names(table.schema)
    table.validate(full=True)
    return table


def _read_names(fields: Iterable[pa.Field]) -> None:
    """Read the names of fields at every depth; Arrow raises if one is not UTF-8."""
    for field in fields:
        inner = field.type
        _ = field.name
        _read_names(inner.field(at) for at in range(inner.num_fields))


class _Nesting:
    """Refuses lines of JSON that nest so deeply that the recursion of Arrow's reader would end the process."""

    def __init__(self) -> None:
        self._rest = b""

    def look(self, block: bytes) -> None:
        """Look at the next bytes of the file."""
        *lines, self._rest = (self._rest + block.translate(None, _NO_BRACKETS)).split(b"\n")
        for line in (*lines, self._rest):
            if len(line) > 2 * _DEEPEST:
                opens = np.isin(np.frombuffer(line, dtype=np.uint8), _OPEN)
                if np.cumsum(np.where(opens, 1, -1)).max() > _DEEPEST:
                    raise ValueError(f"a line nests more than {_DEEPEST} brackets")


class _Counted(io.RawIOBase):
    """A decompressed stream that refuses to give more text, with `per_value` bytes for each value, than it may."""

    def __init__(self, stream: Any, path: Path, per_value: int, nesting: _Nesting | None) -> None:
        self._stream, self._path, self._per_value, self._nesting, self._taken = stream, path, per_value, nesting, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        found = bytes(self._stream.read(_BLOCK if size is None or size < 0 else size))
        text = np.frombuffer(found, dtype=np.uint8)  # faster than to count in bytes
        ends = (b",", b"\n" if b"\n" in found else b"\r")
        values = sum(int(np.count_nonzero(text == ord(end))) for end in ends)
        self._taken += len(found) + self._per_value * values
        check_size(self._path, self._taken)
        if self._nesting is not None:
            self._nesting.look(found)
        return found


def _native(path: Path) -> pa.OSFile:
    """A file that Arrow reads without Python.

    Its threads may still hold buffers when the interpreter ends; those of a Python file would end the process.
    """
    return pa.OSFile(os.fsencode(path))


@contextmanager
def _stream(path: Path, per_value: int, nesting: _Nesting | None = None) -> Iterator[Any]:
    with _native(path) as opened:
        if path.suffix not in (".gz", ".bz2", ".zst", ".lz4"):
            while nesting is not None and (block := opened.read(_BLOCK)):
                nesting.look(block)
            opened.seek(0)
            yield opened
            return
        names = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd", ".lz4": "lz4"}
        with pa.CompressedInputStream(opened, names[path.suffix]) as stream:
            yield pa.PythonFile(_Counted(stream, path, per_value, nesting), mode="r")
