"""A batch of inputs: one tensor, a sequence of tensors (positional arguments) or a mapping (keyword arguments)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

__all__ = ["Inputs", "call", "rows_of", "size_of"]

Inputs = Tensor | Sequence[Any] | Mapping[str, Any]


def call(model: nn.Module, inputs: Inputs, replaced: Mapping[str, Tensor] | None = None) -> Any:
    """The model's output, with some parameters replaced."""
    args = () if isinstance(inputs, Mapping) else (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    return functional_call(model, dict(replaced), args, kwargs) if replaced else model(*args, **kwargs)


def size_of(inputs: Inputs) -> int:
    """The number of examples."""
    if isinstance(inputs, Tensor):
        return len(inputs)
    values = inputs.values() if isinstance(inputs, Mapping) else inputs
    return next(len(value) for value in values if isinstance(value, Tensor))


def rows_of(inputs: Inputs, rows: Sequence[int]) -> Inputs:
    """Some examples, in that order; what is no tensor is for all of them."""

    def pick(value: Any) -> Any:
        return value[torch.as_tensor(rows, device=value.device)] if isinstance(value, Tensor) and value.ndim else value

    return _mapped(pick, inputs)


def _mapped(change: Callable[[Any], Any], inputs: Inputs) -> Inputs:
    if isinstance(inputs, Tensor):
        changed: Inputs = change(inputs)
        return changed
    if isinstance(inputs, Mapping):
        return {name: change(value) for name, value in inputs.items()}
    return [change(value) for value in inputs]
