"""Ids and class names as names of files and folders that stay inside a folder."""

from __future__ import annotations

import hashlib
import os
import re

__all__ = ["CLASS_NAMES", "is_utf8", "safe_name"]

CLASS_NAMES = "class_names.json"
"""In an exported folder of images: folder -> class name, where the name itself cannot name a folder."""

# Control characters are allowed by some systems, but break the listings of all.
_FORBIDDEN = re.compile(r"[/\x00-\x1f\x7f\ud800-\udfff]" if os.name == "posix" else r'[<>:"/\\|?*\x00-\x1f\x7f]')
_RESERVED = re.compile(r"(?!)" if os.name == "posix" else r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*[. ]", re.IGNORECASE)
_LONGEST = 200  # bytes: a name may have 255, and a hash and a suffix may follow


def is_utf8(text: str) -> bool:
    """Whether a text can be written as UTF-8: it holds no lone surrogates."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def safe_name(text: str) -> str:
    """One path component for any text: unchanged if the system allows it, else cleaned, with a hash.

    Names that start with a dot, which hides them, are cleaned too.

    >>> safe_name("R&D: cats, 100 %")
    'R&D: cats, 100 %'
    >>> safe_name("../etc/passwd")
    'etc_passwd-42540b52'
    """
    clean = _FORBIDDEN.sub("_", text).encode("utf-8", "replace")[:_LONGEST].decode("utf-8", "ignore")
    if clean == text and clean and not clean.startswith(".") and not _RESERVED.fullmatch(clean):
        return clean
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=4).hexdigest()
    return f"{clean.strip('. _') or 'x'}-{digest}"
