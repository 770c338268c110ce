"""One array in every form that a caller may give: the same numbers in other containers, and what is not an array."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np

__all__ = ["Given", "huge_classes", "in_bfloat16", "not_class_numbers", "not_numbers", "same_numbers"]

Given = tuple[str, Any]  # what it is in words, and the array


def in_bfloat16(values: np.ndarray) -> np.ndarray:
    """Floats cut to the digits that bfloat16 has, as float32; other arrays as they are."""
    if values.dtype.kind != "f":
        return values
    return (values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def same_numbers(values: np.ndarray) -> Iterator[Given]:
    """The same numbers in another container, byte order or layout; values are from `in_bfloat16`."""
    yield "a list", values.tolist()
    yield "an array in Fortran's order", np.asfortranarray(values)
    yield "every second entry of an array", np.repeat(values, 2, axis=-1)[..., ::2]
    yield "an array with the bytes in the other order", values.astype(values.dtype.newbyteorder())
    yield "a masked array without masked entries", np.ma.masked_array(values, mask=np.zeros(values.shape, dtype=bool))
    if values.dtype.kind == "f":
        yield "an array of the widest floats", values.astype(np.longdouble)
    if values.ndim == 1 and find_spec("pyarrow") is not None:
        import pyarrow

        yield "an Arrow array", pyarrow.array(values)
    if find_spec("torch") is None:
        return
    import torch

    tensor = torch.from_numpy(np.array(values))
    yield "a tensor", tensor
    if values.dtype.kind == "f":
        yield "a tensor that requires a gradient", tensor.clone().requires_grad_()
        yield "a tensor of bfloat16", tensor.to(torch.bfloat16)


def not_numbers(values: np.ndarray) -> Iterator[Given]:
    """What cannot be read as these numbers without losing something."""
    hidden = np.zeros(values.shape, dtype=bool)
    hidden.flat[-1] = True
    yield "a masked array with a masked entry", np.ma.masked_array(values, mask=hidden)
    yield "complex numbers", values + 1j
    yield "numbers as text", values.astype(str)
    yield "objects", values.astype(object)
    yield "times", np.zeros(values.shape, dtype="M8[s]")
    yield "a list of lists of different lengths", [[1.0], [1.0, 0.5]]
    yield "a single number", 0.5
    if find_spec("scipy") is not None and values.ndim == 2:
        from scipy import sparse

        yield "a sparse matrix", sparse.csr_matrix(values)
    if find_spec("torch") is not None:
        import torch

        yield "a tensor of complex numbers", torch.from_numpy(values + 1j)
        yield "a sparse tensor", torch.from_numpy(np.array(values)).to_sparse()
        yield "a tensor without its numbers", torch.empty(values.shape, device="meta")


def not_class_numbers(labels: np.ndarray) -> Iterator[Given]:
    """Labels that are not whole numbers of at least 0, one for each example."""
    yield from not_numbers(labels)
    for bad in (-1, 0.5, np.nan, np.inf):
        other = labels.astype(np.float64 if isinstance(bad, float) else np.int64)
        other[-1] = bad
        yield f"the label {bad}", other
    yield "a label too few", labels[:-1]
    yield "labels of shape (n, 1)", labels[:, None]
    other = labels.astype(np.uint64)
    other[-1] = 2**64 - 1
    yield "the label 2^64 - 1", other


def huge_classes(labels: np.ndarray) -> Iterator[Given]:
    """The same classes in the same order under numbers that no array could be indexed by."""
    last = labels.max()
    for number in (10**11, 2**63 - 1):
        yield f"{number} as the last class", np.where(labels == last, number, labels.astype(np.int64))
