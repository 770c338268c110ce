"""A choice of examples together with its reasons."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import ParamSpec

import numpy as np

__all__ = ["Explained", "without_reasons"]

P = ParamSpec("P")


@dataclass(frozen=True, eq=False)
class Explained:
    """Which k of n rows are kept, and why the others are not.

    Attributes:
        chosen: (k,) int64 positions, in rank order.
        weight: (k,) in the order of `chosen`, or None if all count the same.
        stratum: (n,) integers: the part of the data (interval of scores, cluster) each row belongs to, or None.
        witness: (n,) int64: for a row that is left out, the row because of which; -1 where there is none. None if the
            method has no such thing.
        similarity: (n,) float32: to the witness, NaN where there is none.
    """

    chosen: np.ndarray
    weight: np.ndarray | None = None
    stratum: np.ndarray | None = None
    witness: np.ndarray | None = None
    similarity: np.ndarray | None = None


def without_reasons(explain: Callable[P, Explained]) -> Callable[P, np.ndarray]:
    """A method that returns its choice alone, with the parameters and the docstring of the one that explains it.

    >>> only_first = without_reasons(lambda scores: Explained(np.array([0])))
    >>> only_first([3, 1, 2])
    array([0])
    """

    @wraps(explain)
    def choose(*args: P.args, **kwargs: P.kwargs) -> np.ndarray:
        return explain(*args, **kwargs).chosen

    choose.__annotations__ = {**explain.__annotations__, "return": np.ndarray}
    choose.__name__ = choose.__qualname__ = explain.__name__.removesuffix("_explained")
    choose.__signature__ = inspect.signature(explain).replace(return_annotation="np.ndarray")  # type: ignore[attr-defined]
    return choose
