"""Numbers between numpy and Arrow. pyarrow's own conversions import pandas, which takes a fifth of a second."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

__all__ = ["from_arrow", "to_arrow"]


def from_arrow(array: pa.Array) -> np.ndarray:
    """The values (n,) of an Arrow array, as `pa.Array.to_numpy` gives them; not copied where that is possible.

    >>> from_arrow(pa.array([1, 2])), from_arrow(pa.array([1.5, None]))
    (array([1, 2]), array([1.5, nan]))
    """
    numbers = pa.types.is_integer(array.type) or pa.types.is_floating(array.type)
    if numbers and not array.null_count and len(array):
        return np.from_dlpack(array)
    found: np.ndarray = array.to_numpy(zero_copy_only=False)
    return found


def to_arrow(values: np.ndarray) -> pa.Array:
    """Values (n,) as `pa.array` gives them; numbers are not copied.

    >>> to_arrow(np.array([1, 2])).type, to_arrow(np.array([True, False, True])).to_pylist()
    (DataType(int64), [True, False, True])
    """
    if values.dtype.kind == "b":
        return pa.Array.from_buffers(
            pa.bool_(), len(values), [None, pa.py_buffer(np.packbits(values, bitorder="little"))]
        )
    if values.dtype.kind in "iuf" and values.dtype.isnative and values.dtype.itemsize <= 8:
        memory = pa.py_buffer(np.ascontiguousarray(values))
        return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, memory])
    return pa.array(values)
