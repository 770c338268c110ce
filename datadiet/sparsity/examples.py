"""The examples that a user gives for pruning, as batches on the device of the network.

They come as pairs of inputs and targets, such as a DataLoader yields, of tensors or of arrays, or as `Batch`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from datadiet.data.batch import Batch
from datadiet.errors import OptionError, first_line
from datadiet.parameters import in_a_line

__all__ = ["as_batches", "class_losses"]

_IGNORED = -100  # torch's own: such a target has no loss


def as_batches(given: Iterable[Any], model: nn.Module, n: int = 0) -> Iterator[Batch]:
    """The examples as batches, each on the device of the network.

    Args:
        given: of pairs (inputs, targets), such as a DataLoader, or of `Batch`. Inputs are a tensor, an array, or a dict
            of these. What follows the targets is ignored, such as the indices of `dd.Indexed`.
        model: the network. Arrays of floating-point numbers get the type of its parameters, tensors keep theirs.
        n: how many examples, from the first on; 0 = all.

    Raises:
        OptionError: something else, or more or fewer targets than inputs.
    """
    if not isinstance(given, Iterable):
        raise OptionError(f"batches={in_a_line(given)}: give a list of pairs (inputs, targets), or a DataLoader.")
    held = (value for value in (*model.parameters(), *model.buffers()) if value.is_floating_point())
    like, seen = next(held, torch.empty(0)), 0
    for item in given:
        batch = item if isinstance(item, Batch) else _batch(item, seen, like.dtype)
        whole = not n or len(batch) <= n - seen
        yield (batch if whole else batch.part(slice(n - seen))).to(like.device)
        seen += len(batch)
        if n and seen >= n:
            return


def class_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """(B, C) logits and (B,) class numbers, or both with the same further dimensions -> the cross-entropy of each.

    Raises:
        OptionError: targets of another kind or shape, or past the outputs; the check waits for the device.
    """
    whole = not targets.is_floating_point() and not targets.is_complex() and targets.dtype != torch.bool
    if outputs.ndim < 2 or not whole or targets.shape != outputs.shape[:1] + outputs.shape[2:]:
        raise OptionError(
            f"targets of shape {tuple(targets.shape)} and type {str(targets.dtype).removeprefix('torch.')} do not fit "
            f"outputs of shape {tuple(outputs.shape)}: give the class number of each example, a whole number."
        )
    classes = outputs.shape[1]
    outside = ((targets < 0) | (targets >= classes)) & (targets != _IGNORED)
    if bool(outside.any()):  # on a GPU, the loss itself would end the process
        raise OptionError(
            f"a target is {int(targets[outside][0])}, and the network has {classes} outputs: number the classes from 0 "
            f"to {classes - 1}."
        )
    return functional.cross_entropy(outputs.float(), targets.long(), reduction="none")


def _batch(item: Any, seen: int, dtype: torch.dtype) -> Batch:
    """A batch from a pair, whose rows count on from those seen."""
    if not isinstance(item, (tuple, list)) or len(item) < 2:
        raise OptionError(
            f"a batch is of type {type(item).__name__}, not a pair: give a list of pairs (inputs, targets), or a "
            "DataLoader."
        )
    given, targets = item[0], _tensor(item[1], "targets", dtype)
    several = isinstance(given, Mapping)
    inputs = {k: _tensor(v, k, dtype) for k, v in given.items()} if several else _tensor(given, "inputs", dtype)
    counts = {len(value) for value in (inputs.values() if isinstance(inputs, dict) else [inputs])}
    if counts != {len(targets)}:
        shown = " and ".join(map(str, sorted(counts)))
        raise OptionError(f"a batch has {shown} inputs and {len(targets)} targets: give one target for each example.")
    return Batch(inputs, targets, torch.arange(seen, seen + len(targets)))


def _tensor(value: Any, what: str, dtype: torch.dtype) -> Tensor:
    """A tensor of at least one dimension; an array is copied."""
    problem = "" if isinstance(value, Tensor) or hasattr(value, "__array__") else "neither a tensor nor an array"
    found = value if isinstance(value, Tensor) else torch.empty(())
    if not problem and found is not value:
        try:
            found = torch.from_numpy(np.array(value, order="C"))
        except (TypeError, ValueError) as error:
            problem = first_line(error)
        found = found.to(dtype) if found.is_floating_point() else found
    if problem or not found.ndim:
        raise OptionError(
            f"the {what} of a batch are of type {type(value).__name__} ({problem or 'a single number'}): give a tensor "
            "or an array with an entry for each example."
        )
    return found
