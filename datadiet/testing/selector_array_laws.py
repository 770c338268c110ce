"""The laws of what a selector is given: arrays of every kind are read right or refused in one sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from datadiet.errors import DataError, OptionError
from datadiet.parameters import default_of, in_a_line
from datadiet.randomness import generator
from datadiet.selectors.spec import Column
from datadiet.testing.array_kinds import huge_classes, in_bfloat16, not_class_numbers, not_numbers, same_numbers
from datadiet.testing.laws import expect, expect_sentence, law, laws_in, other_types, shown
from datadiet.testing.selector_cases import CLASSES, SelectorCase

__all__ = ["SELECTOR_ARRAY_LAWS"]

_SCORES = "check scores with as_scores (datadiet.selectors.ordering), with n= where the number of examples is known."
_VECTORS = "open vectors with geometry.Matrix.open."
_LABELS = "check labels with datadiet.arrays.class_numbers."


class _Parameter:
    """A parameter that takes an array, a value of it, and the selector as a function of it alone."""

    def __init__(self, selector: SelectorCase, name: str, values: Any) -> None:
        self.selector, self.name, self.values, self.pool = selector, name, values, selector.pool()

    def choose(self, values: Any) -> list[int]:
        """The positions for these values."""
        pool, spec = self.pool, self.selector.spec
        draws = {"keys": self.selector.keys(1)} if self.selector.takes("keys") else {}
        named = {**pool.columns, **pool.fixed, **self.selector.params, **draws}
        first = pool.first
        if self.name == spec.first_parameter:
            first = values
        else:
            named[self.name] = values
        found = spec.fn(first, self.selector.some, **named)
        chosen: list[int] = np.asarray(found[0] if isinstance(found, tuple) else found).tolist()
        return chosen

    def refuses(self, cases: Iterator[tuple[str, Any]]) -> None:
        """Raise Broken unless all of these are refused in one sentence."""
        for said, values in cases:
            expect_sentence(partial(self.choose, values), f"{self.name}: {said}")


def _names_of_scores(selector: SelectorCase) -> list[str]:
    first = [selector.spec.first_parameter] if selector.spec.first == "hardness" else []
    further = ["hardness"] if default_of(selector.spec.fn, "hardness") is None else []
    return list(dict.fromkeys([*first, *selector.spec.reading(Column), *further]))


def _scores(selector: SelectorCase) -> list[_Parameter]:
    """The parameters that take one score per example."""
    values = in_bfloat16(generator(3, "datadiet.testing", "scores").uniform(0, 1, selector.n))
    return [one for name in _names_of_scores(selector) if _works(one := _Parameter(selector, name, values))]


def _works(parameter: _Parameter) -> bool:
    """Whether the parameter may be given at all together with the others."""
    try:
        return bool(parameter.choose(parameter.values))
    except OptionError:
        return False


def _vectors(selector: SelectorCase) -> list[_Parameter]:
    pool = selector.pool()
    found = [_Parameter(selector, name, values) for name, values in pool.fixed.items() if np.ndim(values) == 2]
    first = [_Parameter(selector, "embeddings", pool.first)] if selector.spec.first == "embeddings" else []
    for one in (*first, *found):
        one.values = in_bfloat16(one.values)
    return [*first, *found]


def _labels(selector: SelectorCase) -> list[_Parameter]:
    labels = np.arange(selector.n) * CLASSES // selector.n
    takes = selector.spec.first == "labels" or default_of(selector.spec.fn, "labels") is None
    return [_Parameter(selector, "labels", labels)] if takes else []


def _any_container(parameters: list[_Parameter]) -> None:
    for one in parameters:
        wanted = one.choose(one.values)
        for said, values in same_numbers(one.values):
            found = one.choose(values)
            expect(found == wanted, f"{one.name} as {said}", f"{shown(found)}, not {shown(wanted)}")


@law(_SCORES, when=lambda s: bool(_names_of_scores(s)), ours=True)
def scores_of_any_kind(selector: SelectorCase) -> None:
    """Scores in a list, a tensor or an array of any layout, width and byte order give the choice of their numbers."""
    _any_container(_scores(selector))


@law(_SCORES, when=lambda s: bool(_names_of_scores(s)), ours=True)
def no_scores(selector: SelectorCase) -> None:
    """Scores that are not real numbers, hide some of them, or are too many or too few are refused in one sentence."""
    for one in _scores(selector):
        one.refuses(not_numbers(one.values))
        one.refuses(iter([("NaN at the end", np.append(one.values[:-1], np.nan))]))
        one.refuses(iter([("a table", one.values[:, None]), ("whole numbers above 2^53", _large(selector.n))]))
        if one.name != selector.spec.first_parameter or one.pool.columns:
            one.refuses(iter([("one too few", one.values[:-1]), ("one too many", np.append(one.values, 0.5))]))


def _large(n: int) -> np.ndarray:
    return 2**60 + np.arange(n)


@law(f"{_SCORES} Give allowed= if some scores cannot be used.", when=lambda s: bool(_names_of_scores(s)), ours=True)
def extreme_scores(selector: SelectorCase) -> None:
    """Infinite, huge and tiny scores are used, or refused in one sentence."""
    for one in _scores(selector):
        for bad in (np.inf, -np.inf, 1.7e308, -1.7e308, 5e-324):
            for rest in (one.values.astype(np.float64), np.zeros(selector.n)):
                _kept_or_refused(one.choose, np.append(rest[:-1], bad), selector.n, f"{one.name}: {bad:g} at the end")


def _kept_or_refused(choose: Callable[[Any], list[int]], values: np.ndarray, n: int, said: str) -> None:
    try:
        chosen = choose(values)
    except (OptionError, DataError):
        return
    expect(len(set(chosen)) == len(chosen) and 0 <= min(chosen) <= max(chosen) < n, said, shown(chosen))


@law(_VECTORS, when=lambda s: bool(_vectors(s)), ours=True)
def vectors_of_any_kind(selector: SelectorCase) -> None:
    """Vectors in lists, a tensor or an array of any layout, width and byte order give the choice of their numbers."""
    _any_container(_vectors(selector))


@law(_VECTORS, when=lambda s: bool(_vectors(s)), ours=True)
def no_vectors(selector: SelectorCase) -> None:
    """Anything but (n, d) real numbers, none of them masked, is refused in one sentence."""
    for one in _vectors(selector):
        one.refuses(not_numbers(one.values))
        wrong = ("None", None), ("no numbers in a vector", one.values[:, :0]), ("no vectors", one.values[:0])
        one.refuses(iter(wrong))


@law("decorate the function with datadiet.parameters.checked or selectors.explained.", ours=True)
def options_of_other_kinds(selector: SelectorCase) -> None:
    """Options that the annotations exclude are refused in one sentence."""
    pool = selector.pool()
    for name, value in other_types(selector):
        if name not in pool.fixed and name not in pool.columns:
            other = SelectorCase(selector.spec, {**selector.params, name: value})
            expect_sentence(partial(other.choose, pool, selector.some), f"{name}={in_a_line(value)}")


@law(_LABELS, when=lambda s: bool(_labels(s)), ours=True)
def labels_of_any_kind(selector: SelectorCase) -> None:
    """Labels in a list, a tensor or an array of any layout and byte order give the choice of their numbers."""
    _any_container(_labels(selector))


@law(_LABELS, when=lambda s: bool(_labels(s)), ours=True)
def bad_labels(selector: SelectorCase) -> None:
    """Labels that are not whole numbers of at least 0, one for each example, are refused in one sentence."""
    for one in _labels(selector):
        few = ("a label too few",) if selector.spec.first == "labels" else ()
        one.refuses((said, values) for said, values in not_class_numbers(one.values) if said not in few)


@law("count classes with np.unique(labels, return_inverse=True), not with np.bincount(labels).",
     when=lambda s: bool(_labels(s)), ours=True)  # fmt: skip
def huge_labels(selector: SelectorCase) -> None:
    """Huge class numbers give the choice of small ones, or are refused in one sentence."""
    for one in _labels(selector):
        wanted = one.choose(one.values)
        for said, values in huge_classes(one.values):
            try:
                found = one.choose(values)
            except (OptionError, DataError):
                continue
            expect(found == wanted, said, f"{shown(found)}, not {shown(wanted)}")


SELECTOR_ARRAY_LAWS = laws_in(globals())
