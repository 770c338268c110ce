"""Parameters that no layer with a rule holds: class tokens, position embeddings, layer scales, norms of one's own.

Such a parameter is replaced by one copy per example, and autograd gives each copy its gradient. That is exact where
the network broadcasts the parameter over the examples; which shape the copies need is found by trying.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError
from datadiet.signals.gradients.batch import Inputs, call
from datadiet.signals.gradients.losses import Loss, losses_of

__all__ = ["copies", "shape_of_copies"]


def copies(parameters: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]], batch: int) -> dict[str, Tensor]:
    """One copy per example of each parameter, ready to receive gradients.

    Args:
        parameters: name -> parameter.
        shapes: name -> what follows the axis of examples.
        batch: B.
    """
    return {
        name: parameters[name].detach().reshape(1, *shape).expand(batch, *shape).clone().requires_grad_()
        for name, shape in shapes.items()
    }


def shape_of_copies(
    model: nn.Module, loss: Loss, inputs: Inputs, targets: Tensor, name: str, wanted: Sequence[Tensor]
) -> tuple[int, ...] | None:
    """The shape of a copy with which every example gets the gradient that it should.

    Args:
        model: frozen.
        loss: one number per example.
        inputs, targets: a few examples.
        name: the parameter.
        wanted: its gradient for each of them.

    Returns:
        None if there is none.
    """
    parameter = model.get_parameter(name)
    running = []
    for shape in _candidates(tuple(parameter.shape)):
        copy = copies({name: parameter}, {name: shape}, len(wanted))
        try:
            with torch.enable_grad():
                total = losses_of(loss, call(model, inputs, copy), targets, len(wanted)).sum()
                (found,) = torch.autograd.grad(total, list(copy.values()))
        except (RuntimeError, IndexError, ValueError, TypeError, AssertionError, OptionError):
            continue
        running.append(shape)
        expected = torch.stack(list(wanted)).reshape(found.shape)
        largest = float(expected.abs().max())
        if largest > 0 and torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * largest):
            return shape
        if largest > 0:
            running.pop()
    return running[0] if len(running) == 1 else None  # gradients of 0 fit any shape: only a single one can be meant


def _candidates(shape: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    if shape[:1] == (1,):
        yield shape[1:]
    for ones in range(4):
        yield (1,) * ones + shape
