"""The methods of a package: the specs in the files of its imported functions, and how a method is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from datadiet.attributes import load_callable
from datadiet.errors import OptionError, unknown_name
from datadiet.parameters import in_a_line

__all__ = ["find_spec", "specs_in"]

S = TypeVar("S")


def specs_in(package: str, kind: type[S], names: Mapping[str, Any]) -> dict[str, S]:
    """name -> spec, sorted: every spec in those files of the package that the imported names come from.

    So a registry needs one import line per method, and nothing else.

    Args:
        package: such as "datadiet.scorers".
        kind: the class of the specs, which have a `name`.
        names: what the package has imported, in order.
    """
    files = dict.fromkeys(getattr(value, "__module__", "") for value in names.values() if callable(value))
    methods = [sys.modules[file] for file in files if file.startswith(f"{package}.")]
    found = [value for file in methods for value in vars(file).values() if isinstance(value, kind)]
    return {spec.name: spec for spec in sorted(found, key=lambda spec: spec.name)}  # type: ignore[attr-defined]


def find_spec(given: Any, specs: Mapping[str, S], kind: str, of_function: Callable[[Any], S]) -> S:
    """The spec of a registered method, of "py:module:function" or of a function.

    Args:
        given: one of these.
        specs: name -> spec of the registered methods.
        kind: what they are, for messages.
        of_function: makes the spec of any other function.

    Raises:
        OptionError: an unknown name, or something that is not a function.
    """
    if not isinstance(given, str):
        if not callable(given):
            raise OptionError(
                f"{in_a_line(given)} is not a {kind}: give the name of one, py:module:function or a function."
            )
        return of_function(given)
    if given.startswith("py:"):
        return of_function(load_callable(given))
    if given not in specs:
        raise unknown_name(kind, given, specs)
    return specs[given]
