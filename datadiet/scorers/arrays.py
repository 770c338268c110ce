"""What scorers of vectors share: arrays checked once, read in blocks of rows, and one solver.

Numbers are read as float64, whatever dtype they are stored in, and NaN and infinity are refused. A folder of projected
gradients may be a float16 memory map of many gigabytes: `row_blocks` reads it piece by piece.
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
        OptionError: the wrong number of axes, an empty axis, NaN or infinity.
    """
    array = np.asarray(values)
    if array.ndim != len(axes.split()) or 0 in array.shape:
        raise OptionError(f"{name} has shape {array.shape}: give ({', '.join(axes.split())}), with no empty axis.")
    return all_finite(name, array.astype(np.float64, copy=False))


def all_finite(name: str, array: np.ndarray) -> np.ndarray:
    """The same array, or an OptionError where it has NaN or infinite entries."""
    if not np.isfinite(array).all():
        raise OptionError(
            f"{name} has {int((~np.isfinite(array)).sum())} NaN or infinite entries: record it again, or leave "
            "those examples out."
        )
    return array


def class_numbers(name: str, labels: np.ndarray, n: int, classes: int | None = None) -> np.ndarray:
    """The labels as int64 (n,).

    Raises:
        OptionError: the wrong shape, or labels that are not integers, below 0 or not below `classes`.
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
    """The array with a leading axis over models, added if there is only one; nothing is copied or read.

    Raises:
        OptionError: a shape that is neither `axes` nor (models, *axes), or an empty axis.
    """
    array = np.asanyarray(values)
    wanted = len(axes.split())
    array = array[None] if array.ndim == wanted else array
    if array.ndim != wanted + 1 or 0 in array.shape:
        shape = ", ".join(axes.split())
        raise OptionError(
            f"{name} has shape {np.shape(values)}: give (models, {shape}) or ({shape}), with no empty axis."
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
        OptionError: the matrix is not positive definite; `advice` tells the user what to do.
    """
    try:
        np.linalg.cholesky(matrix)  # only to check; numpy cannot solve with the factor
    except np.linalg.LinAlgError as error:
        size = f"{len(matrix)} x {len(matrix)}"
        raise OptionError(f"the {size} matrix to invert is not positive definite: {advice}.") from error
    return lambda right: np.asarray(np.linalg.solve(matrix, right))
