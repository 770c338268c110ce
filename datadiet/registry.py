"""The methods of a package: the specs in the files of its imported functions, and how a method is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from datadiet.attributes import load_callable
from datadiet.errors import OptionError, unknown_name
from datadiet.parameters import check_parameters, in_a_line, read_value

__all__ = ["find_spec", "read_spec", "specs_in"]

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


def read_spec(text: str, specs: Mapping[str, S], kind: str) -> tuple[S, dict[str, Any]]:
    """A registered method and its parameters, from "NAME:key=value,key=value".

    Args:
        text: such as "rs2:keep=10%".
        specs: name -> spec, with `fn`; `parameters`, which a user may set, with their defaults; `filled`, those that
            the run sets; and `example`, values for those without a default.
        kind: what they are, for messages.

    Raises:
        OptionError: an unknown name or parameter, one that the run sets, a value of another type, or a parameter that
            must be given and is not.
    """
    name, _, rest = text.partition(":")
    if name not in specs:
        raise unknown_name(kind, name, specs)
    spec: Any = specs[name]
    given: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, _, value = part.partition("=")
        if key in spec.filled:
            raise OptionError(f"{kind} {in_a_line(text)}: the run sets {key} itself: leave it out.")
        if key not in spec.parameters:
            raise unknown_name(f"parameter of {name}", key, spec.parameters)
        if not value or key in given:
            raise OptionError(f"{kind} {in_a_line(text)}: give {key} one value: {key}=….")
        given[key] = _read(spec, key, value)
    missing = set(spec.example) - set(given)
    if missing:
        example = ",".join(f"{key}={value}" for key, value in spec.example.items())
        others = " or ".join(f",{key}=…" for key in spec.parameters if key not in spec.example)
        more = f", optionally with {others}" if others else ""
        raise OptionError(f"{kind} {in_a_line(text)} says nothing of {min(missing)}: write {name}:{example}{more}.")
    check_parameters(spec, given)
    return specs[name], given


def _read(spec: Any, key: str, text: str) -> Any:
    """The value of a parameter; a switch, which only the record knows, is true or false."""
    if not isinstance(spec.parameters[key], bool):
        return read_value(spec.fn, key, text)
    if text.lower() not in ("true", "false"):
        raise OptionError(f"{key}={text!r}: give true or false.")
    return text.lower() == "true"
