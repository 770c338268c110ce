"""Parameters outside any layer with a rule: class tokens, position embeddings, layer scales, custom norms.

Such a parameter is replaced by one copy per example, and autograd gives each copy its gradient. This is exact if
the network broadcasts the parameter over the examples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from datadiet.signals.gradients.batch import ModelInputs, forward_pass
from datadiet.signals.gradients.losses import Loss, losses_of
from datadiet.signals.gradients.repeat import UNFIT, Repeat, possible_repeats

__all__ = ["copies", "repeat_of"]


def copies(parameters: Mapping[str, Tensor], repeats: Mapping[str, Repeat], batch: int) -> dict[str, Tensor]:
    """One copy per example of each parameter, ready to receive gradients.

    Args:
        parameters: name -> parameter.
        repeats: name -> how the copies are arranged.
        batch: B.
    """
    return {name: repeat(parameters[name].detach(), batch).clone().requires_grad_() for name, repeat in repeats.items()}


def repeat_of(
    model: nn.Module, loss: Loss, inputs: ModelInputs, targets: Tensor, name: str, wanted: Sequence[Tensor]
) -> Repeat | None:
    """The arrangement of copies that gives every example the right gradient.

    Args:
        model: frozen.
        loss: one number per example.
        inputs, targets: a few examples.
        name: the parameter.
        wanted: its gradient for each example.

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
        if largest > 0 and torch.allclose(found, expected, rtol=1e-3, atol=1e-4 * largest):
            return repeat
        if largest > 0:
            running.pop()
    running = [repeat for repeat in running if not repeat.axis] or running
    return running[0] if len(running) == 1 else None  # gradients of 0 fit every arrangement: only one may be left
