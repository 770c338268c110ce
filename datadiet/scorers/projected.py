"""What scorers of projected gradients share: they are read in blocks of rows, as float64, and inverted by one solver.

A folder of projected gradients may be a float16 memory map of many gigabytes: `row_blocks` reads it piece by piece, and
refuses NaN and infinity as it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from datadiet.arrays import as_array, check_range
from datadiet.errors import OptionError

__all__ = ["as_models", "mean_row", "row_blocks", "solver"]

_ROWS = 4096


def as_models(name: str, values: Any, axes: str) -> np.ndarray:
    """The array with a leading axis over models, added if it is missing; its entries are not read.

    Raises:
        OptionError: a shape that is neither `axes` nor (models, *axes), an empty axis, or something other than numbers.
    """
    array = as_array(name, values, f"models {axes} | {axes}")
    return array[None] if array.ndim == len(axes.split()) else array


def row_blocks(name: str, matrix: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Consecutive rows of a matrix as float64, with their positions; NaN and infinity are refused."""
    for start in range(0, len(matrix), _ROWS):
        rows = slice(start, start + _ROWS)
        part = np.asarray(matrix[rows], dtype=np.float64)
        check_range(name, part, at=(start,))
        yield rows, part


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
