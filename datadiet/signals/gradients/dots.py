"""Inner products of per-example gradients with one fixed vector, such as the mean gradient of the reference data.

With V that vector and g_i the gradient of an example's own loss: dot = <g_i, V>, norm = ||g_i||, cos = <g_i, V> /
(||g_i|| ||V||). A layer gives its part of <g_i, V> by running once with V as its weight, so that no g_i is formed; the
mean over reference examples is taken before the product, so one pass replaces one pass per reference example.

Cost: one training step per batch for the mean gradient; for the products, a forward pass, a backward pass to the
activations, one more forward pass of each layer, and the norms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from datadiet.errors import DataError, OptionError
from datadiet.runtime.process import widest
from datadiet.signals.gradients.batch import ModelInputs, forward_pass, size_of
from datadiet.signals.gradients.checks import finite_rows, in_evaluation_mode, label_range
from datadiet.signals.gradients.engine import PerExample
from datadiet.signals.gradients.losses import losses_of
from datadiet.signals.gradients.products import wide
from datadiet.signals.gradients.terms import Term, squared_norm

__all__ = ["gradient_dots", "reference_gradient"]


def reference_gradient(engine: PerExample, batches: Iterable[tuple[ModelInputs, Any]]) -> dict[str, Tensor]:
    """The mean gradient of the losses of a set of examples, by one ordinary backward pass per batch.

    The sum over all examples divided by their number, so it does not depend on how they are batched.

    Args:
        engine: with the model, loss and parameters to use; the model's weights, `.grad`, buffers and random state do
            not change.
        batches: (inputs, targets) pairs.

    Returns:
        name -> the gradient of each parameter of the engine, in its shape, float32 (float64 for float64 weights), added
        up in float64 where the device has it. Zero where no loss depends on the parameter.

    Raises:
        OptionError: a model in training mode, no example, labels out of range, an averaged loss.
        DataError: a gradient that is not finite; it names the batch.
    """
    in_evaluation_mode(engine.model)
    names, parameters = list(engine.parameters), list(engine.parameters.values())
    sums = {name: torch.zeros_like(p, dtype=widest(p.device)) for name, p in engine.parameters.items()}
    count = 0
    for number, (inputs, targets) in enumerate(batches):
        size, known = size_of(inputs), label_range(targets)
        with torch.enable_grad():
            total = losses_of(engine.loss, forward_pass(engine.model, inputs), targets, size, known).sum()
            found = torch.autograd.grad(total, parameters, allow_unused=True) if total.requires_grad else ()
        given = {
            name: gradient.to_dense() for name, gradient in zip(names, found, strict=False) if gradient is not None
        }
        for name, gradient in given.items():
            sums[name] += gradient
        _check_finite(given, number)
        count += size
    if not count:
        raise OptionError("there is no reference example: give at least one for a mean gradient.")
    return {name: (value / count).to(wide(engine.parameters[name])) for name, value in sums.items()}


def _check_finite(gradients: Mapping[str, Tensor], number: int) -> None:
    """Refuse a batch whose gradient is not finite; the host waits for the device once, not for every parameter."""
    device = next((gradient.device for gradient in gradients.values()), None)
    good = [gradient.isfinite().all().to(device) for gradient in gradients.values()]
    if good and not torch.stack(good).all():
        name = next(name for name, fine in zip(gradients, good, strict=True) if not fine)
        raise DataError(f"the gradient of {name} is not finite in batch {number}: check its inputs.")


def gradient_dots(
    engine: PerExample, vector: Mapping[str, Tensor], inputs: ModelInputs, targets: Any
) -> dict[str, Tensor]:
    """How far the gradient of each example agrees with a fixed vector.

    Args:
        engine: of a model in evaluation mode.
        vector: name -> tensor of the shape of that parameter, for every parameter of the engine, as
            `reference_gradient` returns them.
        inputs: a tensor (B, …), or a sequence or mapping of arguments.
        targets: (B,) labels, or whatever the engine's loss takes.

    Returns:
        "grad_dot" -> (B,) float32, positive = a step on the example lowers the loss that the vector is the gradient of;
        "grad_norm" -> (B,) float32, at least 0;
        "grad_cos" -> (B,) float32, 0 where the example's gradient or the vector is 0.

    Raises:
        OptionError: a vector that does not fit the engine's parameters, or anything that the engine refuses.
        DataError: a gradient that is not finite; it names the row.

    >>> model = torch.nn.Linear(2, 2, bias=False).eval()
    >>> _ = torch.nn.init.zeros_(model.weight)
    >>> engine, example = PerExample(model), (torch.tensor([[3.0, 4.0]]), torch.tensor([0]))
    >>> out = gradient_dots(engine, reference_gradient(engine, [example]), *example)
    >>> [round(float(out[name]), 3) for name in ("grad_dot", "grad_norm", "grad_cos")]
    [12.5, 3.536, 1.0]
    """
    _check_vector(engine, vector)
    device = next(iter(engine.parameters.values())).device
    exact = widest(device)
    dots, squares = (torch.zeros(size_of(inputs), dtype=exact, device=device) for _ in range(2))

    def add(name: str, terms: Sequence[Term]) -> None:
        nonlocal dots, squares
        along = vector[name].to(engine.parameters[name].device, wide(engine.parameters[name]))
        dot = sum((term.dot(along) for term in terms[1:]), terms[0].dot(along))
        dots, squares = dots.to(dot.device) + dot, squares.to(dot.device) + squared_norm(terms)

    engine(inputs, targets, add)
    finite_rows(dots + squares)
    length = torch.stack([torch.linalg.vector_norm(v, dtype=exact).to(dots.device) for v in vector.values()]).norm()
    norms = squares.sqrt()
    scale = norms * length
    cosines = torch.where(scale > 0, dots / scale, 0)
    return {"grad_dot": dots.float(), "grad_norm": norms.float(), "grad_cos": cosines.float()}


def _check_vector(engine: PerExample, vector: Mapping[str, Tensor]) -> None:
    for name, parameter in engine.parameters.items():
        if name not in vector or vector[name].shape != parameter.shape:
            given = f"has shape {tuple(vector[name].shape)}" if name in vector else "is missing"
            raise OptionError(
                f"{name} {given} in the vector and has shape {tuple(parameter.shape)} in the model: give one tensor "
                "for each trainable parameter, as reference_gradient does."
            )
    extra = sorted(set(vector) - set(engine.parameters))
    if extra:
        raise OptionError(f"the vector has {extra[0]}, which is not a trainable parameter of the model: leave it out.")
