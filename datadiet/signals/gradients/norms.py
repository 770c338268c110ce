"""Norms of per-example gradients: the sum of squares over all parameters, or for each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from datadiet.errors import NotFinite
from datadiet.signals.gradients.batch import ModelInputs
from datadiet.signals.gradients.checks import finite_rows
from datadiet.signals.gradients.engine import PerExample
from datadiet.signals.gradients.losses import Loss
from datadiet.signals.gradients.plans import adopt, keep, situation_of
from datadiet.signals.gradients.repeat import UNFIT
from datadiet.signals.gradients.terms import Term, squared_norm

__all__ = ["grad_norms", "layer_norms", "norms_of"]


def layer_norms(engine: PerExample, inputs: ModelInputs, targets: Any) -> dict[str, Tensor]:
    """layer -> (B,) squared norm of the gradient of its own parameters; a layer is a module that holds parameters."""
    squares: dict[str, Tensor] = {name.rpartition(".")[0]: torch.zeros(0) for name in engine.parameters}

    def add(name: str, terms: Sequence[Term]) -> None:
        layer, found = name.rpartition(".")[0], squared_norm(terms)
        squares[layer] = squares[layer] + found if len(squares[layer]) else found

    losses = engine(inputs, targets, add)
    return {layer: value if len(value) else losses.new_zeros(len(losses)) for layer, value in squares.items()}


def norms_of(engine: PerExample, inputs: ModelInputs, targets: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """(B,) float32 norms over all parameters, and layer -> those of the layer.

    Raises:
        DataError: a gradient that is not finite; it names the row.
    """
    squares = layer_norms(engine, inputs, targets)
    total = torch.stack(list(squares.values())).sum(0)
    finite_rows(total)
    return total.sqrt().float(), {layer: value.sqrt().float() for layer, value in squares.items()}


def grad_norms(
    model: nn.Module,
    inputs: ModelInputs,
    targets: Any,
    loss: str | Loss = "cross_entropy",
    per_layer: bool = False,
    fallback: Literal["vmap"] | None = None,
) -> Tensor | dict[str, Tensor]:
    """The norm of each example's own loss gradient, over all trainable parameters (GraNd, Paul et al. 2021).

    Exact, and independent of what else is in the batch: the loss of an example is never divided by the batch size. The
    first call for a network checks three examples against plain autograd; further calls do not, until its modules,
    hooks, modes, other plain attributes (numbers, strings, None), parameters (other than their values), loss, fallback,
    precision or kind of inputs change. Define a loss of your own once, outside the loop: a new function is checked
    again.

    Args:
        model: in evaluation mode; frozen parameters are left out. Weights, buffers, modes and random state do not
            change.
        inputs: a tensor (B, …), or a sequence or mapping of arguments; floats of another precision than the model's are
            converted to it.
        targets: (B,) labels, or whatever `loss` takes.
        loss: "cross_entropy", "margin", or a function (outputs, targets) -> (B,), not averaged.
        per_layer: by layer instead.
        fallback: "vmap" for layers of unknown kind, which are otherwise refused.

    Returns:
        (B,) float32 norms, at least 0; with `per_layer` a dict layer -> (B,), whose squares add up to the square of the
        whole norm.

    Raises:
        OptionError: training mode, batch statistics, active dropout, an averaged loss, labels out of range, float16
            autocast (bfloat16 is taken), a layer whose per-example gradient is not known.
        DataError: a gradient that is not finite; it names the row.

    >>> model = nn.Linear(2, 2, bias=False).eval()
    >>> _ = nn.init.zeros_(model.weight)
    >>> grad_norms(model, torch.tensor([[3.0, 4.0]]), torch.tensor([0])).round(decimals=4)
    tensor([3.5355])
    """
    engine = PerExample(model, loss, fallback=fallback)
    situation = situation_of(engine, inputs)
    if adopt(engine, situation):
        try:
            whole, layers = norms_of(engine, inputs, targets)
            keep(engine, situation)
            return layers if per_layer else whole
        except (NotFinite, torch.cuda.OutOfMemoryError):
            raise
        except UNFIT:  # the network takes another path for these inputs, or planning again will report what is wrong
            engine = PerExample(model, loss, fallback=fallback)
    whole, layers = norms_of(engine, inputs, targets)
    keep(engine, situation)
    return layers if per_layer else whole
