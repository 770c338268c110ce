"""A batch of inputs: one tensor, a sequence of tensors (positional arguments) or a mapping (keyword arguments)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError
from datadiet.models.running import run

__all__ = ["ModelInputs", "detached", "first_tensor", "fitted", "forward_pass", "instead", "size_of", "take_rows"]

ModelInputs = Tensor | Sequence[Any] | Mapping[str, Any]


def forward_pass(model: nn.Module, inputs: ModelInputs, replaced: Mapping[str, Tensor] | None = None) -> Any:
    """The model's output, with some parameters replaced."""
    with instead(model, replaced or {}):
        return run(model, fitted(model, inputs))


def fitted(model: nn.Module, inputs: Any) -> Any:
    """The inputs with floats of another dtype than any parameter in that of the first parameter."""
    kinds = [p.dtype for p in model.parameters() if p.is_floating_point()]

    def fit(value: Any) -> Any:
        other = isinstance(value, Tensor) and value.is_floating_point() and value.dtype not in kinds
        return value.to(kinds[0]) if kinds and other else value

    return _mapped(fit, inputs)


@contextmanager
def instead(model: nn.Module, replaced: Mapping[str, Tensor]) -> Iterator[None]:
    """Put other tensors in the place of some parameters, wherever they are used.

    (torch.func.functional_call leaves a replaced parameter behind in a module that has two names.)
    """
    if not replaced:  # the usual case, which should not cost a walk over all modules
        yield
        return
    by_id = {id(model.get_parameter(name)): value for name, value in replaced.items()}
    places = [
        (m, key, p) for m in model.modules() for key, p in m._parameters.items() if p is not None and id(p) in by_id
    ]
    try:
        for m, key, p in places:
            m._parameters[key] = by_id[id(p)]  # type: ignore[assignment]
        yield
    finally:
        for m, key, p in places:
            m._parameters[key] = p


def detached(inputs: ModelInputs) -> ModelInputs:
    """The same inputs, detached from any graph."""
    return _mapped(lambda value: value.detach() if isinstance(value, Tensor) else value, inputs)


def size_of(inputs: ModelInputs) -> int:
    """The number of examples.

    Raises:
        OptionError: they hold no tensor.
    """
    first = first_tensor(inputs)
    if first is None:
        raise OptionError(
            f"the inputs are {type(inputs).__name__}, without a tensor (B, …): give tensors (see torch.from_numpy)."
        )
    return len(first)


def first_tensor(values: Any) -> Tensor | None:
    """The first tensor with a batch axis, or None."""
    if isinstance(values, Mapping):
        values = values.values()
    elif not isinstance(values, Sequence):
        values = (values,)
    return next((value for value in values if isinstance(value, Tensor) and value.ndim), None)


def take_rows(inputs: ModelInputs, rows: Sequence[int]) -> ModelInputs:
    """Some of the examples, in this order; anything but a tensor is shared by all."""

    def pick(value: Any) -> Any:
        return value[torch.as_tensor(rows, device=value.device)] if isinstance(value, Tensor) and value.ndim else value

    return _mapped(pick, inputs)


def _mapped(change: Callable[[Any], Any], inputs: ModelInputs) -> ModelInputs:
    if isinstance(inputs, Tensor):
        changed: ModelInputs = change(inputs)
        return changed
    if isinstance(inputs, Mapping):
        return {name: change(value) for name, value in inputs.items()}
    return [change(value) for value in inputs]
