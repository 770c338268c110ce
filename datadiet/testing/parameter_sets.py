"""The parameters to check a method with: those its author names, or those derived from its signature."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

from datadiet.errors import OptionError
from datadiet.parameters import choices_of, name_of

__all__ = ["home_of", "parameter_sets"]


def parameter_sets(
    fn: Callable[..., Any],
    known: Mapping[str, Any],
    filled: Collection[str],
    examples: Sequence[Mapping[str, Any]] | None,
) -> list[dict[str, Any]]:
    """The sets of parameters to check a method with.

    Args:
        fn: the method.
        known: the parameters that a user may set, with their defaults.
        filled: those that the check itself provides.
        examples: the sets; None = the defaults, then every other choice of a `Literal` and of a bool, one at a time.

    Raises:
        OptionError: a parameter without a default that nothing provides.

    >>> def method(scores, k, *, share=0.5, clip=False, keys=None): ...
    >>> parameter_sets(method, {"share": 0.5, "clip": False}, (), None)
    [{}, {'clip': True}]
    """
    choices = {name: _choices(fn, name, default) for name, default in known.items() if name not in filled}
    required = {name for name in choices if known[name] is inspect.Parameter.empty}
    if examples is None:
        base = {name: choices[name][0] for name in sorted(required) if choices[name]}
        others = [(name, value) for name, found in choices.items() for value in found]
        sets = [base, *({**base, name: v} for name, v in others if v not in (known[name], base.get(name)))]
    else:
        sets = [dict(example) for example in examples]
    for found in sets:
        missing = sorted(required - set(found))
        if missing:
            words = ", ".join(f"{name!r}: …" for name in missing)
            raise OptionError(
                f"{name_of(fn)} has no default for {' and '.join(missing)}: pass examples=[{{{words}}}] with values "
                "that work."
            )
    return sets


def home_of(fn: Callable[..., Any]) -> str:
    """The module of a function, or of the one inside a partial."""
    inner = fn.func if isinstance(fn, partial) else fn
    return getattr(inner, "__module__", None) or ""


def _choices(fn: Callable[..., Any], name: str, default: Any) -> list[Any]:
    """All values of a parameter, if it has few."""
    if isinstance(default, bool):
        return [default, not default]
    try:
        return choices_of(fn, name)
    except (NameError, TypeError):  # annotations that cannot be resolved, as in a notebook
        return []
