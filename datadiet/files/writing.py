"""Writing files and folders: completely or not at all, also if the process is killed or the machine stops.

Everything is written under a temporary name beside its target, flushed to the disk and renamed. The name says which
process writes it, so that the next run can remove what a killed one left; a part of it is random, so that nobody can
put a link there first.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import secrets
import shutil
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from datadiet.errors import OptionError

__all__ = [
    "appearing",
    "atomic_write",
    "check_name",
    "is_temporary",
    "refuse_existing",
    "refuse_own_input",
    "remove_siblings",
    "remove_strays",
    "save_array",
    "temporary_name",
]

_log = logging.getLogger("datadiet")

_TEMPORARY = re.compile(r"\..*\.(?P<host>[0-9a-f]{6})-(?P<pid>\d+)-[0-9a-f]{8}\.tmp", re.DOTALL)
MARK = ".datadiet"  # in a folder that was made here
_PART, _WHOLE = 255, 4095  # bytes of a name, and of a path
_LONGEST = 120  # bytes of a target's name that its temporary name repeats: a name may have 255


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Call `write` with a temporary name beside path, then rename; on any failure nothing is left behind."""
    path = Path(path)
    check_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_siblings(path)
    temporary = temporary_name(path)
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        write(temporary)
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
        _log.debug("wrote %s", path)
    finally:
        temporary.unlink(missing_ok=True)


def save_array(path: Path, values: np.ndarray) -> None:
    """Write a .npy file in place; unlike `numpy.save`, a full disk is the error that the system gives."""
    values = np.ascontiguousarray(values)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(values))
        file.write(values.reshape(-1).view(np.uint8).data)


@contextmanager
def appearing(path: Path, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path for a file or folder, and rename it to `path` at the end; on an error it is removed.

    Args:
        path: the target.
        overwrite: replace what is there; a folder only if it was made here, which its hidden file MARK says.

    Raises:
        OptionError: `path` already exists and is not an empty file or folder, or not one to replace.
    """
    check_name(path)
    if not overwrite:
        refuse_existing(path)
    elif path.is_dir() and any(path.iterdir()) and not (path / MARK).exists():
        raise OptionError(f"{path} is a folder that datadiet did not write: remove it yourself, or name another place.")
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_siblings(path)
    temporary, before = temporary_name(path), temporary_name(path)
    try:
        yield temporary
        if temporary.is_dir():
            (temporary / MARK).touch()
        for file in [temporary, *temporary.rglob("*")] if temporary.is_dir() else [temporary]:
            _flush(file)
        if path.is_dir() and not path.is_symlink():
            os.replace(path, before)
        os.replace(temporary, path)
        _flush(path.parent)
        _log.debug("wrote %s", path)
    finally:
        if before.exists() and not path.exists():
            os.replace(before, path)
        _remove(temporary)
        _remove(before)


def refuse_existing(path: Path) -> None:
    """Refuse to write over anything but an empty file or folder.

    Raises:
        OptionError: something is there, or nothing can be.
    """
    check_name(path)
    if (path.is_file() and path.stat().st_size) or (path.is_dir() and any(path.iterdir())):
        raise OptionError(
            f"{path} already exists: name another place, or replace it with --overwrite (overwrite=True)."
        )


def check_name(path: Path) -> None:
    """Refuse a name that no file can have, or that is not text, which safetensors and JSON need.

    Raises:
        OptionError: it or a part of it is too long, or it holds a NUL or bytes that are not UTF-8.
    """
    sizes = [len(part.encode("utf-8", "replace")) for part in path.parts]
    if max(sizes, default=0) > _PART or sum(sizes) + len(sizes) > _WHOLE:
        shown = f"{str(path)[:60]}…"
        raise OptionError(f"{shown!r} is too long for the name of a file: give at most {_PART} bytes between slashes.")
    if re.search("[\0\ud800-\udfff]", os.fspath(path)):  # bytes that are not UTF-8 become half of a character
        raise OptionError(f"{os.fspath(path)!r} cannot be the name of a file in UTF-8: give another one.")


def refuse_own_input(path: Path, read: Iterable[Path]) -> None:
    """Refuse a target that is, or holds, something that is read to make it.

    Args:
        path: the target.
        read: files and folders that are read, with links resolved.

    Raises:
        OptionError: replacing the target would remove one of them.
    """
    check_name(path)
    target = path.resolve()
    for file in read:
        if target == file:
            raise OptionError(f"{path} is its own input: name another place to write to.")
        if target in file.parents:
            raise OptionError(f"{path} holds {file}, which is read to make it: name another place to write to.")


def is_temporary(path: Path) -> bool:
    """Whether a name is that of a file being written, or left by a killed process."""
    return path.name.startswith(".") and path.name.endswith(".tmp")


def remove_strays(folder: Path) -> None:
    """Remove what killed processes left anywhere below a folder."""
    if folder.is_dir():
        for stray in folder.rglob(".*.tmp"):
            _remove_stray(stray)


def temporary_name(path: Path) -> Path:
    """A new name beside a path, for a file that the next run removes if this process is killed."""
    name = os.fsdecode(os.fsencode(path.name)[:_LONGEST])
    return path.with_name(f".{name}.{_host()}-{os.getpid()}-{secrets.token_hex(4)}.tmp")


def _host() -> str:
    return hashlib.blake2b(socket.gethostname().encode("utf-8", "replace"), digest_size=3).hexdigest()


def remove_siblings(path: Path) -> None:
    """Remove what killed processes left beside a path under temporary names made from it."""
    start = temporary_name(path).name.partition(f".{_host()}-")[0]
    for name in os.listdir(path.parent):
        if name.startswith(start):
            _remove_stray(path.with_name(name))


def _remove_stray(temporary: Path) -> None:
    """Remove a leftover of this machine, unless the process that writes it is alive."""
    found = _TEMPORARY.fullmatch(temporary.name)
    if found and found["host"] == _host() and not _alive(int(found["pid"])):
        _remove(temporary)


def _alive(pid: int) -> bool:
    if os.name == "nt":  # os.kill would end it; a file that is open there cannot be removed anyway
        return pid == os.getpid()
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):  # it belongs to another user
        return True
    return True


def _remove(path: Path) -> None:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except PermissionError:  # Windows: somebody has it open
        return


def _flush(path: Path) -> None:
    """Wait until a file or folder is on the disk; Windows has no such thing for folders."""
    if os.name == "nt" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
