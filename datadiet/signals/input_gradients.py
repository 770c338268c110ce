"""The gradient of the true class's logit with respect to the input, and how much it varies between checkpoints (VoG).

Agarwal, D'souza, Hooker: Estimating Example Difficulty Using Variance of Gradients, CVPR 2022 (arXiv 2008.11600). With
S_t = d z_y / d x at checkpoint t, signed and averaged over channels, the spread of an example is the mean over pixels
of sqrt((1/K) sum_t (S_t - mean_t S_t)^2): what `datadiet.scorers.vog` computes from stored maps, here batch by batch.

*Deviations*: none in the spread; the standard score within classes is left to the scorer, which sees all examples.

*Cost*: per checkpoint a forward pass and a backward pass to the input, without weight gradients; the K maps of one
batch are held at once, B·K·H·W numbers.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError
from datadiet.models.running import call
from datadiet.signals.gradients.batch import fitted
from datadiet.signals.gradients.checks import as_labels, finite_rows, in_evaluation_mode, label_range, refuse_layers
from datadiet.signals.gradients.tape import frozen

__all__ = ["input_gradient_maps", "input_gradient_spread"]


def input_gradient_maps(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the logit of each example's label with respect to its own input, averaged over channels.

    Args:
        model: in evaluation mode; weights, requires_grad flags, buffers, modes and random state do not change.
        inputs: (B, C, *spatial) images, channels first, or (B, d) vectors; floating point, as the model takes them.
        targets: (B,) int64 in 0..classes-1.

    Returns:
        (B, *spatial) float32, signed; for vectors (B, d), which have no channels. 0 where the logit does not depend on
        the input.

    Raises:
        OptionError: a part of the model in training mode or normalising by the batch, inputs of the wrong kind,
            outputs that are not logits (B, classes), labels out of range.
        DataError: a gradient that is not finite; it names the row.

    >>> model = nn.Linear(2, 2, bias=False).eval()
    >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> input_gradient_maps(model, torch.zeros(2, 2), torch.tensor([1, 0]))
    tensor([[3., 4.],
            [1., 2.]])
    """
    found = _maps(model, inputs, targets, label_range(targets))
    finite_rows(found)
    return found


def _maps(model: nn.Module, inputs: Tensor, targets: Tensor, known: tuple[int, int] | None) -> Tensor:
    """`input_gradient_maps`, which may still be infinite; `known` is the range of the labels."""
    _check(model, inputs, targets)
    with frozen(model), torch.enable_grad():
        x = fitted(model, inputs.detach()).requires_grad_()
        total = _of_labels(call(model, x * 1), targets, len(x), known).sum()  # the first layer may work in place
        found = torch.autograd.grad(total, x, allow_unused=True)[0] if total.requires_grad else None
    gradient = (torch.zeros_like(x) if found is None else found).detach().float()
    return gradient.mean(1) if gradient.ndim > 2 else gradient


def input_gradient_spread(models: Iterable[nn.Module], inputs: Tensor, targets: Tensor) -> Tensor:
    """How much the input gradient of each example varies between checkpoints.

    Args:
        models: at least 2 checkpoints, each as in `input_gradient_maps`; an iterator may load their weights into the
            same network in turn.
        inputs: (B, C, *spatial) or (B, d), floating point.
        targets: (B,) int64.

    Returns:
        (B,) float32, at least 0, higher = harder: the pixel mean of the population standard deviation over the models.

    Raises:
        OptionError: fewer than 2 models, or anything that `input_gradient_maps` refuses.
        DataError: a gradient that is not finite.

    References:
        Agarwal et al. 2022, without their standard score within classes.
    """
    known = label_range(targets)
    maps = [_maps(model, inputs, targets, known) for model in models]
    if len(maps) < 2:
        raise OptionError(f"{len(maps)} model(s): a spread over checkpoints needs at least 2.")
    found = torch.stack(maps)
    finite_rows(found.transpose(0, 1))  # once for all, since the host waits for it
    return found.std(0, correction=0).flatten(1).mean(1)


def _check(model: nn.Module, inputs: Tensor, targets: Tensor) -> None:
    in_evaluation_mode(model)
    refuse_layers(model)
    if not isinstance(inputs, Tensor) or not isinstance(targets, Tensor):
        names = type(inputs).__name__, type(targets).__name__
        raise OptionError(f"the inputs are {names[0]} and the targets {names[1]}: give tensors, both (B, …).")
    if not inputs.is_floating_point() or inputs.ndim < 2 or 0 in inputs.shape:
        raise OptionError(
            f"the inputs are {inputs.dtype} of shape {tuple(inputs.shape)}: give non-empty floating-point (B, C, H, W) "
            "or (B, d), since a gradient is taken with respect to them."
        )


def _of_labels(logits: Tensor, targets: Tensor, batch: int, known: tuple[int, int] | None) -> Tensor:
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != batch or targets.shape != (batch,):
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise OptionError(
            f"the model's outputs are {given} and the labels {tuple(targets.shape)} for {batch} examples: give a model "
            "with logits (B, classes), and labels (B,)."
        )
    targets = as_labels(targets, batch, logits.shape[1], known=known)
    return logits.gather(1, targets[:, None]).squeeze(1)
