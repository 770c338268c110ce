"""The laws of what a scorer is given: arrays of every kind are read right or refused in one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from datadiet.errors import DataError, OptionError
from datadiet.parameters import in_a_line
from datadiet.scorers.presentations import RANGES
from datadiet.scorers.spec import Need
from datadiet.testing.array_kinds import huge_classes, in_bfloat16, not_class_numbers, not_numbers, same_numbers
from datadiet.testing.laws import expect_sentence, law, laws_in, other_types
from datadiet.testing.scorer_cases import ROWS, Columns, ScorerCase, expect_same

__all__ = ["SCORER_ARRAY_LAWS"]

_DOOR = "convert arrays with datadiet.arrays.numbers, or with the helpers in scorers.presentations, which call it."


def _arguments(scorer: ScorerCase, labels: bool) -> Iterator[tuple[int, Need, list[np.ndarray]]]:
    """Each argument that holds labels, or each other: its place, its need, and all arguments, exact in bfloat16."""
    for place, need in enumerate(scorer.spec.needs):
        if (need.signal == "labels") == labels:
            yield place, need, [in_bfloat16(values) for values in scorer.signals()]


def _with(given: list[Any], place: int, values: Any) -> list[Any]:
    return [*given[:place], values, *given[place + 1 :]]


@law(_DOOR, ours=True)
def arrays_of_any_kind(scorer: ScorerCase) -> None:
    """Lists, tensors, Arrow arrays and arrays of any layout, width and byte order give the scores of their numbers."""
    for labels in (False, True):
        for place, need, given in _arguments(scorer, labels):
            wanted = scorer.columns(given)
            for said, values in same_numbers(given[place]):
                expect_same(scorer.columns(_with(given, place, values)), wanted, f"{need.signal} as {said}")


@law(_DOOR, ours=True)
def no_array_of_numbers(scorer: ScorerCase) -> None:
    """What is not an array of real numbers, or hides some of them, is refused in one sentence."""
    for place, need, given in _arguments(scorer, labels=False):
        for said, values in (*not_numbers(given[place]), ("None", None)):
            if not (values is None and need.of == "reference"):  # a function may have another form without a reference
                expect_sentence(partial(scorer.columns, _with(given, place, values)), f"{need.signal}: {said}")
        further = given[place][None, None, None]
        expect_sentence(partial(scorer.columns, _with(given, place, further)), f"{need.signal} with three more axes")
    if scorer.takes("seen"):
        whole = np.ones(scorer.signals()[0].shape, dtype=bool)
        for said, values in (*not_numbers(whole), ("2 in place of a bool", np.full(whole.shape, 2))):
            expect_sentence(partial(scorer.columns, scorer.signals(), seen=values), f"seen: {said}")


@law("decorate the function with datadiet.parameters.checked.", ours=True)
def options_of_other_types(scorer: ScorerCase) -> None:
    """Options that the annotations exclude are refused in one sentence."""
    for name, value in other_types(scorer):
        other = ScorerCase(scorer.spec, {**scorer.params, name: value})
        expect_sentence(partial(other.columns, scorer.signals()), f"{name}={in_a_line(value)}")


@law(_DOOR, ours=True)
def not_finite(scorer: ScorerCase) -> None:
    """A signal or a vector that is NaN or infinite is refused in one sentence."""
    for place, need, given in _arguments(scorer, labels=False):
        for bad in (np.nan, np.inf, -np.inf):
            values = given[place].astype(np.float32)
            values.flat[-1] = bad
            expect_sentence(partial(scorer.columns, _with(given, place, values)), f"{need.signal}: {bad} at the end")


@law(f"{_DOOR} Name the signal, or give low= and high=.",
     when=lambda s: any(need.signal in RANGES for need in s.spec.needs), ours=True)  # fmt: skip
def out_of_range(scorer: ScorerCase) -> None:
    """A signal out of its range is refused in one sentence; rounding may pass a bound by 1e-7."""
    for place, need, given in _arguments(scorer, labels=False):
        if need.signal not in RANGES:
            continue
        allowed, values = RANGES[need.signal], given[place].astype(np.float64)
        beyond = [allowed.low - 0.01, allowed.high * 1.01, *[0.5] * allowed.binary]
        for bad in beyond:
            values.flat[-1] = bad
            expect_sentence(partial(scorer.columns, _with(given, place, values)), f"{need.signal}: {bad:g} at the end")
        if not allowed.binary:
            values.flat[-1] = allowed.low - 1e-7
            scorer.columns(_with(given, place, values))


def _reads_labels(scorer: ScorerCase) -> bool:
    return any(need.signal == "labels" for need in scorer.spec.needs)


@law("check labels with datadiet.arrays.class_numbers.", when=_reads_labels, ours=True)
def no_class_numbers(scorer: ScorerCase) -> None:
    """Labels that are not whole numbers of at least 0, one for each example, are refused in one sentence."""
    for place, need, given in _arguments(scorer, labels=True):
        for said, values in not_class_numbers(given[place]):
            call = partial(scorer.columns, _with(given, place, values))
            expect_sentence(call, f"{said} ({need.of})")


@law("count classes with np.unique(labels, return_inverse=True), not with np.bincount(labels).",
     when=_reads_labels, ours=True)  # fmt: skip
def huge_class_numbers(scorer: ScorerCase) -> None:
    """Huge class numbers give the scores of small ones, or are refused in one sentence."""
    places = [place for place, need in enumerate(scorer.spec.needs) if need.signal == "labels"]
    given = scorer.signals()
    wanted = scorer.columns(given)
    for others in zip(*(huge_classes(given[place]) for place in places), strict=True):
        changed: list[Any] = list(given)
        for place, (_, values) in zip(places, others, strict=True):
            changed[place] = values
        found = _or_refused(scorer, changed)
        if found is not None:
            expect_same(found, wanted, others[0][0])


def _or_refused(scorer: ScorerCase, given: list[Any]) -> Columns | None:
    try:
        return scorer.columns(given)
    except (OptionError, DataError):
        return None


@law("compare the shapes of the arguments.", when=lambda s: sum(need.of == "data" for need in s.spec.needs) > 1,
     ours=True)  # fmt: skip
def another_number_of_examples(scorer: ScorerCase) -> None:
    """Signals of different numbers of examples are refused in one sentence."""
    given, fewer = scorer.signals(), scorer.of_rows(scorer.signals(), np.arange(ROWS - 1))
    for place, need in enumerate(scorer.spec.needs):
        if need.of == "data":
            call = partial(scorer.columns, _with(given, place, fewer[place]))
            expect_sentence(call, f"{need.signal} of {ROWS - 1} examples, and the others of {ROWS}")


SCORER_ARRAY_LAWS = laws_in(globals())
