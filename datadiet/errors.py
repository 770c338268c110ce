"""The exceptions: no more classes than a caller would want to catch.

Every message says what was given, what is needed and what to do. `exit_code` is what the command line returns.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

__all__ = [
    "DISK_FULL",
    "BadVector",
    "DataError",
    "FingerprintMismatch",
    "MissingExtra",
    "MissingSignal",
    "OptionError",
    "counted",
    "each_note_once",
    "first_line",
    "named",
    "one_line",
    "require",
    "silent",
    "some_of",
    "unknown_name",
]

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # and what reverses the text around it
_LONGEST = 200  # characters of another library's message: some quote the file


class _Portable(ValueError):
    """An error that keeps its text and attributes across a process boundary, whatever its constructor takes.

    Its text is one line: control characters, which names in files may hold, are escaped.
    """

    def __str__(self) -> str:
        return _escaped(super().__str__())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[_Portable], args: tuple[Any, ...], attributes: dict[str, Any]) -> _Portable:
    error = kind.__new__(kind, *args)
    error.__dict__.update(attributes)
    return error


class OptionError(_Portable):
    """An option or argument that cannot be used as given."""

    exit_code = 2


class MissingSignal(OptionError):
    """A scorer needs a signal that was not recorded."""


class DataError(_Portable):
    """A file or data set that is damaged, malformed or not what it was taken for."""

    exit_code = 3


class NotFinite(DataError):
    """A result for one example of a batch is NaN or infinite.

    Attributes:
        row: its position in the batch.
    """

    def __init__(self, row: int, batch: int) -> None:
        super().__init__(f"the gradient of row {row} of {batch} is not finite: check that input and the weights.")
        self.row = row


class BadVector(DataError):
    """A vector that has no direction or is not finite.

    Attributes:
        row: its position.
        problem: "all zeros" or "not finite".
    """

    def __init__(self, row: int, problem: str, name: str = "") -> None:
        super().__init__(f"the vector of {name or f'row {row}'} is {problem}: embed that example again or drop it.")
        self.row, self.problem = row, problem

    def of_example(self, ids: Any) -> BadVector:
        """The same error, which names the example by its id among Arrow strings."""
        return BadVector(self.row, self.problem, f"example {ids[self.row].as_py()!r}")


class FingerprintMismatch(DataError):
    """Scores or a selection belong to a different data set."""


class MissingExtra(ImportError):
    """An optional dependency is needed but cannot be imported."""

    exit_code = 4


def unknown_name(kind: str, name: str, known: Iterable[str]) -> OptionError:
    """The error for a name that is not in a list, with the nearest names that are."""
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"there are {', '.join(known) or 'none here'}."
    return OptionError(f"{name!r} is not {'an' if kind[0] in 'aeiou' else 'a'} {kind}: {hint}")


def one_line(text: object, longest: int = 40) -> str:
    """A name, or another text from data, as people are shown it: without control characters, and cut.

    >>> one_line("a\\nb"), one_line("abcdef", 3)
    ('a\\\\nb', 'abc…')
    """
    escaped = _escaped(str(text))
    return escaped if len(escaped) <= longest else f"{escaped[:longest]}…"


def some_of(names: Iterable[object], most: int = 8) -> str:
    """The first of some names, for a list in a sentence."""
    found = [one_line(name) for name in names]
    return ", ".join([*found[:most], *(["…"] if len(found) > most else [])])


def counted(number: float, thing: str) -> str:
    """A number of things, in words.

    >>> counted(1, "GPU"), counted(2.0, "core")
    ('1 GPU', '2 cores')
    """
    return f"{number:g} {thing}{'' if number == 1 else 's'}"


def _as_note(record: logging.LogRecord) -> bool:
    """Make a record of the log one line: a filter, for texts from data that are among its arguments."""
    if isinstance(record.args, tuple):
        record.args = tuple(one_line(arg, _LONGEST) if isinstance(arg, str) else arg for arg in record.args)
    record.msg, record.args = _escaped(record.getMessage()), None
    return True


_LOG = logging.getLogger("datadiet")
_LOG.addFilter(_as_note)


@contextmanager
def each_note_once() -> Iterator[None]:
    """Leave out notes of the log that were given before, such as those that each of several trainings would give."""
    said = set[str]()

    def new(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        first = text not in said
        said.add(text)
        return first

    _LOG.addFilter(new)
    try:
        yield
    finally:
        _LOG.removeFilter(new)


@contextmanager
def silent() -> Iterator[None]:
    """Leave out all notes of the log, such as those of a method that is only tried on made-up scores."""

    def none(record: logging.LogRecord) -> bool:
        return False

    _LOG.addFilter(none)
    try:
        yield
    finally:
        _LOG.removeFilter(none)


def _escaped(text: str) -> str:
    return _CONTROL.sub(lambda found: repr(found[0])[1:-1], text)


def first_line(error: BaseException) -> str:
    """The message of another library's error, to put inside a sentence."""
    lines = str(error).strip().splitlines()
    first = lines[0].rstrip(".") if lines else type(error).__name__
    return first if len(first) <= _LONGEST else f"{first[:_LONGEST]}…"


def named(error: BaseException) -> str:
    """The type and the message of an error in the user's own code."""
    return f"{type(error).__name__}: {first_line(error)}" if str(error).strip() else type(error).__name__


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or raise an error that says how to get it.

    RuntimeError counts as missing too: a torchvision built for another torch raises it on import.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:
        raise MissingExtra(
            f"{module} is needed here and cannot be imported ({error}): pip install 'datadiet[{extra}]'."
        ) from error
