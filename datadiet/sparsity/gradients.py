"""Gradients over chosen examples, for methods that prune a network before it is trained.

The network runs as it does in the first steps of training: BatchNorm normalises by the statistics of each batch, since
the running ones mean nothing yet. Everything else, dropout first of all, is in evaluation mode, so nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from datadiet.data.batch import Batch
from datadiet.errors import OptionError
from datadiet.float32_precision import float32_products
from datadiet.models.running import evaluating

__all__ = ["as_training_begins", "mean_gradient", "running_norms"]


def running_norms(model: nn.Module) -> list[nn.Module]:
    """The layers with running statistics: BatchNorm of all kinds, and InstanceNorm that tracks them."""
    kind = nn.modules.batchnorm._NormBase
    return [part for part in model.modules() if isinstance(part, kind) and part.running_mean is not None]


@contextmanager
def as_training_begins(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Run a network with the statistics of each batch, without dropout, in full float32, and with gradients.

    Afterwards its modes, its buffers and which of its weights are frozen are what they were.

    Args:
        model: the network.
        weights: those of its parameters that need a gradient, frozen or not.
    """
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    frozen = [weight for weight in weights.values() if not weight.requires_grad]
    try:
        with evaluating(model), torch.enable_grad(), float32_products():
            for part in running_norms(model):
                part.train()
            for weight in frozen:
                weight.requires_grad_(True)
            yield
    finally:
        for weight in frozen:
            weight.requires_grad_(False)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)


def mean_gradient(
    weights: Mapping[str, Tensor], batches: Iterable[Batch], total: Callable[[Batch], Tensor]
) -> dict[str, Tensor]:
    """The gradient of a mean over examples, whose sum over a batch a function gives; every example counts the same.

    Args:
        weights: name -> parameter.
        batches: of examples.
        total: batch -> the sum over its examples, a number.

    Returns:
        name -> the gradient, float32, or float64 for such a parameter; 0 for one that the network does not use.
        Nothing is left in `.grad`.

    Raises:
        OptionError: there are no examples.
    """
    wide = {name: torch.promote_types(weight.dtype, torch.float32) for name, weight in weights.items()}
    sums = {name: torch.zeros_like(weight, dtype=wide[name]) for name, weight in weights.items()}
    examples = 0
    for batch in batches:
        found = torch.autograd.grad(total(batch), [*weights.values()], allow_unused=True)
        for one, part in zip(sums.values(), found, strict=True):
            if part is not None:
                one.add_(part)
        examples += len(batch)
    if not examples:
        raise OptionError("there are no examples to take the gradient of: give some in batches= or data=.")
    return {name: one.div_(examples) for name, one in sums.items()}
