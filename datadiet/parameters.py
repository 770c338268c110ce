"""The parameters of a method as its signature declares them: which ones a user may set, and to what."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache, partial, wraps
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from datadiet.errors import OptionError, unknown_name

__all__ = [
    "check_arguments",
    "check_parameters",
    "check_whole",
    "checked",
    "choices_of",
    "default_of",
    "in_a_line",
    "in_words",
    "name_of",
    "parameter_names",
    "parameters",
    "problem_with",
    "read_value",
    "signature_of",
]

P = ParamSpec("P")
R = TypeVar("R")

_LARGEST = 1 << 63  # no option of a method is that large
_WORDS: dict[Any, str] = {
    bool: "True or False", int: "a whole number", float: "a number", str: "a string", NoneType: "None", Path: "a path",
    Callable: "a function", Iterable: "a list", Sequence: "a list", Mapping: "a dict",
}  # fmt: skip
_STARRED = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_FILLED = ("seen", "keys", "rng")  # the workflow provides these


def name_of(fn: Callable[..., Any]) -> str:
    """The name of a function, or of the one inside a partial."""
    inner = fn.func if isinstance(fn, partial) else fn
    return getattr(inner, "__name__", type(inner).__name__)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """What a function takes.

    Raises:
        OptionError: not a function, or one that does not say what it takes, as some that are written in C.
    """
    try:
        return inspect.signature(fn)
    except (ValueError, TypeError) as error:
        raise OptionError(
            f"{name_of(fn)} does not say which arguments it takes: give a function of your own that calls it."
        ) from error


def parameter_names(fn: Callable[..., Any]) -> list[str]:
    """All parameters of a function, in order."""
    return list(signature_of(fn).parameters)


def default_of(fn: Callable[..., Any], name: str) -> Any:
    """The default of a parameter; `inspect.Parameter.empty` if it has none or does not exist."""
    found = signature_of(fn).parameters.get(name)
    return inspect.Parameter.empty if found is None else found.default


def parameters(fn: Callable[..., Any], skip: int) -> dict[str, Any]:
    """The parameters that a user may set, with their defaults: all but the first `skip` and `seen`, `keys`, `rng`.

    >>> parameters(lambda scores, k, *, share=0.5, keys=None: None, 2)
    {'share': 0.5}
    """
    found = list(signature_of(fn).parameters.values())[skip:]
    return {p.name: p.default for p in found if p.name not in _FILLED and p.kind not in _STARRED}


def choices_of(fn: Callable[..., Any], key: str) -> list[Any]:
    """The values that a Literal in the annotation of a parameter allows; empty without one."""
    return [choice for kind in _kinds(fn, key) if get_origin(kind) is Literal for choice in get_args(kind)]


def check_parameters(spec: Any, given: Mapping[str, Any], also: Iterable[str] = ()) -> None:
    """Refuse parameters that a method does not have, and values that their annotations exclude.

    Excluded is text for a number, or a choice outside a Literal; annotations of other kinds (arrays, sequences) are
    left to the function.

    Args:
        spec: of the method.
        given: parameter -> value.
        also: further names to list when one is unknown.

    Raises:
        OptionError: one of these.
    """
    known = spec.parameters
    for key, value in given.items():
        if key not in known:
            raise unknown_name(f"parameter of {spec.name}", key, [*known, *also])
        _check_value(spec.name, spec.fn, key, value)


def checked(fn: Callable[P, R]) -> Callable[P, R]:
    """Decorate a method, or the `__init__` of a class: options that its annotations exclude are refused before it runs.

    >>> @checked
    ... def double(x, *, times: int = 2):
    ...     return x * times
    >>> double(3, times="many")
    Traceback (most recent call last):
    datadiet.errors.OptionError: double: times='many': give a whole number.
    """

    names = parameter_names(fn)
    known_as = fn.__qualname__.split(".")[-2] if fn.__name__ == "__init__" else fn.__name__

    @wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        for key, value in [*zip(names, args, strict=False), *kwargs.items()]:
            _check_value(known_as, fn, key, value)
        return fn(*args, **kwargs)

    return call


def problem_with(fn: Callable[..., Any], key: str, value: Any) -> str:
    """Why the annotation of a parameter excludes a value; "" if it does not."""
    kinds, choices = _kinds(fn, key), choices_of(fn, key)
    simple = [kind for kind in kinds if kind in (bool, int, float, str, NoneType)]
    among = any(type(value) is type(one) and value == one for one in choices)
    if choices and len(kinds) == 1 and not among:
        return f": choose {in_words([*map(repr, choices)])}"
    if not simple or len(simple) < len(kinds) or any(_fits(value, kind) for kind in simple):
        return ""
    if simple == [int]:
        return ": give a whole number"
    allowed = in_words(["nothing" if kind is NoneType else kind.__name__ for kind in simple])
    return f": give {'an' if allowed[0] in 'aeiou' else 'a'} {allowed}"


def read_value(fn: Callable[..., Any], key: str, text: str) -> Any:
    """The value of a parameter that was written as text, as its annotation says.

    Raises:
        OptionError: it is not of that type.

    >>> def cut(text: str, *, at: int = 0, again: bool = False, keep: float | str = 1.0): ...
    >>> [read_value(cut, "at", "3"), read_value(cut, "again", "true"), read_value(cut, "keep", "10%")]
    [3, True, '10%']
    """
    kinds = _kinds(fn, key)
    known = [*choices_of(fn, key), *(True, False) * (bool in kinds), *(None,) * (NoneType in kinds)]
    for value in known:
        if text.lower() == str(value).lower():
            return value
    if str in kinds or kinds == (None,):
        return text
    for kind in (kind for kind in (int, float) if kind in kinds):
        try:
            return kind(text)
        except ValueError:
            continue
    words = [*map(str, known), *(_WORDS[kind] for kind in (int, float) if kind in kinds)]
    raise OptionError(f"{key}={in_a_line(text)}: give {in_words([word.lower() for word in words])}.")


def _check_value(name: str, fn: Callable[..., Any], key: str, value: Any) -> None:
    problem = problem_with(fn, key, value)
    if problem:
        raise OptionError(f"{name}: {key}={in_a_line(value)}{problem}.")


def check_arguments(fn: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Refuse arguments of a verb whose types its annotations exclude.

    Args:
        fn: the verb.
        given: parameter -> value; all or some of them.

    Raises:
        OptionError: the first of them.

    >>> def cut(text: str, at: int | None = None): ...
    >>> check_arguments(cut, {"text": "ab", "at": 1.5})
    Traceback (most recent call last):
    datadiet.errors.OptionError: at=1.5: give a whole number or None.
    """
    for key, value in given.items():
        kinds = _kinds(fn, key)
        if not any(_is_of(value, kind) for kind in kinds):
            raise OptionError(f"{key}={in_a_line(value)}: give {_one_of(kinds)}.")


def check_whole(name: str, value: Any, least: int = 1) -> int:
    """The value as an int.

    Raises:
        OptionError: not a whole number, or less than `least`.
    """
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise OptionError(f"{name}={in_a_line(value)}: give a whole number of at least {least}.")
    return int(value)


def in_a_line(value: Any) -> str:
    """A value for an error message: as Python writes it, or its type if that takes more than a line.

    >>> in_a_line(0.5), in_a_line(list(range(99)))
    ('0.5', '<list>')
    """
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"<{type(value).__name__}>"


def in_words(names: Sequence[str]) -> str:
    """What one may choose among.

    >>> in_words(["a", "b", "c"]), in_words(["a"])
    ('a, b or c', 'a')
    """
    return " or ".join(one for one in (", ".join(names[:-1]), *names[-1:]) if one)


@cache
def _kinds(fn: Callable[..., Any], key: str) -> tuple[Any, ...]:
    """The members of the union that annotates a parameter, or its one annotation; (None,) without one."""
    inner = fn.func if isinstance(fn, partial) else fn
    typed: Any = inner if hasattr(inner, "__name__") else type(inner).__call__
    if isinstance(inner, type):
        typed = inner.__init__  # type: ignore[misc]
    hint = get_type_hints(typed).get(key)
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _is_of(value: Any, kind: Any) -> bool:
    """Whether an annotation allows a value, and what a list or dict holds."""
    if kind in (Any, None):
        return True
    if kind in (bool, int, float, str, NoneType):
        return _fits(value, kind)
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return any(type(value) is type(choice) and value == choice for choice in inner)
    if origin in (Union, UnionType):
        return any(_is_of(value, one) for one in inner)
    if isinstance(value, (bytes, bytearray)) or not isinstance(value, origin or kind):
        return False
    held = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return origin is Callable or not inner or all(_is_of(one, inner[-1]) for one in held)


def _one_of(kinds: Iterable[Any]) -> str:
    *first, last = map(_in_words, kinds)
    return f"{', '.join(first)}{',' * (len(first) > 1)} or {last}" if first else last


def _in_words(kind: Any) -> str:
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " or ".join(map(str, inner))
    if origin in (Union, UnionType):
        return _one_of(inner)
    if origin not in (None, Callable) and inner[-1] is not Any:
        holds = "a dict whose values are each" if len(inner) > 1 else "a list whose items are each"
        return f"{holds} {_in_words(inner[-1])}"
    return _WORDS.get(origin or kind, f"a {getattr(kind, '__name__', kind)}")


def _fits(value: Any, kind: Any) -> bool:
    if kind in (bool, str, NoneType):
        return isinstance(value, kind)
    if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
        return False
    return value == value and not (
        isinstance(value, Integral) and abs(int(value)) >= _LARGEST
    )  # NaN is not equal to itself
