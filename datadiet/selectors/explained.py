"""A choice of examples together with its reasons."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Literal, ParamSpec, Protocol, cast

import numpy as np

from datadiet.parameters import checked

__all__ = ["Explained", "ExplainedSelector", "explained"]

P = ParamSpec("P")


@dataclass(frozen=True, eq=False)
class Explained:
    """Which k of n rows are kept, and why the others are not.

    Attributes:
        chosen: (k,) int64 positions, in rank order.
        weight: (k,) in the order of `chosen`, or None if all count the same.
        stratum: (n,) integers: the part of the data (interval of scores, cluster) each row belongs to, or None.
        witness: (n,) int64: for a row that is left out, the row that it is too similar to; -1 where there is none. None
            if the method has no witnesses.
        similarity: (n,) float32: to the witness, NaN where there is none.
        witness_in: which rows the witnesses are: of the data, or of the reference.
    """

    chosen: np.ndarray
    weight: np.ndarray | None = None
    stratum: np.ndarray | None = None
    witness: np.ndarray | None = None
    similarity: np.ndarray | None = None
    witness_in: Literal["data", "reference"] = "data"


class ExplainedSelector(Protocol[P]):
    """A selector: called, it returns positions; `explain` takes the same arguments and gives the reasons too."""

    explain: Callable[P, Explained]

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> np.ndarray:
        """The positions that are kept, (k,) int64 in rank order."""
        ...


def explained(explain: Callable[P, Explained]) -> ExplainedSelector[P]:
    """Decorate a function that returns `Explained`: called, it gives `chosen` alone; `.explain` gives everything.

    >>> @explained
    ... def only_first(scores):
    ...     return Explained(np.array([0]), stratum=np.zeros(len(scores)))
    >>> only_first([3, 1, 2]).tolist(), only_first.explain([3, 1, 2]).stratum.tolist()
    ([0], [0.0, 0.0, 0.0])
    """

    explain = checked(explain)

    @wraps(explain)
    def choose(*args: P.args, **kwargs: P.kwargs) -> np.ndarray:
        return explain(*args, **kwargs).chosen

    choose.__annotations__ = {**explain.__annotations__, "return": np.ndarray}
    choose.__signature__ = inspect.signature(explain).replace(return_annotation="np.ndarray")  # type: ignore[attr-defined]
    choose.explain = explain  # type: ignore[attr-defined]
    return cast(ExplainedSelector[P], choose)
