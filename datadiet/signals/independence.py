"""Whether a network answers for each example alone: the same again, and the same without the others."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError
from datadiet.signals.gradients.checks import refuse_layers

__all__ = ["refuse_mixing"]


@torch.no_grad()
def refuse_mixing(model: nn.Module, inputs: Tensor) -> None:
    """Try a network on a few examples.

    Args:
        model: in evaluation mode.
        inputs: (B, …), a few examples.

    Raises:
        OptionError: a layer that normalises by the batch; outputs that are others when the same examples are run again,
            or when one is run alone.
    """
    refuse_layers(model)
    outputs, again = model(inputs), model(inputs)
    alone = torch.cat([model(inputs[row : row + 1]) for row in range(len(inputs))])
    allowed = 1e-2 * (outputs - outputs.mean(0)).abs().max() + 1e-4 * outputs.abs().max()
    if ((again - outputs).abs() > allowed).any():
        raise OptionError(
            "the same examples give different outputs when they are run again: something in the model draws at random "
            "also in evaluation mode, switch it off."
        )
    if ((alone - outputs).abs() > allowed).any():
        raise OptionError(
            "an example gives another output alone than among others: something in the model mixes the examples of a "
            "batch, so none has a score of its own."
        )
