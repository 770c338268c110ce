"""The record of a selector: what fills its arguments, what it promises, what it costs, where it comes from.

A method's file defines one, `SPEC`; the signature of the function says most. The name of the first parameter says what
is selected from: `embeddings`, `texts`, `labels`, `n`, or, under any other name, scores as hardness. If `k` has no
default, a size must be given. `keys` and `rng` carry the randomness; `hardness`, if it is not the first parameter, is a
score that may guide the choice. `reads` says what fills other parameters that the user does not set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from datadiet.geometry.cost import CostOf, rows
from datadiet.parameters import default_of, name_of, parameter_names, parameters
from datadiet.selectors.explained import Explained

__all__ = ["ByClass", "Column", "Concepts", "Fact", "FromBudget", "FurtherVectors", "SelectorSpec"]

First = Literal["hardness", "embeddings", "texts", "labels", "n"]
Source = TypeVar("Source")


@dataclass(frozen=True)
class Column:
    """A score column, as hardness or as published.

    Attributes:
        name: the column that is read when the user names none; empty = the score to select by.
        as_hardness: oriented so that higher = harder, or as published.
        optional: left out if the user names none and there is no column of that name, or, without a name, no score.
    """

    name: str = ""
    as_hardness: bool = True
    optional: bool = False


@dataclass(frozen=True)
class Fact:
    """The fact of this name in a run's manifest, unless the user sets the parameter."""

    name: str


@dataclass(frozen=True)
class FromBudget:
    """A default that depends on the size: `default(k, n)`, unless the user sets the parameter."""

    default: Callable[[int, int], Any]


@dataclass(frozen=True)
class FurtherVectors:
    """Vectors of other examples, such as those of reference data."""


@dataclass(frozen=True)
class Concepts:
    """What each example is about, (n, m) codes: those that the user gives, else its label and a predicted class.

    Left out without labels or without such a column, or if the user says consistent=False.

    Attributes:
        suffix: of the column of predicted classes, beside that of the score to select by.
    """

    suffix: str


@dataclass(frozen=True)
class ByClass:
    """The labels, if the user asks for by_class: the method itself keeps the shares of the classes."""


@dataclass(frozen=True)
class SelectorSpec:
    """What the workflow needs to know to call a selector.

    Attributes:
        fn: `fn(first, k, *, keys, …) -> positions`, or (positions, weights); `fn.explain`, if there is one, gives the
            reasons too.
        reads: parameter -> what fills it, where the name of the parameter does not say so.
        name: what users call it; the name of `fn` if not given.
        threshold: the parameter that may be given instead of a size.
        nested: whether a smaller budget is a prefix of a larger one; or a function of the parameters that says so.
        cost: (n, d, k, **parameters) -> steps, for n vectors of d numbers; None = a few sorts, if `fn` reads scores.
        reference: where the method comes from.
    """

    fn: Callable[..., Any]
    reads: Mapping[str, Column | Fact | FromBudget | FurtherVectors | Concepts | ByClass] = field(default_factory=dict)
    name: str = ""
    threshold: str = ""
    nested: bool | Callable[..., bool] = False
    cost: CostOf | None = None
    reference: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or name_of(self.fn))
        if default_of(self.fn, "hardness") is None and "hardness" not in self.reads:
            object.__setattr__(self, "reads", {**self.reads, "hardness": Column(optional=True)})
        if self.cost is None and self.first in ("hardness", "labels", "n"):
            object.__setattr__(self, "cost", lambda n, d, k, /, **parameters: [rows(n)])

    @property
    def first(self) -> First:
        """What the first argument is."""
        name = self.first_parameter
        return name if name in ("embeddings", "texts", "labels", "n") else "hardness"  # type: ignore[return-value]

    @property
    def first_parameter(self) -> str:
        """The name of the first argument."""
        return next(iter(parameter_names(self.fn)), "hardness")

    @property
    def led_by(self) -> str:
        """The parameter that takes the score to select by; empty if none does."""
        if self.first == "hardness":
            return self.first_parameter
        return next((name for name, column in self.reading(Column).items() if not column.optional), "")

    @property
    def score(self) -> str:
        """The column to select by when the user names none; empty if the method has no default."""
        found = self.reads.get(self.led_by)
        return found.name if isinstance(found, Column) else ""

    def reading(self, kind: type[Source]) -> dict[str, Source]:
        """The parameters after the first that are filled from this kind of source, such as `Column`."""
        return {p: r for p, r in self.reads.items() if isinstance(r, kind) and p != self.first_parameter}

    @property
    def needs_size(self) -> bool:
        """Whether k must be given."""
        return default_of(self.fn, "k") is not None

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters that a user may set with -p, with their defaults."""
        filled = {*self.reading(Column), *self.reading(ByClass), "labels"}
        return {p: default for p, default in parameters(self.fn, 2).items() if p not in filled}

    @property
    def explain(self) -> Callable[..., Explained] | None:
        """The function that also gives reasons, if the method has one."""
        return getattr(self.fn, "explain", None)

    def is_nested(self, params: Mapping[str, Any]) -> bool:
        """Whether a smaller budget is a prefix of a larger one with these parameters."""
        return self.nested(**params) if callable(self.nested) else self.nested
