"""Ids and class names as paths that stay inside a folder, and outputs that appear complete or not at all."""

from __future__ import annotations

import hashlib
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from datadiet.errors import OptionError

__all__ = ["appearing", "safe_name"]

_UNSAFE = re.compile(r"[^\w.\-+=@,() ]")
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_LONGEST = 120


def safe_name(text: str) -> str:
    """One path component for any text: unchanged if it is safe, else cleaned, with a hash that keeps it distinct.

    >>> safe_name("cat 01")
    'cat 01'
    >>> safe_name("../etc/passwd")
    'etc_passwd-42540b52'
    """
    clean = _UNSAFE.sub("_", text)[:_LONGEST].strip(". _") if _UNSAFE.search(text) else text[:_LONGEST].strip(". ")
    if clean == text and clean and not _RESERVED.fullmatch(clean):
        return clean
    clean = clean if clean and not _RESERVED.fullmatch(clean) else f"x{clean}"
    return f"{clean}-{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}"


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` at the end; on an error it is removed.

    Raises:
        OptionError: `path` already exists and is not an empty file or folder.
    """
    if (path.is_file() and path.stat().st_size) or (path.is_dir() and any(path.iterdir())):
        raise OptionError(f"{path} already exists: remove it, or name another place.")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        if path.is_dir():
            path.rmdir()
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)
