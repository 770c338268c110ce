"""What a user gives a Recorder, as tensors of the right shapes, or one sentence: what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datadiet.arrays import in_numpy
from datadiet.errors import OptionError
from datadiet.parameters import check_whole, in_a_line

__all__ = ["as_classes", "as_features", "as_rows", "check_columns", "check_lengths", "check_state"]

_ROUNDING = 0.01  # of the sum of many probabilities in bfloat16


def as_rows(index: Any) -> Tensor:
    """The indices of a batch as int64 (B,), on their device.

    Raises:
        OptionError: anything but (B,) whole numbers; whether they are in range is not read.
    """
    if isinstance(index, Tensor) and index.dtype != torch.uint64:
        rows: Any = _plain(index, "index")
        whole = not (rows.is_floating_point() or rows.is_complex() or rows.dtype == torch.bool)
    else:
        rows = _array(index, "index")
        whole = rows.dtype.kind in "iu"
    if rows.ndim != 1 or not (whole or not len(rows)):  # an empty list has a type too, but it says nothing
        raise OptionError(f"index has dtype {rows.dtype} and shape {tuple(rows.shape)}: give (B,) whole numbers.")
    if not isinstance(rows, Tensor) and rows.dtype == np.uint64 and len(rows) and rows.max() >= 1 << 63:
        raise OptionError(f"index {rows.max()} is not a position: pass positions in the data set.")
    return torch.as_tensor(rows).to(torch.int64) if len(rows) else torch.zeros(0, dtype=torch.int64)


def as_classes(logits: Any, targets: Any, soft: bool = False) -> tuple[Tensor, Tensor]:
    """Logits and class numbers.

    Args:
        logits: (B, C) numbers, C >= 2: a tensor or an array.
        targets: (B,) or (B, 1) class numbers, or (B, C) with a single 1 in each row (one-hot).
        soft: also take (B, C) probabilities, by their largest.

    Returns:
        logits (B, C), and targets (B,) int64 on their device.

    Raises:
        OptionError: anything else. On an accelerator class numbers out of range are found by torch, later.
    """
    z, y = _tensor(logits, "logits"), _tensor(targets, "targets")
    if z.ndim != 2 or z.shape[1] < 2 or not z.is_floating_point():
        raise OptionError(f"logits have dtype {z.dtype} and shape {tuple(z.shape)}: {_logits_advice(z, y)}")
    if y.is_complex():
        raise OptionError("targets are not whole numbers: give class numbers.")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if tuple(y.shape) == tuple(z.shape):
        return z, _from_rows(y, soft).to(z.device)
    if y.ndim != 1 or len(y) != len(z):
        raise OptionError(
            f"targets of shape {tuple(y.shape)} for logits of shape {tuple(z.shape)}: give one class number per "
            "example, shape (B,), (B, 1) or one-hot (B, C)."
        )
    return z, _numbers(y, z.shape[1]).to(z.device)


def as_features(features: Any, batch: int) -> Tensor | None:
    """The inputs of the last layer, (B, d) or None.

    Raises:
        OptionError: anything else.
    """
    if features is None:
        return None
    h = _tensor(features, "features")
    if h.ndim < 2 or len(h) != batch or h.is_complex():
        raise OptionError(
            f"features have dtype {h.dtype} and shape {tuple(h.shape)} for {batch} examples: give the input of the "
            "last linear layer, numbers of shape (B, d)."
        )
    return h


def check_columns(columns: Any, batch: int) -> None:
    """Refuse what a function given as `signals` returned, unless it is name -> tensor (B,); their entries are not read.

    Raises:
        OptionError: something else, or a column "index".
    """
    what = "" if isinstance(columns, dict) and columns else f"returned {in_a_line(columns)}"
    for name, values in columns.items() if not what else ():
        if not isinstance(values, Tensor) or values.shape != (batch,):
            shape = f" of shape {tuple(values.shape)}" if hasattr(values, "shape") else ""
            what = f"returned a {type(values).__name__}{shape} as {name!r}"
        elif not isinstance(name, str) or name == "index":
            what = f"returned a column named {name!r}, but 'index' holds the rows and other names are strings"
    if what:
        raise OptionError(
            f"the function given as signals= {what}: return a dict of name -> tensor of shape ({batch},)."
        )


def check_lengths(n: int, **given: Any) -> None:
    """Refuse labels or ids, by name, that are not one for each of n examples; None stands for none.

    Raises:
        OptionError: something without a length, or of another.
    """
    for name, values in given.items():
        count = n if values is None else _length(values, name)
        if count != n:
            raise OptionError(f"{count} {name} for {n} examples: give one for each.")


def _length(given: Any, name: str) -> int:
    try:
        if not isinstance(given, str):
            return len(given)
    except TypeError:  # an array without dimensions has a length that it refuses
        pass
    raise OptionError(f"{name}={in_a_line(given)} is not a sequence: give one of the {name} for each example.")


def check_state(state: Any, n: int, seed: int) -> None:
    """Refuse what is not the state of a Recorder of n examples and this seed.

    Raises:
        OptionError: something else, another Recorder's, or a part of another type or shape.
    """
    if not isinstance(state, Mapping) or not {"n", "seed", "epoch", "repeats", "shift", "batches"} <= set(state):
        raise OptionError("this is not the state of a Recorder: give what state_dict() returned.")
    for name, own in (("n", n), ("seed", seed)):
        if not isinstance(state[name], Integral) or state[name] != own:
            raise OptionError(
                f"this is the state of a Recorder with {name}={in_a_line(state[name])}, and this one has {name}={own}: "
                "make it with the same."
            )
    check_whole("epoch in the state", state["epoch"], 0)
    check_whole("repeats in the state", state["repeats"], 0)
    previous = state.get("previous")
    if previous is not None and not (state["shift"] is True and _is_table(previous, n)):
        raise OptionError(
            f"'previous' in the state is {_described(previous)}: it belongs to shift=True, floats ({n}, C)."
        )
    whole = _are_batches(state["batches"]) and _are_batches(state.get("pending", {}), wide=True)
    whole = whole and _are_tables(state.get("closed", {}))
    if not isinstance(state["shift"], bool) or not whole:
        raise OptionError("the state of this Recorder is damaged: give what state_dict() returned, unchanged.")


def _is_table(values: Any, n: int) -> bool:
    return isinstance(values, Tensor) and values.is_floating_point() and values.ndim == 2 and len(values) == n


def _are_tables(closed: Any) -> bool:
    """Whether these are the tables of closed epochs, by the numbers of the epochs."""
    return isinstance(closed, Mapping) and all(
        str(epoch).isdecimal()
        and isinstance(columns, Mapping)
        and "index" in columns
        and all(isinstance(v, Tensor) and v.shape == columns["index"].shape for v in columns.values())
        for epoch, columns in closed.items()
    )


def _are_batches(batches: Any, wide: bool = False) -> bool:
    """Whether these are rows, the lengths of batches that they make up, and columns with a value for each row.

    Args:
        batches: from a state.
        wide: whether each row may have several values in a column.
    """
    if not isinstance(batches, Mapping) or set(batches) not in (set(), {"rows", "lengths", "columns"}):
        return False
    if not batches:
        return True
    rows, lengths, columns = batches["rows"], batches["lengths"], batches["columns"]
    whole = all(isinstance(v, Tensor) and v.dtype == torch.int64 and v.ndim == 1 for v in (rows, lengths))
    if not whole or int(lengths.sum()) != len(rows) or not isinstance(columns, Mapping) or not columns:
        return False
    return all(
        isinstance(values, Tensor) and values.shape[: 1 if wide else None] == rows.shape for values in columns.values()
    )


def _described(values: Any) -> str:
    if not isinstance(values, Tensor):
        return f"a {type(values).__name__}"
    return f"{values.dtype} of shape {tuple(values.shape)}"


def _tensor(values: Any, name: str) -> Tensor:
    if isinstance(values, Tensor) and values.dtype != torch.uint64:
        return _wide(_plain(values, name).detach(), name)
    array = _array(values, name)
    if array.dtype.kind not in "biufc":
        raise OptionError(f"{name} are a {type(values).__name__}: give a tensor.")
    return torch.as_tensor(array)


def _plain(tensor: Tensor, name: str) -> Tensor:
    if tensor.layout != torch.strided or tensor.is_nested or tensor.is_meta:
        kind = "meta tensor, which has no values" if tensor.is_meta else "sparse or nested tensor"
        raise OptionError(f"{name}: this is a {kind}; give a dense one.")
    return tensor


def _wide(tensor: Tensor, name: str) -> Tensor:
    """The tensor; numbers of 8 bits or less, with which torch does not compute, as float32."""
    if not tensor.is_quantized and (tensor.dtype.itemsize > 1 or not tensor.is_floating_point()):
        return tensor
    try:
        return tensor.float()
    except (RuntimeError, NotImplementedError) as error:
        raise OptionError(
            f"{name} have dtype {tensor.dtype}, which torch cannot compute with: give float32."
        ) from error


def _array(values: Any, name: str) -> np.ndarray:
    """A copy in the processor's byte order, of numbers that torch knows; arrays of other kinds as they are."""
    array = np.asarray(in_numpy(values, name))
    if array.dtype.kind in "biufc":
        return array.astype({np.longdouble: np.float64}.get(array.dtype.type, array.dtype.newbyteorder("=")))
    return array


def _logits_advice(z: Tensor, y: Tensor) -> str:
    if z.ndim > 2:
        return "a Recorder takes one label per example, shape (B, C); pool over pixels or tokens first."
    if (z.ndim == 2 and z.shape[1] == 1) or (z.ndim == 1 and y.ndim == 1 and len(y) == len(z) > 1):
        return "for a model with a single output z pass (B, 2), torch.stack([torch.zeros_like(z), z], 1)."
    return "give floats of shape (B, C), also for a batch of one."


def _from_rows(y: Tensor, soft: bool) -> Tensor:
    """The class of each row of one-hot or soft targets (B, C)."""
    ones, zeros = (y == 1).sum(dim=1), (y == 0).sum(dim=1)
    if bool(((ones == 1) & (zeros == y.shape[1] - 1)).all()):
        return y.int().argmax(dim=1)
    if bool(((ones + zeros) == y.shape[1]).all()):
        raise OptionError("some targets have several classes, or none: a Recorder takes one label per example.")
    low, total = y.float().amin(dim=1), y.float().sum(dim=1)
    wrong = ~((low >= 0) & ((total - 1).abs() <= _ROUNDING))  # so is NaN
    if bool(wrong.any()):
        row = int(wrong.int().argmax())
        raise OptionError(
            f"targets of shape {tuple(y.shape)} are neither one-hot nor probabilities (row {row} has the sum "
            f"{float(total[row]):g} and the smallest entry {float(low[row]):g}): give one class number per example."
        )
    if not soft:
        raise OptionError(
            "targets are probabilities (mixup, smoothing, a teacher): pass the hard labels, or take the largest with "
            "Recorder(soft_targets=True)."
        )
    return y.argmax(dim=1)


def _numbers(y: Tensor, classes: int) -> Tensor:
    if y.is_floating_point() and bool((y != y.round()).any()):
        raise OptionError("targets are not whole numbers: give class numbers.")
    if y.device.type == "cpu" and len(y):
        array = in_numpy(y)
        wrong = array[(array < 0) | (array >= classes)]
        if len(wrong):
            hint = "leave ignored examples out of update" if wrong[0] < 0 else "give logits for all classes"
            value = f"{wrong[0]:g}" if wrong.dtype.kind == "f" else f"{wrong[0]}"
            raise OptionError(f"a target is {value}, but the logits have classes 0 to {classes - 1}: {hint}.")
    return y.to(torch.int64)
