"""Opening files: one function for each format that is read, and the only place that opens it; tables in tables.py.

A file may make the process allocate at most 16 times its own size, or a limit if that is more: 1 GiB, or what the
environment variable DATADIET_READ_LIMIT says. Only regular files are opened. Whatever a library raises on a damaged
file becomes one sentence.
"""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from datadiet.errors import DataError, MissingExtra, OptionError, first_line
from datadiet.files.archives import archive_of

__all__ = [
    "array_names", "array_shape", "check_size", "json_of", "load_array", "load_arrays",
    "open_file", "parse_json", "read_bytes", "read_limit", "read_text",
]  # fmt: skip

_log = logging.getLogger("datadiet")

READ_LIMIT = "DATADIET_READ_LIMIT"
_LEAST, _MULTIPLE = 1 << 30, 16
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def read_limit(size: int) -> int:
    """How many bytes a file of `size` bytes may take in memory.

    Raises:
        OptionError: the environment variable is not a size such as 4GiB.
    """
    given = os.environ.get(READ_LIMIT, "")
    text = given.strip().lower().removesuffix("ib").removesuffix("b")
    number, unit = text.rstrip("kmgt"), text[-1:] if text[-1:] in "kmgt" else ""
    try:
        least = int(float(number) * _UNITS[unit]) if given else _LEAST
    except (ValueError, OverflowError):
        raise OptionError(f"{READ_LIMIT}={given!r} is not a size: give one such as 4GiB.") from None
    return max(least, _MULTIPLE * size)


@contextmanager
def open_file(path: str | Path, what: str, advice: str) -> Iterator[Path]:
    """Read a regular file in the body of this context.

    Args:
        path: the file.
        what: what it should be, as in "a complete .npy file".
        advice: what to do about a damaged one.

    Raises:
        DataError: it does not exist, is not a regular file, or anything goes wrong in the body.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise DataError(f"{path} is a folder, not {what}: name a file.")
        if not stat.S_ISREG(mode):
            raise DataError(f"{path} is a device, a pipe or a socket: give a regular file.")
        _log.debug("reading %s", path)
        yield path
    except (DataError, OptionError, MissingExtra):
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: check the path.") from error
    except MemoryError as error:
        raise DataError(f"{path} needs more memory than there is: use a smaller file, or a larger machine.") from error
    except PermissionError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}): check its permissions.") from error
    except Exception as error:  # a damaged file makes libraries raise anything
        if getattr(error, "errno", None) == errno.ENAMETOOLONG:
            raise DataError(f"{str(path)[:60]}… is too long for the name of a file: check the path.") from error
        empty = os.path.isfile(path) and not path.stat().st_size
        raise DataError(f"{path} is not {what} ({'it is empty' if empty else _reason(error)}): {advice}.") from error


def read_bytes(
    path: str | Path, what: str = "a readable file", advice: str = "check the path", size: int = -1
) -> bytes:
    """The first `size` bytes of a file; -1 = all."""
    name = os.fspath(path)
    try:  # most files are read at once; of the others, `open_file` says what is wrong
        if stat.S_ISREG(os.stat(name).st_mode):
            with open(name, "rb", buffering=0) as file:
                return file.read(size)
    except (OSError, ValueError):
        pass
    with open_file(path, what, advice) as regular:
        return regular.read_bytes()[: size if size >= 0 else None]


def read_text(path: str | Path, what: str = "a text file in UTF-8") -> str:
    """The text of a file."""
    with open_file(path, what, "write it again or remove it") as file:
        return file.read_text(encoding="utf-8")


def json_of(text: str | bytes | None) -> Any:
    """A JSON value that another program may have written; None if there is none or it is damaged."""
    try:
        return None if text is None else parse_json(text)
    except (ValueError, RecursionError):
        return None


def parse_json(text: str | bytes, once: bool = False) -> Any:
    """A JSON value whose texts can be written again: ValueError for half of a character, which JSON can escape.

    Args:
        text: what to parse.
        once: ValueError for a key that occurs twice in an object, of which the last would count.
    """
    found = json.loads(text, object_pairs_hook=_once if once else None)
    if b"\\ud" in (text if isinstance(text, bytes) else text.encode()).lower():
        json.dumps(found, ensure_ascii=False).encode()
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for at, (key, _) in enumerate(pairs) if key in dict(pairs[:at]))
        raise ValueError(f"the key {twice!r} occurs twice")
    return found


def load_array(path: str | Path, mapped: bool = False) -> np.ndarray:
    """The array of a .npy file, in memory or memory-mapped; never one of Python objects."""
    with open_file(path, "a complete .npy file", "write it again") as file:
        with file.open("rb") as opened:
            if opened.read(4) == b"PK\x03\x04":
                raise ValueError("it is an archive of several arrays: save one alone with numpy.save")
            opened.seek(0)
            shape, kind = _header(opened)
            there = file.stat().st_size - opened.tell()
        if math.prod(shape) * kind.itemsize > there:
            raise ValueError(f"its header says {shape} of {kind}, more than the {there} bytes that follow")
        found: np.ndarray = np.load(file, mmap_mode="r" if mapped else None, allow_pickle=False)
        return found


def array_shape(path: str | Path) -> tuple[int, ...] | None:
    """The shape of the array in a .npy file, from its header alone; None without a valid header."""
    try:
        with open_file(path, "a .npy file", "write it again") as file, file.open("rb") as opened:
            return _header(opened)[0]
    except DataError:
        return None


def load_arrays(path: str | Path, names: Iterable[str] | None = None) -> dict[str, np.ndarray]:
    """The arrays of a .npz file, or those named."""
    with (
        open_file(path, "a readable .npz file", "save it again with numpy.savez") as file,
        archive_of(file) as archive,
    ):
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        wanted = list(members) if names is None else list(names)
        if not members:
            raise ValueError("it holds no array")
        check_size(file, sum(members[name].file_size for name in wanted))
        return {name: _member(archive, members[name]) for name in wanted}


def array_names(path: str | Path) -> list[str]:
    """The names of the arrays in a .npz file."""
    with (
        open_file(path, "a readable .npz file", "save it again with numpy.savez") as file,
        archive_of(file) as archive,
    ):
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _header(opened: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(opened)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(opened)
    if any(size < 0 for size in shape):
        raise ValueError(f"its header says the shape {shape}")
    if kind.hasobject:
        raise ValueError("it holds Python objects, not numbers or strings")
    return shape, kind


def _member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as opened:
        shape, kind = _header(opened)
        if math.prod(shape) * kind.itemsize > info.file_size:
            raise ValueError(f"the header of {info.filename} says {shape} of {kind}, more than there is")
    with archive.open(info) as opened:
        values = np.asarray(np.lib.format.read_array(opened, allow_pickle=False))
        if opened.read(1):
            raise ValueError(f"the header of {info.filename} says {shape} of {kind}, less than there is")
        return values


def check_size(path: Path, size: int) -> None:
    """Refuse to allocate what is far more than a file.

    Raises:
        DataError: `size` bytes are more than the limit.
    """
    if size > read_limit(path.stat().st_size):
        raise DataError(
            f"{path} would take {size / (1 << 30):.1f} GiB in memory, far more than its own size: if that is right, "
            f"set {READ_LIMIT}={math.ceil(size / (1 << 30))}GiB."
        )


def _reason(error: Exception) -> str:
    reason = first_line(error) if str(error).strip() else type(error).__name__
    return f"{type(error).__name__}: {reason}" if isinstance(error, KeyError | IndexError | AttributeError) else reason
