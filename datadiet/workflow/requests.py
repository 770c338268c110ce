"""What is asked for: from scorer names and parameters to the signals they need and the columns they give."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Any

from datadiet.attributes import load_attribute
from datadiet.errors import OptionError, unknown_name
from datadiet.parameters import check_value, name_of
from datadiet.scorers import SCORERS, Need, ScorerSpec
from datadiet.table.passes import PASSES, checked_option

__all__ = ["Request", "epochs_at", "epochs_there", "load_callable", "make_requests"]


@dataclass(frozen=True)
class Request:
    """One score column (with its suffixes) to compute.

    Attributes:
        column: its name.
        scorer: the registered name, or where the function comes from.
        spec: what to call, `needs` already as asked for.
        params: keyword arguments for the function.
    """

    column: str
    scorer: str
    spec: ScorerSpec
    params: Mapping[str, Any]


def make_requests(
    scorers: str | Callable[..., Any] | Iterable[str | Callable[..., Any] | ScorerSpec],
    params: Mapping[str, Mapping[str, Any]] | None = None,
    column: str | None = None,
) -> list[Request]:
    """Resolve scorer names ("el2n,aum" or a list), "py:module:function", functions or specs.

    Some parameters belong to the recording, not to the function: `at` (early, last, every, an epoch number, or a range
    "1-30"), `mode` ("train" or "eval") where a scorer reads outputs, and the options of its pass, such as `dim`.

    Args:
        scorers: what to compute.
        params: scorer -> parameter -> value.
        column: another name for the column of the only scorer.

    Raises:
        OptionError: an unknown scorer or parameter, parameters for a scorer that is not asked for, or `column` with
            several scorers.
    """
    given_params = {name: dict(values) for name, values in (params or {}).items()}
    if isinstance(scorers, str):
        scorers = [name.strip() for name in scorers.split(",") if name.strip()]
    chosen = list(scorers) if isinstance(scorers, Iterable) else [scorers]
    if not chosen or (column and len(chosen) > 1):
        raise OptionError(
            "--as names the column of one scorer: ask for exactly one." if chosen else "name at least one scorer."
        )
    requests = []
    for wanted in chosen:
        name, spec = _resolve(wanted)
        given = given_params.pop(name, {})
        needs = tuple(_asked(name, need, given) for need in spec.needs)
        for key in ("at", "mode", *_options(spec)):
            given.pop(key, None)
        _check_parameters(name, spec, given)
        if not (column or name).replace(".", "_").isidentifier():
            raise OptionError(f"{column or name!r} is no name for a column: give one with column=NAME (--as NAME).")
        requests.append(Request(column or name, name, replace(spec, needs=needs), given))
    if given_params:
        raise OptionError(
            f"parameters for {', '.join(given_params)}, which is not among the scorers: add it or leave them out."
        )
    return requests


def _resolve(wanted: str | Callable[..., Any] | ScorerSpec) -> tuple[str, ScorerSpec]:
    if isinstance(wanted, ScorerSpec):
        return wanted.name, wanted
    if isinstance(wanted, str) and not wanted.startswith("py:"):
        if wanted not in SCORERS:
            raise unknown_name("scorer", wanted, SCORERS)
        return wanted, SCORERS[wanted]
    fn = load_callable(wanted) if isinstance(wanted, str) else wanted
    signals = [
        p.name
        for p in inspect.signature(fn).parameters.values()
        if p.default is p.empty and p.kind is not p.KEYWORD_ONLY
    ]
    return name_of(fn), ScorerSpec(fn, tuple(Need(signal, "train", "every") for signal in signals))


def load_callable(spec: str) -> Callable[..., Any]:
    """The function that "py:module:attr" or "py:file.py:attr" names.

    Raises:
        OptionError: no such module or attribute, or nothing callable.
    """
    found = load_attribute(spec.removeprefix("py:"))
    if not callable(found):
        raise OptionError(f"{spec} is a {type(found).__name__}, not a function.")
    return found


def _options(spec: ScorerSpec) -> dict[str, Any]:
    """The options of the passes that a scorer reads, with their defaults."""
    return {
        key: value for need in spec.needs for key, value in {**PASSES[need.pass_name].options, **need.options}.items()
    }


def _asked(name: str, need: Need, given: Mapping[str, Any]) -> Need:
    """A need as asked for, with its epochs, its mode and the options of its pass."""
    at, mode = given.get("at"), given.get("mode")
    outputs = need.pass_name in ("train", "eval")
    if mode is not None and (mode not in ("train", "eval") or not outputs):
        raise OptionError(
            f"{name}.mode={mode!r}: " + ("give train or eval." if outputs else "it reads no outputs, leave it out.")
        )
    options = dict(need.options)
    for key in PASSES[need.pass_name].options:
        if key in given:
            try:
                options[key] = checked_option(need.pass_name, key, given[key])
            except OptionError as error:
                raise OptionError(f"{name}: {error}") from None
        else:
            options.setdefault(key, PASSES[need.pass_name].options[key])
    return replace(need, at=need.at if at is None else str(at), pass_name=mode or need.pass_name, options=options)


def _check_parameters(name: str, spec: ScorerSpec, given: Mapping[str, Any]) -> None:
    known = [*spec.parameters, "at", "mode", *_options(spec)]
    for key in given:
        if key not in known:
            raise unknown_name(f"parameter of {name}", key, known)
        check_value(name, key, spec.fn, given[key])


def epochs_there(facts: Mapping[str, Any]) -> list[int]:
    """The epochs of a run of which these facts are known, or the numbers of the checkpoints that it evaluated."""
    given = facts.get("checkpoints")
    return list(given) if isinstance(given, list) else list(range(1, int(facts.get("epochs", 0)) + 1))


def epochs_at(at: str, facts: Mapping[str, Any], what: str) -> tuple[list[int], bool]:
    """The epochs that `at` means in a run, and whether it means a single one.

    "early" is the tenth part of the training, rounded up, and at least the second epoch: after one epoch of a short run
    the errors still say more about the initialisation than about the example. Of checkpoints that were given none of
    several is "early", and a range means those of them that lie in it.

    Args:
        at: early, last, every, a number, or a range.
        facts: of the run: `epochs`, and `checkpoints` if some were given.
        what: the scorer, for messages.

    Raises:
        OptionError: not of these forms, or outside the run.

    >>> epochs_at("early", {"epochs": 200}, "el2n"), epochs_at("2-4", {"epochs": 10}, "aum")
    (([20], True), ([2, 3, 4], False))
    >>> epochs_at("every", {"epochs": 2, "checkpoints": [2, 10]}, "vog")
    ([2, 10], False)
    """
    there, given = epochs_there(facts), "checkpoints" in facts
    if given and at == "early" and len(there) > 1:
        raise OptionError(
            f"{what} reads one checkpoint and {len(there)} were given: say which, for example -p {what}.at={there[0]}."
        )
    if at == "every":
        return there, False
    if at in ("early", "last") and there:
        early = 1 if given else max(2, ceil(len(there) / 10))
        return [there[-1] if at == "last" else there[min(len(there), early) - 1]], True
    low, dash, high = at.partition("-")
    if not low.isdecimal() or (dash and not high.isdecimal()):
        raise OptionError(f"{what}.at={at!r}: give early, last, every, an epoch number, or a range such as 1-30.")
    first, last = int(low), int(high) if dash else int(low)
    if first > last or not {first, last} <= set(there):
        raise OptionError(
            f"{what}.at={at!r}: there are checkpoints {', '.join(map(str, there))} (of a run they are numbered by "
            "epoch, other files from 1): give one of them, or a range between two of them."
            if given
            else f"{what}.at={at!r} is outside the {len(there)} recorded epochs: give some from 1 to {len(there)}."
        )
    return [epoch for epoch in there if first <= epoch <= last], not dash
