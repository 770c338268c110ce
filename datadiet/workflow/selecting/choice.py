"""A way to choose examples, as users name it, and what must be scored for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data import Source
from datadiet.errors import OptionError, silent
from datadiet.parameters import check_parameters, parameter_names, read_value
from datadiet.randomness import generator
from datadiet.registry import find_spec
from datadiet.scorers import ScorerSpec
from datadiet.selectors import SELECTORS, SelectorSpec
from datadiet.selectors.spec import Column, Fact, FurtherVectors
from datadiet.table import Scores, Selection
from datadiet.workflow.scoring.requests import Request, make_requests, sees_two_networks
from datadiet.workflow.selecting.select import select

__all__ = ["RANDOM", "Choice", "read_choices", "try_choices"]

_WIDTH = 8  # numbers of a made-up vector


@dataclass(frozen=True)
class Choice:
    """How to choose: a method, and what it reads.

    Attributes:
        spec: of the method.
        score: the column to select by; empty if the method selects by none.
        columns: parameter -> column, of further ones.
        by_class: as in `select`.
        params: of the method.
    """

    spec: SelectorSpec
    score: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    by_class: bool | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        method: str | Callable[..., Any],
        *,
        score: str | None = None,
        usual: str = "",
        columns: Mapping[str, str] | None = None,
        by_class: bool | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Choice:
        """What a user asks for, checked as far as that is possible without data.

        Args:
            method: as in `select`.
            score: the column to select by.
            usual: that column if the user names none; empty = the method's own.
            columns, by_class, params: as in `select`.

        Raises:
            OptionError: an unknown method, parameter or score, or a method that cannot be used here.
        """
        spec = find_spec(method, SELECTORS, "selection method", SelectorSpec)
        if score is not None and not spec.led_by:
            raise OptionError(f"{spec.name} selects by no score: leave out score= (--score).")
        named = (score or usual or spec.score) if spec.led_by else ""
        if spec.led_by and not named:
            raise OptionError(f"{spec.name} selects by a score: name one, such as el2n, with score= (--score).")
        check_parameters(spec, params or {})
        choice = cls(spec, named, columns or {}, by_class, params or {})
        choice.requests()
        return choice

    @classmethod
    def read(cls, text: str) -> Choice:
        """The choice that a user writes, as SCORE+METHOD:PARAMETER=VALUE,…; score and parameters may be left out.

        Raises:
            OptionError: as in `of`.

        >>> Choice.read("el2n+top_k:prefer=hardest").scorers, Choice.read("ccs").scorers
        (['el2n'], ['aum'])
        """
        head, _, rest = text.partition(":")
        score, plus, name = head.rpartition("+")
        spec = find_spec(name, SELECTORS, "selection method", SelectorSpec)
        given: dict[str, str] = {}
        for part in filter(None, rest.split(",")):
            key, equals, value = part.partition("=")
            if not equals or not value or key in given:
                raise OptionError(
                    f"{text!r}: {part!r} is not PARAMETER=VALUE, each once: write {head}:PARAMETER=VALUE."
                )
            given[key] = value
        by_class = given.pop("by_class", None)
        if by_class not in (None, "true", "false"):
            raise OptionError(f"{text!r}: by_class is true or false.")
        params = {
            key: read_value(spec.fn, key, value) if key in spec.parameters else value for key, value in given.items()
        }
        within = None if by_class is None else by_class == "true"
        return cls.of(name, score=score if plus else None, by_class=within, params=params)

    @property
    def name(self) -> str:
        """Of the method."""
        return self.spec.name

    @property
    def columns_read(self) -> list[str]:
        """The scorers whose columns the method reads."""
        further = self.spec.reading(Column)  # one that is read as hardness is the score to select by
        own = [
            need.name for p, need in further.items() if not need.as_hardness | need.optional and p not in self.columns
        ]
        named = [self.score] * bool(self.score) + [*self.columns.values(), *own]
        return list(dict.fromkeys(column.partition(".")[0] for column in named))

    @property
    def scorers(self) -> list[str]:
        """What must be scored: those, and what records the vectors that the method reads."""
        vectors = ["prototypes"] * ("embeddings" in parameter_names(self.spec.fn))
        return list(dict.fromkeys(self.columns_read + vectors))

    @property
    def sees_two(self) -> bool:
        """Whether the scores compare two networks."""
        return any(sees_two_networks(need) for one in self.requests() for need in one.spec.needs)

    @property
    def other_vectors(self) -> str:
        """The parameter that takes vectors of other examples; empty if there is none."""
        return next(iter(self.spec.reading(FurtherVectors)), "")

    def requests(self) -> list[Request]:
        """Those of its scorers."""
        return make_requests(self.scorers) if self.scorers else []

    def select(self, scored: Scores | Path | None, k: int, source: Source, seed: int, vectors: Any = None) -> Selection:
        """Choose k examples.

        Args:
            scored: the scores; None if the method reads none.
            k: how many to keep.
            source: the data.
            seed: of every draw.
            vectors: of the same examples, for methods that read some; None = those of the run. Methods that compare
                contents get the inputs themselves.
        """
        table: Any = _without_scores(source) if scored is None else scored
        as_hardness = {p for p, need in self.spec.reading(Column).items() if need.as_hardness and not need.optional}
        led = {p: self.score for p in as_hardness - {self.spec.led_by} if self.score}  # whatever else was scored
        if self.spec.first == "texts":
            vectors = source.take(range(len(source))).flatten(1).numpy()
        method = self.name if self.name in SELECTORS else self.spec.fn
        return select(
            table, method, keep=k, score=self.score or None, columns={**led, **self.columns} or None,
            embeddings=vectors, by_class=self.by_class, seed=seed, **self.params,
        )  # fmt: skip

    def try_on(self, source: Source, sizes: Sequence[int]) -> None:
        """Refuse what `select` would refuse, before anything is scored: the method is called with made-up scores.

        What depends on the values of real scores, such as scores that are all equal, is refused only later.

        Args:
            source: the data; methods that compare contents get its inputs.
            sizes: the numbers of examples to keep, of which the smallest and the largest are tried.

        Raises:
            OptionError: a missing or wrong parameter or column, an impossible size, or inputs that the method cannot
                compare.
        """
        if self.params.get(self.other_vectors) is not None:
            return  # they go with vectors that are not there yet
        rng, n = generator(0, "made-up scores"), len(source)
        columns = {name: rng.random(n, dtype=np.float32) for name in self._columns_scored()}
        table = _without_scores(source, self._columns_scored())
        facts = {fact.name: [0.5] * len(source.class_names) for fact in self.spec.reading(Fact).values()}
        table = replace(table, columns=columns, meta={**table.meta, "facts": facts})
        vectors = rng.standard_normal((n, _WIDTH), dtype=np.float32)
        with silent():
            for k in sorted({min(sizes), max(sizes)}):
                self.select(table, k, source, 0, vectors if "embeddings" in parameter_names(self.spec.fn) else None)

    def _columns_scored(self) -> dict[str, dict[str, Any]]:
        """Column -> what a score table says of it, for all that its scorers give."""
        found = {}
        for request in self.requests():
            for suffix in _suffixes(request.spec):
                name = f"{request.column}.{suffix}" if suffix else request.column
                found[name] = {"scorer": request.scorer, "hardness": request.spec.sign(suffix)}
        return found


RANDOM = Choice.of("random")
"""The baseline."""


def _suffixes(spec: ScorerSpec) -> list[str]:
    """Those of the columns that a scorer gives."""
    own = [""] if isinstance(spec.hardness, int) else list(spec.hardness)
    return list(dict.fromkeys([*own, *spec.extras]))


def _without_scores(source: Source, columns: Mapping[str, Any] | None = None) -> Scores:
    """The table of a source, of whose columns only the descriptions are there."""
    about = {"data": source.identity(), "columns": dict(columns or {}), "class_names": list(source.class_names)}
    return Scores(np.asarray(source.index), {}, source.ids, source.labels, about)


def read_choices(given: str | Sequence[str | Choice] | Mapping[str, Choice]) -> dict[str, Choice]:
    """Name -> how to choose, from what a user gives: a list, or text with commas.

    Raises:
        OptionError: none, one that is given twice, or as in `Choice.read`.
    """
    if isinstance(given, Mapping):
        return dict(given)
    listed = _split(given) if isinstance(given, str) else list(given)
    found = {
        one if isinstance(one, str) else one.name: one if isinstance(one, Choice) else Choice.read(one)
        for one in listed
    }
    if not found or len(found) < len(listed):
        raise OptionError(
            f"methods={listed} (--methods): name at least one way to choose, each once, such as ccs or "
            "el2n+top_k:prefer=hardest; see datadiet ls selectors."
        )
    return found


def try_choices(choices: Mapping[str, Choice], source: Source, sizes: Sequence[int]) -> None:
    """Refuse choices that cannot be made, by name, before anything is scored.

    Raises:
        OptionError: as in `Choice.try_on`.
    """
    for name, choice in choices.items():
        try:
            choice.try_on(source, sizes)
        except OptionError as error:
            raise OptionError(f"{name}: {error}") from None


def _split(text: str) -> list[str]:
    """Choices separated by commas, which also separate parameters.

    >>> _split("random,el2n+top_k:prefer=hardest,by_class=true,ccs")
    ['random', 'el2n+top_k:prefer=hardest,by_class=true', 'ccs']
    """
    found: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if found and "=" in part and ":" not in part:
            found[-1] += f",{part}"
        else:
            found.append(part)
    return found
