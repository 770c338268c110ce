"""What scorers of vectors share: arrays checked once, read in blocks of rows, and one solver.

Every function gives float64, whatever was stored, and refuses what is not finite. A folder of projected gradients may
be a float16 memory map of many gigabytes: `row_blocks` reads it piece by piece.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from datadiet.errors import OptionError

__all__ = ["all_finite", "as_models", "class_numbers", "finite", "mean_row", "row_blocks", "solver"]

_ROWS = 4096


def finite(name: str, values: np.ndarray, axes: str) -> np.ndarray:
    """The array as float64.

    Args:
        name: what the error calls it.
        values: any numeric array.
        axes: the names of its axes, as in "n d".

    Raises:
        OptionError: another number of axes, an empty axis, NaN or infinity.
    """
    array = np.asarray(values)
    if array.ndim != len(axes.split()) or 0 in array.shape:
        raise OptionError(f"{name} has shape {array.shape}: give ({', '.join(axes.split())}), no axis of length 0.")
    return all_finite(name, array.astype(np.float64, copy=False))


def all_finite(name: str, array: np.ndarray) -> np.ndarray:
    """The same array, or an OptionError where it has NaN or infinite entries."""
    if not np.isfinite(array).all():
        raise OptionError(
            f"{name} has {int((~np.isfinite(array)).sum())} NaN or infinite entries: record it again, or leave the "
            "examples concerned out."
        )
    return array


def class_numbers(name: str, labels: np.ndarray, n: int, classes: int | None = None) -> np.ndarray:
    """The labels as int64 (n,).

    Raises:
        OptionError: another shape, not integers, below 0, or not below `classes`.
    """
    array = np.asarray(labels)
    if array.shape != (n,) or array.dtype.kind not in "iub":
        raise OptionError(
            f"{name} has shape {array.shape} and dtype {array.dtype}: give one class number, an integer, for each of "
            f"the {n} examples."
        )
    low, high = (int(array.min()), int(array.max())) if n else (0, 0)
    if low < 0 or (classes is not None and high >= classes):
        allowed = "from 0" if classes is None else f"from 0 to {classes - 1}"
        raise OptionError(f"{name} has class numbers from {low} to {high}: number the classes {allowed}.")
    return array.astype(np.int64, copy=False)


def as_models(name: str, values: np.ndarray, axes: str) -> np.ndarray:
    """The array with a first axis over models, added for a single one; nothing is copied or read.

    Raises:
        OptionError: neither `axes` nor (models, *axes), or an empty axis.
    """
    array = np.asanyarray(values)
    wanted = len(axes.split())
    array = array[None] if array.ndim == wanted else array
    if array.ndim != wanted + 1 or 0 in array.shape:
        shape = ", ".join(axes.split())
        raise OptionError(
            f"{name} has shape {np.shape(values)}: give (models, {shape}) or ({shape}), no axis of length 0."
        )
    return array


def row_blocks(name: str, matrix: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Consecutive rows of a matrix as float64, with their positions; NaN and infinity are refused."""
    for start in range(0, len(matrix), _ROWS):
        rows = slice(start, start + _ROWS)
        yield rows, all_finite(name, np.asarray(matrix[rows], dtype=np.float64))


def mean_row(name: str, matrix: np.ndarray) -> np.ndarray:
    """The mean over the rows of a matrix, float64."""
    return sum(part.sum(axis=0) for _, part in row_blocks(name, matrix)) / len(matrix)


def solver(matrix: np.ndarray, advice: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function b -> matrix^-1 b of a symmetric positive definite matrix.

    Raises:
        OptionError: not positive definite; `advice` says what to do.
    """
    try:
        np.linalg.cholesky(matrix)  # which tells; numpy has no solver that would use the factor
    except np.linalg.LinAlgError as error:
        size = f"{len(matrix)} x {len(matrix)}"
        raise OptionError(f"a {size} matrix to be inverted is not positive definite: {advice}.") from error
    return lambda right: np.asarray(np.linalg.solve(matrix, right))
