"""One copy per example of a tensor that all examples share, and where its batch axis goes.

A network broadcasts such a tensor over the batch, and backpropagation sums its gradient over the examples. One copy per
example changes no number in the forward pass and gives every example its own gradient, if the batch axis is where the
network expects it; the place is found by trial. Such a tensor is an input that all examples share, or a parameter
outside any layer with a rule: a class token, a position embedding, a layer scale, a custom norm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError
from datadiet.signals.gradients.batch import ModelInputs, forward_pass
from datadiet.signals.gradients.losses import Loss, losses_of

__all__ = ["UNFIT", "Repeat", "copies", "possible_repeats", "repeat_of"]

UNFIT = (RuntimeError, IndexError, ValueError, TypeError, AssertionError, OptionError)
"""What a network may raise on copies of a shape that it does not expect."""


class Repeat(NamedTuple):
    """How copies are arranged.

    Attributes:
        ndim: the number of axes of the stacked copies; missing axes are added in front, of size 1.
        axis: the axis of size 1 that becomes the batch axis.
    """

    ndim: int
    axis: int

    def __call__(self, x: Tensor, batch: int) -> Tensor:
        """The copies, as a view."""
        x = x[(None,) * (self.ndim - x.ndim)]
        return x.expand(*(batch if axis == self.axis else size for axis, size in enumerate(x.shape)))


def possible_repeats(shape: Sequence[int]) -> Iterator[Repeat]:
    """The ways to repeat a tensor of this shape, the likeliest first."""
    ndim = len(shape)
    yield from (Repeat(ndim, axis) for axis, size in enumerate(shape) if size == 1)
    yield from (Repeat(ndim + ones, 0) for ones in range(1, 5))


def copies(parameters: Mapping[str, Tensor], repeats: Mapping[str, Repeat], batch: int) -> dict[str, Tensor]:
    """One copy per example of each parameter, ready to receive gradients.

    Args:
        parameters: name -> parameter.
        repeats: name -> how the copies are arranged.
        batch: B.
    """
    return {name: repeat(parameters[name].detach(), batch).clone().requires_grad_() for name, repeat in repeats.items()}


def repeat_of(
    model: nn.Module,
    loss: Loss,
    inputs: ModelInputs,
    targets: Tensor,
    name: str,
    wanted: Sequence[Tensor],
    allowed: float,
) -> Repeat | None:
    """The arrangement of copies that gives every example the right gradient.

    Args:
        model: frozen.
        loss: one number per example.
        inputs, targets: a few examples.
        name: the parameter.
        wanted: its gradient for each example.
        allowed: the relative difference of an entry that may be rounding.

    Returns:
        None if no arrangement does.
    """
    parameter = model.get_parameter(name)
    running = []
    for repeat in possible_repeats(parameter.shape):
        copy = copies({name: parameter}, {name: repeat}, len(wanted))
        try:
            with torch.enable_grad():
                total = losses_of(loss, forward_pass(model, inputs, copy), targets, len(wanted)).sum()
                (found,) = torch.autograd.grad(total, list(copy.values()))
        except UNFIT:
            continue
        running.append(repeat)
        found = found.movedim(repeat.axis, 0).flatten(1)
        expected = torch.stack(list(wanted)).reshape(found.shape)
        largest = float(expected.abs().max())
        if largest > 0 and torch.allclose(found, expected, rtol=allowed, atol=allowed / 10 * largest):
            return repeat
        if largest > 0:
            running.pop()
    running = [repeat for repeat in running if not repeat.axis] or running
    return running[0] if len(running) == 1 else None  # gradients of 0 fit every arrangement: only one may be left
