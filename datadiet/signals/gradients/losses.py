"""The losses to differentiate: one number per example."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from datadiet.errors import OptionError, unknown_name
from datadiet.models.running import logits_of
from datadiet.signals.gradients.checks import as_labels
from datadiet.signals.gradients.products import single

__all__ = ["Loss", "losses_of", "loss_named"]

Loss = Callable[[Any, Any], Tensor]


def cross_entropy(outputs: Tensor, targets: Tensor) -> Tensor:
    """(B, C) logits and (B,) labels -> (B,) nats."""
    return functional.cross_entropy(single(outputs), targets, reduction="none")


def log_odds(outputs: Tensor, targets: Tensor) -> Tensor:
    """log(p_y / (1 - p_y)), the output function of TRAK (Park et al. 2023), as z_y - logsumexp of the other logits."""
    y, outputs = targets[:, None], single(outputs)
    return outputs.gather(1, y).squeeze(1) - outputs.scatter(1, y, -torch.inf).logsumexp(1)


_LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "margin": log_odds}


def loss_named(loss: str | Loss) -> Loss:
    """A loss by name, or a function (outputs, targets) -> (B,)."""
    if callable(loss):
        return loss
    if loss not in _LOSSES:
        raise unknown_name("loss", loss, _LOSSES)
    return _LOSSES[loss]


def losses_of(loss: Loss, outputs: Any, targets: Any, batch: int, known: tuple[int, int] | None = None) -> Tensor:
    """The losses (B,) of a batch.

    Args:
        loss: one number per example.
        outputs: of the network.
        targets: what the loss takes.
        batch: B.
        known: the `label_range` of the targets, if that was asked before the network ran.

    Raises:
        OptionError: labels outside the classes, or a loss that is not one number per example.
    """
    if loss in _LOSSES.values():
        outputs = logits_of(outputs)
        if outputs.ndim != 2:
            raise OptionError("the model's outputs are not logits of shape (B, C): pass your own loss for them.")
        labels = as_labels(targets, batch, outputs.shape[1], loss is cross_entropy, known)
        targets = labels.to(outputs.device, non_blocking=True)
    found = loss(outputs, targets)
    if not isinstance(found, Tensor) or found.shape != (batch,):
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise OptionError(
            f"the loss has shape {shape} for {batch} examples: give one that is not averaged (reduction='none')."
        )
    return found
