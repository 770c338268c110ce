"""A law of the contract: what it says, how it is checked, and what to do if it is broken.

The docstring of a law's function is the law. The function raises `Broken` with what was given and the result. A check
of `checks_of` turns that, or any error that the method raises, into one AssertionError that says all of this.
"""

from __future__ import annotations

import random as python_random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.util import find_spec
from inspect import getdoc, signature
from typing import Any

import numpy as np
from numpy.random import get_state

from datadiet.errors import DataError, MissingExtra, OptionError, first_line
from datadiet.parameters import problem_with

__all__ = [
    "Broken",
    "Case",
    "Check",
    "Law",
    "checks_of",
    "expect",
    "expect_refusal",
    "expect_sentence",
    "keep_all",
    "law",
    "laws_in",
    "shown",
    "untouched",
]

Check = tuple[str, Callable[[], None]]

_OTHER_PARAMETERS = "If only some parameters fit such input, give them: examples=[{'parameter': value}, …]."


@dataclass(frozen=True, eq=False)
class Case:
    """A method with the parameters that it is checked with.

    Attributes:
        spec: its record, a ScorerSpec or a SelectorSpec.
        params: the parameters.
    """

    spec: Any
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The name of the method."""
        return str(self.spec.name)

    def takes(self, parameter: str) -> bool:
        """Whether the function has this parameter."""
        return parameter in signature(self.spec.fn).parameters


class Broken(Exception):
    """A law is broken.

    Attributes:
        given: what the method was given.
        found: the result.
    """

    def __init__(self, given: str, found: str) -> None:
        super().__init__(f"{given}: {found}")
        self.given, self.found = given, found


@dataclass(frozen=True)
class Law:
    """Use `law`.

    Attributes:
        check: raises Broken.
        advice: what to do if it is broken.
        when: whether the law applies to a method.
        unknown: why it cannot be checked; empty if it can.
        ours: whether only datadiet's own methods must keep it.
        once: whether it is checked with the first set of parameters only.
    """

    check: Callable[[Any], None]
    advice: str
    when: Callable[[Any], bool]
    unknown: Callable[[Any], str]
    ours: bool
    once: bool

    @property
    def name(self) -> str:
        """The name of the function."""
        return self.check.__name__

    @property
    def says(self) -> str:
        """The law in a sentence."""
        return (getdoc(self.check) or "").partition("\n\n")[0].replace("\n", " ")


def law(
    advice: str,
    *,
    when: Callable[[Any], bool] = lambda _: True,
    unknown: Callable[[Any], str] = lambda _: "",
    ours: bool = False,
    once: bool = False,
) -> Callable[[Callable[[Any], None]], Law]:
    """Make a law of the function that checks it; the arguments are those of `Law`."""
    return lambda check: Law(check, advice, when, unknown, ours, once)


def laws_in(names: Mapping[str, Any]) -> tuple[Law, ...]:
    """The laws among the names of a module, in the order in which they stand there."""
    return tuple(value for value in names.values() if isinstance(value, Law))


def checks_of(laws: Sequence[Law], cases: Sequence[Case], strict: bool) -> list[Check]:
    """(name, zero-argument function) of every law for every case, in order.

    Args:
        laws: all laws for this kind of method.
        cases: one method with several sets of parameters.
        strict: whether to include the laws that only datadiet's own methods must keep.
    """
    checks: list[Check] = []
    for number, case in enumerate(cases):
        for each in laws:
            if (each.ours and not strict) or (each.once and number) or not each.when(case):
                continue
            words = "" if each.once else ", ".join(f"{key}={shown(value)}" for key, value in case.params.items())
            name, reason = each.name + (f"[{words}]" if words else ""), each.unknown(case)
            checks.append((f"{name} (not run: {reason})", _nothing) if reason else (name, partial(_check, each, case)))
    return checks


def keep_all(checks: Iterable[Check]) -> None:
    """Run checks, and raise one AssertionError about all broken laws.

    If the first law is broken, which is about what a method returns, the other checks are not run.
    """
    errors: list[AssertionError] = []
    for number, (_, check) in enumerate(checks):
        try:
            check()
        except AssertionError as error:
            if not number:
                raise
            errors.append(error)
    if len(errors) == 1:
        raise errors[0]
    if errors:
        raise AssertionError(f"{len(errors)} laws are broken.\n\n" + "\n\n".join(map(str, errors)))


def _check(law: Law, case: Case) -> None:
    """Check one law.

    Raises:
        AssertionError: it is broken.
        MissingExtra: the method needs a package that is not installed.
    """
    try:
        law.check(case)
    except Broken as broken:
        raise AssertionError(_told(law, case, broken.given, broken.found, law.advice)) from broken.__cause__
    except MissingExtra:
        raise
    except Exception as error:  # a user's function may raise anything
        found = f"{type(error).__name__}: {first_line(error)}"
        raise AssertionError(_told(law, case, "valid input", found, f"{law.advice} {_OTHER_PARAMETERS}")) from error


def expect(holds: Any, given: str, found: str) -> None:
    """Raise Broken unless it holds."""
    if not holds:
        raise Broken(given, found)


def expect_sentence(call: Callable[[], Any], given: str) -> None:
    """Raise Broken unless the call raises an OptionError or a DataError in one sentence: what is wrong, what to do."""
    expect_refusal(call, given, ": ", error=(OptionError, DataError))


def other_types(case: Case) -> Iterator[tuple[str, Any]]:
    """The options of a method with values that their annotations exclude."""
    for name in case.spec.parameters:
        for value in (object(), "text", b"bytes", [], {}, 0.5, -1, True, None, float("nan"), 2**70):
            if problem_with(case.spec.fn, name, value):
                yield name, value


def expect_refusal(
    call: Callable[[], Any],
    given: str,
    *words: str,
    error: type[Exception] | tuple[type[Exception], ...] = OptionError,
) -> None:
    """Raise Broken unless the call raises this error with these words in its message."""
    wanted = " or ".join(kind.__name__ for kind in (error if isinstance(error, tuple) else (error,)))
    try:
        found = call()
    except error as refusal:
        missing = [word for word in words if word not in str(refusal)]
        expect(not missing, given, f"the error {str(refusal)!r}, which does not say {' and '.join(map(repr, missing))}")
    except Exception as other:
        found = f"{type(other).__name__}: {first_line(other)}"
        raise Broken(given, f"{found} (expected: {wanted})") from other
    else:
        raise Broken(given, f"no {wanted} but {shown(found)}")


@contextmanager
def untouched(given: str) -> Iterator[None]:
    """Raise Broken if the block changes the state of random, numpy.random or torch.

    Args:
        given: what the block gives to the method.
    """
    before = _states()
    yield
    after = _states()
    changed = [name for name, state in before.items() if after[name] != state]
    expect(not changed, given, f"a changed global state of {' and '.join(changed)}")


def _states() -> dict[str, Any]:
    numpy_state: Any = get_state(legacy=False)  # noqa: NPY002 - it is only read
    words = numpy_state["state"].pop("key")
    states: dict[str, Any] = {
        "random": python_random.getstate(),
        "numpy.random": (words.tobytes(), numpy_state),
    }
    if find_spec("torch") is not None:
        import torch

        states["torch"] = torch.get_rng_state().numpy().tobytes()
    return states


def shown(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {shown(one)}" for key, one in value.items()) + "}"
    if isinstance(value, (list, np.ndarray)):
        kind = f"{value.dtype} {value.shape} " if isinstance(value, np.ndarray) else ""
        some = value.ravel()[:7].tolist() if isinstance(value, np.ndarray) else value[:7]
        return f"{kind}[{', '.join([*map(shown, some[:6]), *['…'] * (len(some) > 6)])}]"
    text = f"{value:.6g}" if isinstance(value, (float, np.floating)) else repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _told(law: Law, case: Case, given: str, found: str, advice: str) -> str:
    words = ", ".join(f"{key}={shown(value)}" for key, value in case.params.items())
    return (
        f"{case.name}({words}) breaks the law {law.name}: {law.says}\n"
        f"  given: {given}\n  result: {found}\n  to do: {advice}"
    )


def _nothing() -> None:
    """A check that cannot be run; its name says why."""
