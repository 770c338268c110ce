"""What two texts have in common: normalised texts, their shingles, and the Jaccard coefficient.

Shingles are the sequences of `width` words or characters that occur in a text (Broder 1997). Each is a hash of 64 bits:
a sum of the hashes of its parts, times odd factors, modulo 2^64.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
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


def shingles(
    texts: Iterable[str], shingle: Shingle = "word", width: int = 5, punctuation: bool = False
) -> list[np.ndarray]:
    """The shingles of each text, as distinct uint64 in ascending order; at least one per text.

    Args:
        texts: n str. They are normalised first. Words are runs of letters with their marks (vowel signs, tone marks,
            points), digits, underscores and format characters; a symbol (emoji, + < = > | ~ ^ $ …) is a word of its
            own, and so is a character for private use or without a meaning in Unicode; a text without any is one word.
        shingle: sequences of words or of characters.
        width: how many. A text with fewer is a single shingle, so that short texts can be compared at all.
        punctuation: whether punctuation marks, which include - * / % & # @, are words of their own, or nothing.

    Raises:
        OptionError: an item that is not a text, an unknown kind, or a width below 1.

    >>> [len(found) for found in shingles(["a b a b a", "a b", "?"], "word", 2)]  # ab and ba; ab; ?
    [2, 1, 1]
    """
    if shingle not in get_args(Shingle):
        raise OptionError(f"shingle={shingle!r}: give 'word' or 'char'.")
    if width < 1:
        raise OptionError(f"width={width!r}: give at least 1, the {shingle}s in a shingle.")
    if isinstance(texts, (str, bytes)) or not hasattr(texts, "__iter__"):
        raise OptionError(f"texts is one {type(texts).__name__}: give a list of texts.")
    if len(getattr(texts, "shape", "1")) != 1:
        raise OptionError("these are vectors, and this method compares texts: give texts, or use semdedup.")
    factors = mix64(0, "shingles", np.arange(width)) | np.uint64(1)
    known = _Hashes()
    split = _words(punctuation) if shingle == "word" else _characters
    return [_one(split(_plain(text, place)), factors, known) for place, text in enumerate(texts)]


def jaccard(left: np.ndarray, right: np.ndarray) -> float:
    """|A and B| / |A or B| of two sets, each of distinct numbers, not both empty.

    >>> jaccard(np.array([1, 2, 3]), np.array([2, 3, 4]))
    0.5
    """
    both = len(np.intersect1d(left, right, assume_unique=True))
    return both / (len(left) + len(right) - both)


def _plain(text: Any, place: int) -> str:
    if not isinstance(text, str):
        raise OptionError(f"item {place} is of type {type(text).__name__}: give str for every text.")
    return normalised(text)


def _characters(plain: str) -> list[str]:
    return list(plain) or [""]


def _words(punctuation: bool) -> Callable[[str], list[str]]:
    find = _pattern(punctuation).findall
    return lambda plain: find(plain) or [plain]


@cache
def _pattern(punctuation: bool) -> re.Pattern[str]:
    """A word, or a symbol with the marks that follow it. (For `re`, marks do not belong to words.)

    A space before it is passed at once: at each, `re` would look through all characters of both kinds.
    """
    marks = _characters_of("M", "Cf")  # Cf joins letters in Persian and Indic scripts, and emoji; flags end in tags
    symbols = _characters_of("S", "Co", "Cn", "Cs", *(["P"] if punctuation else []))
    return re.compile(rf" ?([\w{marks}]+|[{symbols}][{marks}]*)")


def _characters_of(*categories: str) -> str:
    """The characters whose Unicode category begins so, as ranges of a character class.

    Without the underscore, a letter for `re`, and the space of no width, which separates words in Khmer and Thai.
    """
    every = (
        (code, unicodedata.category(chr(code))) for code in range(sys.maxunicode + 1) if chr(code) not in "_\u200b"
    )
    codes = [code for code, category in every if category.startswith(categories)]
    runs = np.split(np.array(codes), np.flatnonzero(np.diff(codes) > 1) + 1)
    return "".join(f"\\U{int(run[0]):08x}-\\U{int(run[-1]):08x}" for run in runs)


class _Hashes(dict[str, int]):
    """The hashes of words and characters, made when they are first asked for."""

    def __missing__(self, part: str) -> int:
        found = self[part] = derive(
            0, part.encode("utf-8", "backslashreplace").decode()
        )  # half a surrogate has no bytes
        return found


def _one(parts: list[str], factors: np.ndarray, known: _Hashes) -> np.ndarray:
    hashes = np.fromiter(map(known.__getitem__, parts), np.uint64, len(parts))
    if len(hashes) < len(factors):
        return np.array([hashes @ factors[: len(hashes)]])
    return np.unique(np.lib.stride_tricks.sliding_window_view(hashes, len(factors)) @ factors)
