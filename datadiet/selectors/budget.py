"""How many examples to keep: parsing a budget, and sharing it out in whole numbers.

`allocate` is the only integer allocator of the package: strata (CCS), classes (by_class, class_quota, stratified
RS2) and clusters all share their budget through it. Sharing out is the Euclidean projection of the target amounts
onto {x : sum x = k, lower <= x <= upper}, x = clip(target - shift, lower, upper), followed by the method of largest
remainders. With equal targets the projection is water-filling: every part gives the same, except those that have less
to give.
"""

from __future__ import annotations

import numbers
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

import numpy as np

from datadiet.errors import OptionError

__all__ = ["allocate", "in_proportion", "parse_keep", "parse_prune", "project"]


def parse_keep(keep: int | float | str, n: int) -> int:
    """The number of examples to keep out of n.

    Args:
        keep: an int is a count; a float in (0, 1] or a string such as "30%" or "0.3" is a fraction of n, rounded half
            up; "n=500" is a count, and so is a bare "500", but a bare "30" is refused, since it could mean 30 %.
        n: number of examples, at least 1.

    Returns:
        k with 1 <= k <= n.

    Raises:
        OptionError: keep is not of these forms, or k would be 0 or more than n.

    >>> parse_keep(0.3, 15), parse_keep("30%", 15), parse_keep(7, 15), parse_keep("n=7", 15)
    (5, 5, 7, 7)
    """
    if isinstance(keep, str):
        return _parse_text(keep.strip(), n)
    if isinstance(keep, numbers.Integral) and not isinstance(keep, bool):
        return _check_size(int(keep), n, keep)
    if isinstance(keep, numbers.Real) and not isinstance(keep, bool):
        return _of_fraction(Decimal(repr(float(keep))), n, keep)
    raise OptionError(f"keep={keep!r} is not a budget: give a fraction (0.3), a count (500) or a string such as '30%'.")


def parse_prune(prune: str) -> str:
    """The keep fraction that `--prune 70%` stands for, as a string for `parse_keep`.

    >>> parse_prune("70%")
    '30%'
    """
    text = prune.strip()
    try:
        percent = Decimal(text[:-1]) if text.endswith("%") else Decimal(text) * 100
    except InvalidOperation:
        percent = Decimal(-1)
    if not percent.is_finite() or not 0 <= percent < 100 or (not text.endswith("%") and percent >= 100):
        raise OptionError(
            f"prune={prune!r} is not a share to remove: write --prune 70% (or 0.7), or keep a count with --keep n=500."
        )
    return f"{(100 - percent).normalize():f}%"


def _parse_text(text: str, n: int) -> int:
    if text.startswith("n=") and text[2:].isdigit():
        return _check_size(int(text[2:]), n, text)
    try:
        number = Decimal(text.removesuffix("%"))
    except InvalidOperation:
        raise OptionError(f"keep={text!r} is not a budget: write 30%, 0.3 or n=500.") from None
    if text.endswith("%"):
        return _of_fraction(number / 100, n, text)
    if not text.isdigit():
        return _of_fraction(number, n, text)
    if 1 <= number <= 100:
        raise OptionError(f"keep={text!r} could be a percentage or a count: write {text}% or n={text}.")
    return _check_size(int(number), n, text)


def _of_fraction(fraction: Decimal, n: int, given: object) -> int:
    if not fraction.is_finite() or not 0 < fraction <= 1:
        raise OptionError(f"keep={given!r} is not a fraction in (0, 1]: write 30%, 0.3 or n=500.")
    return _check_size(int((fraction * n).to_integral_value(ROUND_HALF_UP)), n, given)


def _check_size(k: int, n: int, given: object) -> int:
    if n < 1:
        raise OptionError(f"keep={given!r} of no examples: give scores or vectors of at least one.")
    if not 1 <= k <= n:
        raise OptionError(f"keep={given!r} asks for {k} of {n} examples: keep between 1 and {n}.")
    return k


def project(target: np.ndarray, total: float, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """The point of {x : sum x = total, lower <= x <= upper} that is nearest to target (Euclidean).

    The optimum is clip(target - shift, lower, upper) for one shift. Its sum falls piecewise linearly with the shift,
    with a kink wherever an entry reaches a bound, so sorting the 2m kinks finds the shift exactly, in O(m log m).

    Args:
        target, lower, upper: (m,) float64 with lower <= upper.
        total: between sum(lower) and sum(upper).

    Returns:
        (m,) float64.
    """
    kinks = np.concatenate([target - upper, target - lower])
    order = np.argsort(kinks, kind="stable")
    kinks = kinks[order]
    free = np.cumsum(np.where(order < len(target), 1, -1))
    sums = upper.sum() - np.concatenate([[0.0], np.cumsum(free[:-1] * np.diff(kinks))])
    total = min(max(total, lower.sum()), upper.sum())  # rounding may have moved it past a bound
    at = int(np.searchsorted(-sums, -total, side="right")) - 1
    shift = kinks[at] + (sums[at] - total) / free[at] if free[at] else kinks[at]
    found = np.clip(target - shift, lower, upper)
    inside = np.count_nonzero((found > lower) & (found < upper))
    # Running sums of many kinks round; the entries strictly between their bounds share the difference.
    return np.clip(target - (shift + (found.sum() - total) / inside), lower, upper) if inside else found


def in_proportion(weight: np.ndarray, total: float, upper: np.ndarray) -> np.ndarray:
    """Amounts min(upper, scale * weight) that sum to total, or all of upper where weight > 0 if that is not enough.

    Args:
        weight: (m,) at least 0.
        total: what to share out.
        upper: (m,) the most that each can give.

    >>> in_proportion(np.array([1.0, 1.0, 2.0]), 8, np.array([1, 9, 9])).round(3).tolist()
    [1.0, 2.333, 4.667]
    """
    amount = np.where(weight > 0, upper, 0).astype(np.float64)
    order = np.argsort(np.where(weight > 0, upper / np.where(weight > 0, weight, 1), np.inf), kind="stable")
    # With the first i of this order full, the others get scale_i * weight; the first i where none overflows is right.
    full = np.concatenate([[0.0], np.cumsum(amount[order])[:-1]])
    rest = np.cumsum(weight[order][::-1])[::-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        scale = (total - full) / rest
        fits = scale * weight[order] <= amount[order]
    if not fits[rest > 0].any():
        return amount
    return np.minimum(amount, weight * scale[int(fits.argmax())])


def allocate(
    target: np.ndarray, k: int, *, lower: np.ndarray | int = 0, upper: np.ndarray | int | None = None
) -> np.ndarray:
    """Share k out in whole numbers, as near to target as the bounds allow.

    Args:
        target: (m,) real, the desired amounts; they need not sum to k.
        k: the total to share out.
        lower: (m,) or scalar integer, the least that each may get.
        upper: (m,) or scalar integer, the most that each can give; None means k.

    Returns:
        (m,) int64 with sum k, lower <= x <= upper. Equal remainders go to the larger upper bound, then to the later
        entry.

    Raises:
        OptionError: k is less than the sum of lower or more than the sum of upper.

    >>> allocate(np.ones(3), 11, upper=np.array([2, 5, 9])).tolist()
    [2, 4, 5]
    """
    target = np.asarray(target, dtype=np.float64)
    low = np.broadcast_to(np.asarray(lower, dtype=np.int64), target.shape)
    high = np.broadcast_to(np.asarray(k if upper is None else upper, dtype=np.int64), target.shape)
    if (low > high).any() or not low.sum() <= k <= high.sum():
        raise OptionError(
            f"{k} cannot be shared out over {len(target)} parts that take between {low.sum()} and {high.sum()} in all: "
            "share out a number in that range."
        )
    if not len(target):
        return np.zeros(0, dtype=np.int64)
    real = project(target, float(k), low.astype(np.float64), high.astype(np.float64))
    whole = np.clip(np.floor(real).astype(np.int64), low, high)
    rest = k - int(whole.sum())
    order = np.lexsort((np.arange(len(target)), high, real - whole))
    room = order[whole[order] < high[order]]
    whole[room[len(room) - rest :]] += 1
    return whole
