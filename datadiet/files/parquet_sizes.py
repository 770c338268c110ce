"""How many bytes the rows of a Parquet file take in memory, found out without reading them.

A page may say in a few bytes that a number occurs a billion times, or a text of a megabyte a thousand times. The footer
and the headers of pages are decoded here (Thrift's compact protocol), since pyarrow ends the process where the
statistics of a column are damaged.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

__all__ = ["decoded_size"]

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "INT64": 8, "INT96": 12, "FLOAT": 4, "DOUBLE": 8, "BYTE_ARRAY": 4}
_LEVELS = 4  # bytes for each value of a list, while it is read
_TEXTS = ("UTF8", "NONE", "JSON", "ENUM", "BSON")
_DICTIONARY_PAGE = 2
_PLACES = (2, 8)  # the encodings of a page of places in the dictionary
_BUFFER = 256 << 10
_HEADERS = (1 << 8, 1 << 16)  # bytes read for the header of a page, and for a long one
_FEW, _MANY = 1 << 8, 1 << 16  # rows at a time


def decoded_size(opened: IO[bytes], footer: pq.FileMetaData, limit: int) -> int:
    """About how many bytes the rows take: what the file says, and at least a value for each that it counts.

    Args:
        opened: the file.
        footer: of the file.
        limit: whether the rows take more is for certain; how much they take is exact only then.

    Raises:
        Exception: a damaged file makes this raise anything that Python and pyarrow do.
    """
    leaves = [footer.schema.column(at) for at in range(footer.num_columns)]
    groups = [footer.row_group(at) for at in range(footer.num_row_groups)]
    if any(leaf.max_repetition_level or leaf.physical_type == "BYTE_ARRAY" for leaf in leaves):
        chunks = _chunks(opened)
        texts = [one for group in range(len(groups)) for one in _texts(opened, leaves, chunks[group], group)]
        values = [[max(chunk[5], group.num_rows) for chunk in of] for group, of in zip(groups, chunks, strict=True)]
    else:
        texts, values = [], [[group.num_rows] * len(leaves) for group in groups]
    plain = [sum(map(operator.mul, map(_width, leaves), of_group)) for of_group in values]
    size = sum(max(group.total_byte_size, least) for group, least in zip(groups, plain, strict=True))
    most = size + sum(one.values * one.size for one in texts)
    if size > limit or most <= limit:
        return size
    columns = sorted({one.column for one in texts})
    file = pq.ParquetFile(opened, metadata=footer, read_dictionary=columns, pre_buffer=False, buffer_size=_BUFFER)
    most = size + sum(one.as_the_longest(file) for one in texts)
    return most if most <= limit else size + sum(one.exactly(file) for one in texts)


@dataclass(frozen=True)
class _Texts:
    """The texts of a column in one row group that stand in a dictionary.

    Attributes:
        column: its name, with those of the groups that it is in.
        group: number of the row group.
        values: how many of its values are places in the dictionary.
        size: bytes of the dictionary.
    """

    column: str
    group: int
    values: int
    size: int

    def as_the_longest(self, file: pq.ParquetFile) -> int:
        """Bytes if all texts were as long as the longest of the dictionary."""
        longest = (pc.max(_lengths(one)).as_py() for one in self._read(file, _FEW))
        return self.values * next((length for length in longest if length is not None), 0)

    def exactly(self, file: pq.ParquetFile) -> int:
        """Bytes of all texts."""
        return sum(pc.sum(_lengths(one).take(one.indices)).as_py() or 0 for one in self._read(file, _MANY))

    def _read(self, file: pq.ParquetFile, rows: int) -> Iterator[pa.DictionaryArray]:
        for batch in file.iter_batches(rows, row_groups=[self.group], columns=[self.column]):
            for column in batch.columns:
                yield from _dictionaries(column)


def _texts(
    opened: IO[bytes], leaves: Sequence[pq.ColumnSchema], chunks: Sequence[dict[int, Any]], group: int
) -> Iterator[_Texts]:
    for leaf, chunk in zip(leaves, chunks, strict=True):
        if leaf.physical_type == "BYTE_ARRAY" and leaf.converted_type in _TEXTS:
            values, size = _dictionary(opened, chunk)
            if values:
                yield _Texts(leaf.path, group, values, size)


def _dictionaries(array: pa.Array) -> Iterator[pa.DictionaryArray]:
    """The arrays of texts in an array at any depth."""
    if isinstance(array, pa.ExtensionArray):
        yield from _dictionaries(array.storage)
    elif pa.types.is_dictionary(array.type):
        yield array
    elif array.type.num_fields:
        inner = array.flatten()
        for one in inner if isinstance(inner, list) else [inner]:
            yield from _dictionaries(one)


def _lengths(array: pa.DictionaryArray) -> pa.Array:
    return pc.binary_length(array.dictionary.cast(pa.large_binary()))


def _width(leaf: pq.ColumnSchema) -> int:
    """Bytes of a value, without those of a text."""
    return _WIDTHS.get(leaf.physical_type, leaf.length) + (_LEVELS if leaf.max_repetition_level else 0)


def _chunks(opened: IO[bytes]) -> list[list[dict[int, Any]]]:
    """What the footer says of each column of each row group, by the field numbers of ColumnMetaData."""
    opened.seek(-8, 2)
    length = int.from_bytes(opened.read(4), "little")
    opened.seek(-8 - length, 2)
    footer, _ = _struct(opened.read(length), 0)
    return [[column[3] for column in group[1]] for group in footer[4]]


def _dictionary(opened: IO[bytes], chunk: dict[int, Any]) -> tuple[int, int]:
    """How many values of a column are places in its dictionary, and the bytes of that: the first page, if there is one.

    The other pages hold the values themselves.
    """
    start = min(filter(None, (chunk[9], chunk.get(11))), default=0)
    at, size, found = start, 0, 0
    while at < start + chunk[7]:
        page, length = _page_header(opened, at)
        if at == start and page[1] != _DICTIONARY_PAGE:
            break
        size = size or page[2]
        data = page.get(5) or page.get(8) or {}  # a page of version 1 or 2
        found += data.get(1, 0) if data.get(2 if 5 in page else 4) in _PLACES else 0
        at += length + max(page[3], 0)
    return found, size


def _page_header(opened: IO[bytes], at: int) -> tuple[dict[int, Any], int]:
    """The header of a page by field numbers, and its length; few are long, and then by their statistics."""
    short, long = _HEADERS
    opened.seek(at)
    try:
        return _struct(opened.read(short), 0)
    except IndexError:  # cut off
        opened.seek(at)
        return _struct(opened.read(long), 0)


def _struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """A struct of Thrift's compact protocol, by field numbers, and where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if head >> 4:
            number += head >> 4
        else:
            number, at = _number(data, at)
        kind = head & 15
        fields[number], at = (kind == 1, at) if kind in (1, 2) else _value(data, at, kind)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int) -> tuple[Any, int]:
    if kind in (1, 2, 3):
        return data[at], at + 1
    if kind in (4, 5, 6):
        return _number(data, at)
    if kind == 7:
        return None, at + 8
    if kind == 8:
        length, at = _varint(data, at)
        return None, at + length
    if kind in (9, 10):
        return _list(data, at)
    if kind == 12:
        return _struct(data, at)
    raise ValueError(f"its footer holds a value of the unknown type {kind}")


def _list(data: bytes, at: int) -> tuple[list[Any], int]:
    head, at = data[at], at + 1
    length, kind = head >> 4, head & 15
    if length == 15:
        length, at = _varint(data, at)
    found = []
    for _ in range(length):
        one, at = _value(data, at, kind)
        found.append(one)
    return found, at


def _number(data: bytes, at: int) -> tuple[int, int]:
    zigzag, at = _varint(data, at)
    return (zigzag >> 1) ^ -(zigzag & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    found = shift = 0
    while (byte := data[at]) & 128 and shift < 64:
        found |= (byte & 127) << shift
        shift += 7
        at += 1
    return found | byte << shift, at + 1
