"""The models, labels and results that are refused, and the messages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn

from datadiet.data.batch import Batch
from datadiet.errors import NotFinite, OptionError
from datadiet.models.running import call, refuse_sharded
from datadiet.signals.gradients.rules import refusal

__all__ = [
    "as_labels",
    "finite_rows",
    "in_evaluation_mode",
    "in_words_of",
    "label_range",
    "noted_together",
    "refuse_layers",
    "refuse_mixing",
    "refuse_no_network",
    "refuse_training",
]


def in_evaluation_mode(model: nn.Module) -> None:
    """Refuse a model in training mode, or with a part that is; the message names it."""
    refuse_no_network(model)
    refuse_training(model)


def refuse_training(model: nn.Module) -> None:
    """Refuse a network in training mode, or with a part that is; the message names it."""
    training = next((name or "the model" for name, module in model.named_modules() if module.training), None)
    if training is not None:
        raise OptionError(f"{training} is in training mode: call model.eval() first.")


def refuse_no_network(model: Any) -> None:
    """Refuse anything that is not a torch module, such as the name of one, and networks spread over processes."""
    if not isinstance(model, nn.Module):
        raise OptionError(f"the model is a {type(model).__name__}: give a network (a torch.nn.Module).")
    refuse_sharded(model)


def refuse_layers(model: nn.Module) -> None:
    """Refuse layers that leave an example without a gradient or output of its own; the message names the layer."""
    for name, layer in model.named_modules():
        why = refusal(layer)
        if why is not None:
            raise OptionError(
                f"{name or 'the model'} ({type(layer).__name__}) {why}, so an example has no gradient of its own: "
                "replace it."
            )


def label_range(targets: Any) -> tuple[int, int] | None:
    """The lowest and the highest label, or None where the targets are not labels.

    The host waits for it, so ask before the network runs: while it runs, an accelerator would idle afterwards.
    """
    labels = isinstance(targets, Tensor) and not (targets.is_floating_point() or targets.is_complex())
    if not labels or not targets.numel():
        return None
    low, high = torch.stack(targets.aminmax()).tolist()
    return int(low), int(high)


def as_labels(
    targets: Any, batch: int, classes: int, soft: bool = False, known: tuple[int, int] | None = None
) -> Tensor:
    """(B,) int64; with `soft`, as for cross-entropy, also probabilities (B, C).

    Args:
        targets: what a user gave.
        batch: B.
        classes: C.
        soft: whether probabilities are taken.
        known: their `label_range`, if that was asked before.

    Raises:
        OptionError: neither of these, or a label outside the classes.
    """
    numbers = isinstance(targets, Tensor) and (targets.is_floating_point() or targets.is_complex())
    if soft and numbers and targets.shape == (batch, classes) and not targets.is_complex():
        return targets.float() if targets.dtype.itemsize < 2 else targets
    if numbers or not isinstance(targets, Tensor) or targets.shape != (batch,):
        also = f", or probabilities, floats of shape (B, {classes})" if soft else ""
        raise OptionError(
            f"the targets are {in_words_of(targets)}: give one label for each example, integers of shape (B,){also}."
        )
    low, high = known or label_range(targets) or (0, 0)
    if low < 0 or high >= classes:
        raise OptionError(f"label {low if low < 0 else high} and {classes} logits: labels go from 0 to {classes - 1}.")
    return targets.long()


def in_words_of(values: Any) -> str:
    """What a user gave for a batch: its dtype and shape, of any number of examples, or its type."""
    if not isinstance(values, Tensor):
        return f"a {type(values).__name__}"
    return f"{values.dtype} of shape ({', '.join(['B', *map(str, values.shape[1:])])}{',' * (values.ndim == 1)})"


def finite_rows(values: Tensor) -> None:
    """Refuse values that are not finite; the host waits for them, unless they are `noted_together`.

    Args:
        values: (B, …), each row computed from the gradient of one example.

    Raises:
        NotFinite: names the first bad row.
    """
    good = values.flatten(1).isfinite().all(1) if values.ndim > 1 else values.isfinite()
    noted = _NOTED.get()
    if noted is not None:
        noted.append(good)
    elif not good.all():
        raise NotFinite(int((~good).nonzero()[0]), len(good))


_NOTED: ContextVar[list[Tensor] | None] = ContextVar("noted", default=None)


@contextmanager
def noted_together() -> Iterator[list[Tensor]]:
    """Have `finite_rows` note which rows are finite, (B,) bool for each call, for a caller that checks all at once."""
    noted: list[Tensor] = []
    before = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(before)


@torch.no_grad()
def refuse_mixing(model: nn.Module, batch: Batch) -> None:
    """Try a network on a few examples.

    Args:
        model: in evaluation mode.
        batch: a few examples.

    Raises:
        OptionError: a layer that normalises by the batch; outputs that change when the same examples are run again, or
            when one of them is run alone.
    """
    refuse_layers(model)
    outputs, again = call(model, batch), call(model, batch)
    alone = torch.cat([call(model, batch.part(slice(row, row + 1))) for row in range(len(batch))])
    allowed = 1e-2 * (outputs - outputs.mean(0)).abs().max() + 1e-4 * outputs.abs().max()
    if ((again - outputs).abs() > allowed).any():
        raise OptionError(
            "the same examples give different outputs when they are run again: something in the model still draws "
            "random numbers in evaluation mode, switch it off."
        )
    if ((alone - outputs).abs() > allowed).any():
        raise OptionError(
            "an example gives a different output alone than among others: something in the model mixes the examples "
            "of a batch, so none has a score of its own."
        )
