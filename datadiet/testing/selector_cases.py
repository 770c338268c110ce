"""A selector with parameters, and made-up examples to select from: scores, labels, vectors or texts."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from datadiet.parameters import default_of
from datadiet.randomness import Keys, generator
from datadiet.selectors.explained import Explained
from datadiet.selectors.spec import Column, Fact, FurtherVectors, SelectorSpec
from datadiet.testing.laws import Case

__all__ = ["CLASSES", "SelectorInput", "SelectorCase", "filled_by_the_check"]

CLASSES = 4
_WIDTH = 6
_WORDS = "the cat sat on a warm red mat while nine old dogs ran far from every quiet house near some tall green hill"
_FACTS = {"class_recall": [0.6, 0.5, 0.7, 0.8]}  # what a run may know


@dataclass(frozen=True, eq=False)
class SelectorInput:
    """The examples to select from.

    Attributes:
        n: how many there are.
        first: the first argument of the selector.
        columns: further arguments with one number per example.
        fixed: further arguments that do not depend on the examples.
    """

    n: int
    first: Any
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def of_rows(self, rows: np.ndarray) -> SelectorInput:
        """Some of the examples, or all in another order."""
        columns = {name: values[rows] for name, values in self.columns.items()}
        first = self.first
        if isinstance(first, list):
            first = [first[row] for row in rows.tolist()]
        elif not isinstance(first, int):
            first = first[rows]
        return SelectorInput(len(rows), first, columns, self.fixed)

    def with_first(self, first: Any) -> SelectorInput:
        """The same input with another first argument."""
        return replace(self, first=first)


class SelectorCase(Case):
    """A selector with parameters."""

    spec: SelectorSpec

    @property
    def n(self) -> int:
        """How many examples a pool has."""
        return {"embeddings": 90, "texts": 60}.get(self.spec.first, 120)

    @property
    def fewest(self) -> int:
        """The smallest number that may be kept: for texts, one of every group of copies."""
        return self.n // 3 if self.spec.first == "texts" else 1

    @property
    def some(self) -> int:
        """How many examples are usually kept."""
        return self.n // 3 + 5

    def pool(self, n: int | None = None, decimals: int = 8) -> SelectorInput:
        """Distinct scores, classes stored one after another, groups of vectors, or texts with two copies of each.

        Args:
            n: how many examples.
            decimals: how many decimals the scores are rounded to.
        """
        n = self.n if n is None else n
        rng = generator(0, "datadiet.testing", "pool")
        scores, further = rng.uniform(0, 1, n), rng.uniform(0, 1, n)
        first: dict[str, Any] = {
            "hardness": np.round(scores, decimals),
            "labels": np.arange(n) * CLASSES // n,
            "n": n,
            "embeddings": _bunches(n),
            "texts": [_text(row // 3) for row in range(n)],
        }
        columns = {name: further for name, column in self.spec.reading(Column).items() if not column.optional}
        fixed: dict[str, Any] = _known_facts(self.spec)
        for name in self.spec.reading(FurtherVectors):
            if default_of(self.spec.fn, name) is inspect.Parameter.empty:
                fixed[name] = _bunches(20, seed=5)
        fixed = {name: value for name, value in fixed.items() if name not in self.params}
        return SelectorInput(n, first[self.spec.first], columns, fixed)

    def alike(self, n: int | None = None) -> SelectorInput:
        """Examples that are all equally good."""
        pool = self.pool(n)
        columns = {name: np.full(pool.n, 0.5) for name in pool.columns}
        first: dict[str, Any] = {
            "hardness": np.full(pool.n, 0.5),
            "embeddings": np.tile(_bunches(1), (pool.n, 1)),
            "texts": [_text(0)] * pool.n,
        }
        return SelectorInput(pool.n, first.get(self.spec.first, pool.first), columns, pool.fixed)

    def call(self, pool: SelectorInput, k: int, **draws: Any) -> Any:
        """What the selector returns; it gets keys or rng if it takes them."""
        taken = {name: value for name, value in draws.items() if self.takes(name)}
        if not taken and self.takes("keys") and default_of(self.spec.fn, "keys") is inspect.Parameter.empty:
            taken["keys"] = self.keys(0, pool.n)
        return self.spec.fn(pool.first, k, **pool.columns, **pool.fixed, **self.params, **taken)

    def choose(self, pool: SelectorInput, k: int, **draws: Any) -> np.ndarray:
        """The positions that the selector returns, in its order."""
        found = self.call(pool, k, **draws)
        if isinstance(found, Explained):
            found = found.chosen
        return np.asarray(found[0] if isinstance(found, tuple) else found)

    def keys(self, seed: int, n: int | None = None, index: np.ndarray | None = None) -> Keys:
        """The keys of n examples, by their positions in the source."""
        return Keys(seed, "datadiet.testing", self.n if n is None else n, index)


def filled_by_the_check(spec: SelectorSpec) -> set[str]:
    """The parameters that a pool provides."""
    return {*_known_facts(spec), *spec.reading(FurtherVectors)}


def _known_facts(spec: SelectorSpec) -> dict[str, Any]:
    return {name: _FACTS[fact.name] for name, fact in spec.reading(Fact).items() if fact.name in _FACTS}


def _bunches(n: int, seed: int = 0) -> np.ndarray:
    """Five groups away from the origin, in float16 numbers, so that float32 products are the same for any storage."""
    rng = generator(seed, "datadiet.testing", "bunches")
    bunch = rng.normal(0, 2, (5, _WIDTH))[np.arange(n) % 5]
    return (bunch + rng.normal(0, 0.5, (n, _WIDTH))).astype(np.float16).astype(np.float32)


def _text(number: int) -> str:
    """A text of twelve words, which shares few sequences of words with the texts of other numbers."""
    return " ".join(generator(number, "datadiet.testing", "text").permutation(_WORDS.split())[:12].tolist())
