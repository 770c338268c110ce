"""Shares of examples and of epochs in whole numbers, exact for decimals: 0.07 * 100 is 7, not 7.000000000000001."""

from __future__ import annotations

import math
from fractions import Fraction

from datadiet.errors import OptionError

__all__ = ["as_fraction", "check_share", "count_of", "epochs_before"]


def as_fraction(share: float | Fraction) -> Fraction:
    """The decimal that a float is written as."""
    return share if isinstance(share, Fraction) else Fraction(repr(float(share)))


def count_of(share: float | Fraction, n: int) -> int:
    """How many of n a share is, rounded half up.

    >>> count_of(0.5, 5), count_of(0.1, 5), count_of(1 - as_fraction(0.9), 5), count_of(1 - 0.9, 5)
    (3, 1, 1, 0)
    """
    return math.floor(as_fraction(share) * n + Fraction(1, 2))


def epochs_before(share: float, epochs: int) -> int:
    """How many epochs begin before this share of a training is done: the first other one has this number, from 0.

    >>> epochs_before(0.875, 8), epochs_before(0.875, 30), epochs_before(0.07, 100)
    (7, 27, 7)
    """
    return math.ceil(as_fraction(share) * epochs)


def check_share(name: str, value: float, *, zero: bool = True, one: bool = True) -> float:
    """The value as a float.

    Args:
        name: of the parameter.
        value: what was given.
        zero, one: whether 0 and 1 are allowed.

    Raises:
        OptionError: it is not from 0 to 1.
    """
    if 0 < value < 1 or (zero and value == 0) or (one and value == 1):
        return float(value)
    ends = f"{'from' if zero else 'above'} 0 {'to' if one else 'and below'} 1"
    raise OptionError(f"{name}={value!r}: give a share {ends}.")
