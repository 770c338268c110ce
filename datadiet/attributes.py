"""Objects in the user's own code, named as `py:module:attr` or `py:file.py:attr`."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from typing import Any

from datadiet.errors import OptionError, first_line

__all__ = ["load_attribute", "load_callable"]

# What importing a user's module may raise.
_OF_THE_USER = (
    ImportError,
    SyntaxError,
    NameError,
    AttributeError,
    TypeError,
    ValueError,
    LookupError,
    OSError,
    RuntimeError,
)


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
    try:
        spec.loader.exec_module(module)
    except _OF_THE_USER as error:
        raise OptionError(f"{path} cannot be imported ({type(error).__name__}: {first_line(error)}).") from error
    return module


def _from_name(name: str) -> Any:
    # A console script does not look for modules in the working directory, where users keep theirs.
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        return importlib.import_module(name)
    except _OF_THE_USER as error:
        raise OptionError(f"{name} cannot be imported ({type(error).__name__}: {first_line(error)}).") from error
    finally:
        if added:
            sys.path.remove(here)
