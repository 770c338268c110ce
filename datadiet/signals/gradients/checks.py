"""What is refused of models, labels and results, said once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from datadiet.errors import NotFinite, OptionError
from datadiet.signals.gradients.rules import refusal

__all__ = ["as_labels", "finite_rows", "in_evaluation_mode", "refuse_autocast", "refuse_layers", "refuse_no_network"]


def in_evaluation_mode(model: nn.Module) -> None:
    """Refuse a model any part of which is in training mode, by name."""
    refuse_no_network(model)
    training = next((name or "the model" for name, module in model.named_modules() if module.training), None)
    if training is not None:
        raise OptionError(f"{training} is in training mode: call model.eval() first.")


def refuse_no_network(model: Any) -> None:
    """Refuse what is no torch module, such as the name of one."""
    if not isinstance(model, nn.Module):
        raise OptionError(f"the model is a {type(model).__name__}: give a network (a torch.nn.Module).")


def refuse_autocast(what: str, device: torch.device) -> None:
    """Refuse mixed precision: two digits do not tell a right gradient from a wrong one."""
    if torch.is_autocast_enabled(device.type):
        raise OptionError(
            f"{what} runs under torch.autocast, whose rounding hides what the check against plain autograd looks for: "
            "take gradients per example outside of it."
        )


def refuse_layers(model: nn.Module) -> None:
    """Refuse layers with which an example has no gradient, or no output, of its own, by name."""
    for name, layer in model.named_modules():
        why = refusal(layer)
        if why is not None:
            raise OptionError(
                f"{name or 'the model'} ({type(layer).__name__}) {why}, so an example has no gradient of its own: "
                "replace it."
            )


def as_labels(targets: Any, batch: int, classes: int) -> Tensor:
    """(B,) int64; probabilities (B, C), which cross-entropy takes too, stay as they are.

    Raises:
        OptionError: something else, or a label outside the classes.
    """
    if isinstance(targets, Tensor) and targets.is_floating_point() and targets.shape == (batch, classes):
        return targets
    if not isinstance(targets, Tensor) or targets.shape != (batch,) or targets.is_floating_point():
        kind = f"{targets.dtype}, {tuple(targets.shape)}" if isinstance(targets, Tensor) else type(targets).__name__
        raise OptionError(
            f"the targets are {kind}: give one label for each of the {batch} examples, as a tensor of integers."
        )
    low, high = (int(end) for end in targets.aminmax())
    if low < 0 or high >= classes:
        raise OptionError(f"label {low if low < 0 else high} and {classes} logits: labels go from 0 to {classes - 1}.")
    return targets.long()


def finite_rows(values: Tensor) -> None:
    """Refuse numbers that are none.

    Args:
        values: (B, …), computed from the gradient of one example each.

    Raises:
        NotFinite: the first row that is not, by number.
    """
    good = values.flatten(1).isfinite().all(1) if values.ndim > 1 else values.isfinite()
    if not good.all():
        raise NotFinite(int((~good).nonzero()[0]), len(good))
