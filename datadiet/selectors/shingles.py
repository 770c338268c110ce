"""What two texts have in common: normalised texts, their shingles, and the Jaccard coefficient.

Shingles are the sequences of `width` words or characters that occur in a text (Broder 1997). Each is a hash of 64 bits:
a sum of the hashes of its parts, times odd factors, modulo 2^64.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Any, Literal, get_args

import numpy as np

from datadiet.errors import OptionError
from datadiet.randomness import derive, mix64

__all__ = ["Shingle", "jaccard", "normalised", "shingles"]

Shingle = Literal["word", "char"]


def normalised(text: str) -> str:
    """Unicode NFC, case-folded (ß becomes ss), runs of white space as single spaces, none at the ends.

    >>> normalised("  Straße\\n ONE  ")
    'strasse one'
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def shingles(texts: Iterable[str], shingle: Shingle = "word", width: int = 5) -> list[np.ndarray]:
    """The shingles of each text, as distinct uint64 in ascending order; at least one per text.

    Args:
        texts: n str. They are normalised first. Words are runs of letters, digits and underscores; a text without any
            is one word.
        shingle: sequences of words or of characters.
        width: how many. A text with fewer is a single shingle, so that short texts can be compared at all.

    Raises:
        OptionError: an item that is not a text, an unknown kind, or a width below 1.

    >>> [len(found) for found in shingles(["a b a b a", "a b", "?"], "word", 2)]  # ab and ba; ab; ?
    [2, 1, 1]
    """
    if shingle not in get_args(Shingle):
        raise OptionError(f"shingle={shingle!r}: give 'word' or 'char'.")
    if width < 1:
        raise OptionError(f"width={width!r}: give at least 1, the {shingle}s in a shingle.")
    if isinstance(texts, (str, bytes)):
        raise OptionError(f"texts is one {type(texts).__name__}: give a list of texts.")
    if len(getattr(texts, "shape", "1")) != 1:
        raise OptionError("these are vectors, and this method compares texts: give texts, or use semdedup.")
    factors = mix64(0, "shingles", np.arange(width)) | np.uint64(1)
    known: dict[str, int] = {}
    return [_one(_parts(text, place, shingle), factors, known) for place, text in enumerate(texts)]


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """|A and B| / |A or B| of two sets, each of distinct numbers, not both empty.

    >>> jaccard(np.array([1, 2, 3]), np.array([2, 3, 4]))
    0.5
    """
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)


def _parts(text: Any, place: int, shingle: Shingle) -> list[str]:
    if not isinstance(text, str):
        raise OptionError(f"item {place} is of type {type(text).__name__}: give str for every text.")
    plain = normalised(text)
    return re.findall(r"\w+", plain) or [plain] if shingle == "word" else list(plain) or [""]


def _one(parts: list[str], factors: np.ndarray, known: dict[str, int]) -> np.ndarray:
    for part in parts:
        if part not in known:
            known[part] = derive(0, part.encode("utf-8", "backslashreplace").decode())  # lone surrogates have no bytes
    hashes = np.array([known[part] for part in parts], dtype=np.uint64)
    if len(hashes) < len(factors):
        return np.array([hashes @ factors[: len(hashes)]])
    return np.unique(np.lib.stride_tricks.sliding_window_view(hashes, len(factors)) @ factors)
