"""The door for arrays: what a caller gives as an array of real numbers, or one sentence that says why it is not one.

Accepted: numpy arrays of every width, byte order and layout, nested lists, torch tensors on any device (bfloat16 and
those that require a gradient too), columns of pandas and Arrow. Refused: whatever would lose something on the way, such
as masked entries and imaginary parts; text and objects; NaN and infinity, except where a method gives them a meaning.

Cost: the smallest and the largest entry say whether all are finite and in range, so a check reads the array twice and
makes no other.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from datadiet.errors import DataError, OptionError, first_line
from datadiet.randomness import blocks

__all__ = [
    "ANY",
    "Range",
    "as_array",
    "check_range",
    "class_numbers",
    "in_numpy",
    "is_sparse",
    "natural_numbers",
    "numbers",
    "refuse_sparse",
]

_LARGEST = float(np.finfo(np.float32).max)
_WHOLE = 2.0**53  # above it, not every whole number is a float64

_Error = type[OptionError] | type[DataError]


class Range(NamedTuple):
    """What the entries of an array may be; the bounds are included.

    Attributes:
        low: the smallest.
        high: the largest.
        binary: whether only 0 and 1 are allowed.
        rounding: by how much an entry may pass a bound.
    """

    low: float = -_LARGEST
    high: float = _LARGEST
    binary: bool = False
    rounding: float = 2.0**-20  # eight units in the last place of float32 at 1

    def holds(self, array: np.ndarray) -> bool:
        """Whether all entries are in the range, and none is NaN."""
        if not array.size or (array.dtype == bool and self.low <= 0 and self.high >= 1):
            return True
        if self.binary:
            flat = array.reshape(-1)
            return all(((part == 0) | (part == 1)).all() for part in (flat[span] for span in blocks(array.size)))
        smallest, largest = float(array.min()), float(array.max())  # both NaN if any entry is
        return self.low - self.rounding <= smallest and largest <= self.high + self.rounding

    def __str__(self) -> str:
        if self.binary:
            return "booleans, or numbers that are exactly 0 or 1"
        if np.isinf(self.high):
            return f"numbers of at least {self.low:g}"
        return f"numbers from {self.low:.5g} to {self.high:.5g}"


ANY = Range()


def in_numpy(values: Any, name: str = "the array", error: _Error = OptionError) -> Any:
    """Values with a numpy shape and dtype, such as a memory map, as they are; lists and torch tensors as arrays.

    Raises:
        OptionError: masked entries, or values that numpy cannot read; or `error` instead.
    """
    try:
        if hasattr(values, "detach"):
            return _from_torch(values)
        refuse_sparse(values, name, error)
        if isinstance(values, (list, tuple)) and _holds_arrays(values):
            values = [in_numpy(one, name, error) for one in values]
        known = hasattr(values, "shape") and isinstance(getattr(values, "dtype", None), np.dtype)
        array = values if known else np.asarray(values)
        hidden = int(np.ma.getmaskarray(array).sum()) if isinstance(array, np.ma.MaskedArray) else 0
    except (OptionError, DataError):
        raise
    except (TypeError, ValueError, RuntimeError, OverflowError) as reason:
        raise error(
            f"{name}, a {type(values).__name__}, cannot be read as an array ({first_line(reason)}): give an array of "
            "numbers."
        ) from reason
    if hidden:
        raise error(f"{name} has {hidden} masked entries: fill them in, or leave those examples out.")
    plain = isinstance(array, np.ndarray) and not isinstance(array, np.memmap)
    return np.asarray(array) if plain else array  # no np.matrix and no masked array


def is_sparse(values: Any) -> bool:
    """Whether this is a sparse matrix or array of scipy."""
    return hasattr(values, "toarray") and hasattr(values, "nnz")


def refuse_sparse(values: Any, name: str, error: _Error = OptionError) -> None:
    """Raise `error` for a sparse matrix of scipy."""
    if is_sparse(values):
        raise error(f"{name} is sparse, a {type(values).__name__}: give X.toarray(), an ordinary array.")


def as_array(name: str, values: Any, axes: str, error: _Error = OptionError) -> np.ndarray:
    """A numpy array of real numbers in the processor's byte order, with the right axes; its entries are not read.

    Args:
        name: what the error calls it.
        values: anything that `in_numpy` reads.
        axes: the names of its axes, as in "models n k"; alternatives as in "seeds n | n". An axis marked as in "n*" may
            be empty; "..." stands for any further axes.
        error: what to raise.

    Returns:
        The array itself if it can be used as it is; otherwise a copy, in float64 if it was wider.

    Raises:
        OptionError: something other than real numbers, or the wrong shape.

    >>> as_array("loss", [[1, 2]], "seeds n | n").shape
    (1, 2)
    """
    array = np.asarray(in_numpy(values, name, error))
    if array.dtype.kind not in "biuf":
        raise error(f"{name} has the type {array.dtype} and shape {array.shape}: give real numbers, {_shapes(axes)}.")
    if not any(_fits(array.shape, one.split()) for one in axes.split("|")):
        raise error(f"{name} has shape {array.shape}: give {_shapes(axes)}.")
    if array.dtype.itemsize > 8:
        with np.errstate(over="ignore"):  # infinite is out of range
            return array.astype(np.float64)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def numbers(name: str, values: Any, axes: str, *, low: float = ANY.low, high: float = ANY.high) -> np.ndarray:
    """An array of finite numbers, of the dtype that it has (float64 if it was wider).

    Args:
        name, values, axes: as for `as_array`.
        low, high: what the entries may be, apart from rounding.

    Raises:
        OptionError: something other than real numbers, the wrong shape, NaN or infinity, or an entry out of range.

    >>> numbers("p_true", [0.5, 1], "n", low=0, high=1).tolist()
    [0.5, 1.0]
    """
    array = as_array(name, values, axes)
    check_range(name, array, Range(low, high))
    return array


def check_range(
    name: str, array: np.ndarray, allowed: Range = ANY, seen: np.ndarray | None = None, at: tuple[int, ...] = ()
) -> None:
    """Refuse NaN, infinity and entries out of range.

    Args:
        name: what the error calls the array.
        array: real numbers.
        allowed: their range.
        seen: of the same shape, False for entries that do not count; None = all count.
        at: where the array begins in the one that it is a part of.

    Raises:
        OptionError: it names the first NaN.
    """
    if allowed.holds(array):
        return
    counts = np.ones(array.shape, dtype=bool) if seen is None else seen
    lost = counts & ~np.isfinite(array)
    if lost.any():
        first = np.argwhere(lost)[0] + [*at, *[0] * (array.ndim - len(at))]
        raise OptionError(
            f"{name} has {int(lost.sum())} NaN or infinite entries, the first at position "
            f"{', '.join(map(str, first.tolist()))}: record it again, or leave those examples out."
        )
    inside = array[counts]
    if not allowed.holds(inside):
        raise OptionError(f"{name} goes from {inside.min():.7g} to {inside.max():.7g}: give {allowed}.")


def natural_numbers(name: str, values: Any, axes: str) -> np.ndarray:
    """An array of whole numbers of at least 0 as int64.

    Raises:
        OptionError: something other than whole numbers, the wrong shape, a number below 0, or one of 2^63 or more.

    >>> natural_numbers("labels", [2.0, 0.0], "n").tolist()
    [2, 0]
    """
    array = as_array(name, values, axes)
    if array.dtype.kind == "f" and not (Range(-_WHOLE, _WHOLE).holds(array) and (array == np.rint(array)).all()):
        raise OptionError(f"{name} has entries that are not whole numbers: give class numbers 0, 1, 2 …")
    low, high = (int(array.min()), int(array.max())) if array.size else (0, 0)
    if low < 0 or high >= 2**63:
        raise OptionError(f"{name} has class numbers from {low} to {high}: number the classes from 0.")
    return array.astype(np.int64, copy=False)


def class_numbers(name: str, labels: Any, n: int, classes: int | None = None) -> np.ndarray:
    """The labels of n examples as int64 (n,). They may be huge: count them with `np.unique`, not `np.bincount`.

    Raises:
        OptionError: the wrong shape, or labels that are not whole numbers, below 0 or not below `classes`.
    """
    array = np.asarray(in_numpy(labels, name))
    if array.shape != (n,):
        raise OptionError(f"{name} has shape {array.shape}: give one class number for each of the {n} examples.")
    array = natural_numbers(name, array, "n*")
    if classes is not None and n and array.max() >= classes:
        raise OptionError(
            f"{name} has class numbers from {array.min()} to {array.max()}: number the classes from 0 to {classes - 1}."
        )
    return array


def _from_torch(tensor: Any) -> np.ndarray:
    tensor = tensor.detach().cpu()
    name = str(tensor.dtype)
    found: np.ndarray = (tensor.float() if "bfloat16" in name or "float8" in name else tensor).numpy()
    return found


def _holds_arrays(values: list[Any] | tuple[Any, ...]) -> bool:
    """Whether a list holds tensors or masked arrays, of which numpy refuses some and drops the masks of others."""
    kinds = set(map(type, values))
    if any(hasattr(kind, "detach") or issubclass(kind, np.ma.MaskedArray) for kind in kinds):
        return True
    lists = any(issubclass(kind, (list, tuple)) for kind in kinds)
    return lists and any(_holds_arrays(one) for one in values if isinstance(one, (list, tuple)))


def _fits(shape: tuple[int, ...], axes: list[str]) -> bool:
    more = "..." in axes
    axes = [axis for axis in axes if axis != "..."]
    sizes = zip(shape, axes, strict=False)
    right = len(shape) >= len(axes) if more else len(shape) == len(axes)
    return right and all(size or axis.endswith("*") for size, axis in sizes) and 0 not in shape[len(axes) :]


def _shapes(axes: str) -> str:
    """The allowed shapes in words: "(seeds, n) or (n), with at least one seed"."""
    shapes = [one.split() for one in axes.split("|")]
    said = " or ".join(f"({', '.join(one)}{',' * (len(one) == 1)})" for one in shapes).replace("*", "")
    if "*" not in axes:
        return f"{said}, with no empty axis"
    full = dict.fromkeys(axis.removesuffix("s") for one in shapes for axis in one if "*" not in axis and axis != "...")
    return f"{said}, with at least one {' and '.join(full)}" if full else said
