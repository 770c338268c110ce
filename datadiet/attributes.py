"""The user's own code: objects named as `py:module:attr` or `py:file.py:attr`, and what may go wrong in them."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from pathlib import Path
from typing import Any

from datadiet.errors import DataError, MissingExtra, OptionError, named

__all__ = ["is_ours", "load_attribute", "load_callable", "user_code"]

_ADVICE = "correct it (on the command line --debug shows where)"


@contextmanager
def user_code(problem: str, code: Any = None, advice: str | Callable[[BaseException], str] = _ADVICE) -> Iterator[None]:
    """Run the user's own code in the body; whatever it raises becomes one sentence.

    Args:
        problem: how the sentence begins, such as "the scorer mine fails".
        code: the function that runs; errors of datadiet's own stay as they are.
        advice: what to do, or a function of the error that says it.

    Raises:
        OptionError: the code raised something else than datadiet's errors.
    """
    try:
        yield
    except (DataError, OptionError, MissingExtra):
        raise
    except (Exception, SystemExit) as error:
        if is_ours(code):
            raise
        raise OptionError(f"{problem} ({named(error)}): {advice(error) if callable(advice) else advice}.") from error


def is_ours(code: Any) -> bool:
    """Whether a function is part of datadiet."""
    return str(getattr(code, "__module__", None)).partition(".")[0] == "datadiet"


def load_attribute(rest: str) -> Any:
    """The object that `module:attr` or `file.py:attr` names; dots in attr are followed.

    Raises:
        OptionError: text of another form, or no such module or attribute.
    """
    place, _, path = rest.rpartition(":")
    if not place or not path:
        raise OptionError(f"py:{rest} does not name an object: write py:module:attr or py:file.py:attr.")
    module = _from_file(Path(place)) if place.endswith(".py") else _from_name(place)
    try:
        return reduce(getattr, path.split("."), module)
    except AttributeError as error:
        raise OptionError(f"{place} has no {path!r} ({error}).") from error


def load_callable(spec: str) -> Callable[..., Any]:
    """The function that "py:module:attr" or "py:file.py:attr" names.

    Raises:
        OptionError: no such module or attribute, or not a function.
    """
    found = load_attribute(spec.removeprefix("py:"))
    if not callable(found):
        raise OptionError(f"{spec} is a {type(found).__name__}, not a function.")
    return found


def _from_file(path: Path) -> Any:
    if not os.path.isfile(path):
        raise OptionError(f"there is no file {path}.")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise OptionError(f"{path} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    with user_code(f"{path} cannot be imported"):
        spec.loader.exec_module(module)
    return module


def _from_name(name: str) -> Any:
    # A console script does not look for modules in the working directory, where users keep theirs.
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        with user_code(f"{name} cannot be imported"):
            return importlib.import_module(name)
    finally:
        if added:
            sys.path.remove(here)
