"""Zip archives, read only where the directory at the end and the header of each member say the same.

The directory alone tells where members are, and no checksum covers it: a damaged one could rename or lose a member.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

__all__ = ["archive_of", "check_content"]

_HEADER = struct.Struct("<4s5H3L2H")  # signature, version, flags, method, time, date, CRC, two sizes, two lengths
_LONGEST_DESCRIPTOR = 24
_PIECE = 1 << 20
_LARGE = 0xFFFFFFFF  # a size that stands in the extra field
_ENCRYPTED, _SIZES_FOLLOW, _IN_UTF8 = 1, 8, 0x800


@contextmanager
def archive_of(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive; ValueError if it is encrypted, damaged or one array."""
    with path.open("rb") as opened:
        if opened.read(6) == b"\x93NUMPY":
            raise ValueError("it is one array, not an archive of named arrays")
        with zipfile.ZipFile(opened) as archive:
            if any(info.flag_bits & _ENCRYPTED for info in archive.infolist()):
                raise ValueError("it is encrypted")
            _check_members(opened, archive)
            yield archive


def check_content(archive: zipfile.ZipFile) -> None:
    """Read all members; an error of zipfile if one does not match its checksum. Some writers leave that at 0."""
    for info in archive.infolist():
        if info.CRC:
            with archive.open(info) as member:
                while member.read(_PIECE):
                    pass


def _check_members(opened: IO[bytes], archive: zipfile.ZipFile) -> None:
    """ValueError unless the members, one after the other, fill the file up to the directory."""
    members = sorted(archive.infolist(), key=lambda info: info.header_offset)
    ends = [*(info.header_offset for info in members[1:]), archive.start_dir]
    if members and members[0].header_offset != 0:
        raise ValueError("its directory leaves out what is at its start")
    for info, end in zip(members, ends, strict=True):
        opened.seek(info.header_offset)
        _, _, flags, method, _, _, *sizes, name_length, extra_length = _HEADER.unpack(opened.read(_HEADER.size))
        name = opened.read(name_length)
        data_end = opened.tell() + extra_length + info.compress_size
        opened.seek(data_end)
        after = opened.read(end - data_end) if 0 <= end - data_end <= _LONGEST_DESCRIPTOR else None
        agrees = (name, flags, method) == (_name_bytes(info), info.flag_bits, info.compress_type)
        if not agrees or not _same_sizes(info, *sizes) or after not in _descriptors(info):
            raise ValueError(f"its directory and its member {info.filename!r} differ")


def _name_bytes(info: zipfile.ZipInfo) -> bytes:
    return info.orig_filename.encode("utf-8" if info.flag_bits & _IN_UTF8 else "cp437")


def _same_sizes(info: zipfile.ZipInfo, crc: int, packed: int, size: int) -> bool:
    """Whether a header says the checksum and sizes of the directory, or that they stand elsewhere."""
    later = {0} if info.flag_bits & _SIZES_FOLLOW else set()
    return (
        crc in {info.CRC, *later}
        and packed in {info.compress_size, _LARGE, *later}
        and size in {info.file_size, _LARGE, *later}
    )


def _descriptors(info: zipfile.ZipInfo) -> set[bytes]:
    """What may stand after the data of a member: nothing, or its checksum and sizes."""
    if not info.flag_bits & _SIZES_FOLLOW:
        return {b""}
    forms = ["<LQQ"] if max(info.compress_size, info.file_size) > _LARGE else ["<LLL", "<LQQ"]
    records = {struct.pack(form, info.CRC, info.compress_size, info.file_size) for form in forms}
    return records | {b"PK\x07\x08" + record for record in records}
