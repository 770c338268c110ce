"""A way to choose examples, as users name it, and what must be scored for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data import Source
from datadiet.errors import OptionError
from datadiet.parameters import check_parameters, parameter_names, read_value
from datadiet.registry import find_spec
from datadiet.selectors import SELECTORS, SelectorSpec
from datadiet.selectors.spec import Column
from datadiet.table import Scores, Selection
from datadiet.workflow.scoring.requests import Request, make_requests, sees_two_networks
from datadiet.workflow.selecting.select import select

__all__ = ["RANDOM", "Choice", "read_choices"]


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
        table: Any = scored
        if scored is None:
            about = {"data": source.identity(), "columns": {}, "class_names": list(source.class_names)}
            table = Scores(np.asarray(source.index), {}, source.ids, source.labels, about)
        as_hardness = {p for p, need in self.spec.reading(Column).items() if need.as_hardness and not need.optional}
        led = {p: self.score for p in as_hardness - {self.spec.led_by} if self.score}  # whatever else was scored
        if self.spec.first == "texts":
            vectors = source.take(range(len(source))).flatten(1).numpy()
        method = self.name if self.name in SELECTORS else self.spec.fn
        return select(
            table, method, keep=k, score=self.score or None, columns={**led, **self.columns} or None,
            embeddings=vectors, by_class=self.by_class, seed=seed, **self.params,
        )  # fmt: skip


RANDOM = Choice.of("random")
"""The baseline."""


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
