"""Which examples a pruned network recovers on: what the user says, and what must be scored for it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from datadiet.data import Source
from datadiet.errors import OptionError
from datadiet.parameters import check_parameters, parameter_names
from datadiet.registry import find_spec
from datadiet.selectors import SELECTORS, SelectorSpec
from datadiet.selectors.budget import parse_keep
from datadiet.selectors.spec import Column
from datadiet.table import Scores, Selection
from datadiet.workflow.scoring.requests import check_compared, make_requests, refuse_presentations, sees_two_networks
from datadiet.workflow.selecting.select import select

__all__ = ["RecoveryData"]

_DEFAULT = "divergence"  # between the dense and the pruned network


@dataclass(frozen=True)
class RecoveryData:
    """How to choose the examples.

    Attributes:
        spec: of the method.
        keep: how many, as in `select`.
        score: the column to select by; None = the divergence, if the method selects by a score.
        columns: parameter -> column, as in `select`.
        by_class: as in `select`.
        params: of the method.
    """

    spec: SelectorSpec
    keep: int | float | str
    score: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    by_class: bool | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, method: str | Callable[..., Any], keep: int | float | str, **more: Any) -> RecoveryData:
        """The choice that a user asks for, checked as far as that is possible without data.

        Raises:
            OptionError: an unknown method, parameter or score, an impossible share, or a score that compares with
                reference data.
            MissingSignal: a score that reads a training.
        """
        spec = find_spec(method, SELECTORS, "selection method", SelectorSpec)
        choice = cls(spec, keep, **more)
        check_parameters(spec, choice.params)
        parse_keep(keep, sys.maxsize)
        if spec.first == "texts":
            raise OptionError(f"{spec.name} compares texts: choose another method= (--method), such as paser.")
        if choice.score is not None and not spec.led_by:
            raise OptionError(f"{spec.name} selects by no score: leave out score= (--score).")
        requests = make_requests(choice.scorers) if choice.scorers else []
        check_compared(requests, None, "the pruned network" if choice.sees_both else None, None)
        refuse_presentations(requests)
        return choice

    @property
    def name(self) -> str:
        """Of the method."""
        return self.spec.name

    @property
    def scorers(self) -> list[str]:
        """What must be scored: the columns that the method reads, and what records its vectors."""
        further = self.spec.reading(Column)  # one that is read as hardness may be the score to select by
        own = [
            need.name for p, need in further.items() if not need.as_hardness | need.optional and p not in self.columns
        ]
        named = [self.score or _DEFAULT] * bool(self.spec.led_by) + [*self.columns.values(), *own]
        vectors = ["prototypes"] * ("embeddings" in parameter_names(self.spec.fn))
        return list(dict.fromkeys([column.partition(".")[0] for column in named] + vectors))

    @property
    def sees_both(self) -> bool:
        """Whether the scores compare the dense with the pruned network."""
        return any(sees_two_networks(need) for one in make_requests(self.scorers or "loss") for need in one.spec.needs)

    def random(self) -> RecoveryData:
        """As many examples, drawn at random."""
        return replace(self, spec=SELECTORS["random"], score=None, columns={}, by_class=None, params={})

    def count(self, n: int) -> int:
        """How many of n examples are kept."""
        return parse_keep(self.keep, n)

    def select(self, scored: Path | None, source: Source, seed: int) -> Selection:
        """Choose.

        Args:
            scored: the run that holds the scores; None if the method reads none.
            source: the data.
            seed: of every draw.
        """
        table: Any = scored
        if scored is None:
            about = {"data": source.identity(), "columns": {}, "class_names": list(source.class_names)}
            table = Scores(np.asarray(source.index), {}, source.ids, source.labels, about)
        method = self.name if self.name in SELECTORS else self.spec.fn
        score = (self.score or _DEFAULT) if self.spec.led_by else None
        return select(
            table, method, keep=self.count(len(source)), score=score, columns=self.columns or None,
            by_class=self.by_class, seed=seed, **self.params,
        )  # fmt: skip
