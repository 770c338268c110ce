"""Exact per-example gradients of any ordinary network, from one forward and one backward pass of the whole batch.

The method is from Goodfellow (2015, arXiv 1510.01799) for linear layers and Rochette et al. (2019, arXiv 1912.06015)
for convolutions: the input of a layer and the gradient of its output are the factors of the weight's gradient. Here the
network is in evaluation mode and its weights are frozen, which makes BatchNorm a fixed affine map and saves the
ordinary weight gradient, so that the norms of all gradients cost about as much as one training step.

Nothing is taken on trust: before the first batch, a few of its examples run one at a time through plain autograd, and
the norm of every parameter's gradient must agree.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from datadiet.errors import OptionError
from datadiet.models.running import ordinary_attention
from datadiet.signals.gradients.attention import Projection, taken_apart
from datadiet.signals.gradients.batch import ModelInputs, detached, first_tensor, forward_pass, size_of, take_rows
from datadiet.signals.gradients.checks import (
    label_range,
    refuse_layers,
    refuse_no_network,
    refuse_training,
)
from datadiet.signals.gradients.instrumentation import CHECKED, Instrumentation, instrument, one_at_a_time
from datadiet.signals.gradients.losses import Loss, loss_named, losses_of
from datadiet.signals.gradients.precision import autocast_dtype
from datadiet.signals.gradients.repeat import copies
from datadiet.signals.gradients.tape import Tape, Visit, frozen, watched
from datadiet.signals.gradients.terms import Explicit

__all__ = ["PerExample"]


class PerExample:
    """Per-example gradients of a model's trainable parameters.

    Args:
        model: in evaluation mode; left as it was after every call.
        loss: "cross_entropy", "margin" (log-odds of the label), or a function (outputs, targets) -> (B,).
        fallback: "vmap" reruns layers of unknown kind for each example; None refuses them by name.
        labels: the lowest and the highest label of all batches, if that is known; the host waits for those of each
            batch otherwise.

    Raises:
        OptionError: a model in training mode, without trainable parameters, or with a layer whose per-example gradient
            does not exist or is not known; an unknown loss.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: str | Loss = "cross_entropy",
        *,
        fallback: Literal["vmap"] | None = None,
        labels: tuple[int, int] | None = None,
    ) -> None:
        if fallback not in (None, "vmap"):
            raise OptionError(f"fallback={fallback!r}: give 'vmap', or leave it out.")
        refuse_no_network(model)
        self.model, self.loss, self.fallback, self.labels = model, loss_named(loss), fallback, labels
        self.parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        if not self.parameters:
            raise OptionError("the model has no trainable parameter: call requires_grad_(True) on at least one.")
        self._instrumentation: Instrumentation | None = None
        self._checked = 0
        self._adopted: Instrumentation | None = None
        self._apart: dict[str, dict[str, Projection]] = {}

    @property
    def plan(self) -> tuple[Instrumentation, int] | None:
        """How the model is instrumented, by name, and on how many examples that was checked; None before a batch."""
        return None if self._instrumentation is None else (self._instrumentation.unbound(), self._checked)

    def adopt(self, instrumentation: Instrumentation, checked: int) -> None:
        """Take the plan of an earlier engine for the same model, loss and fallback."""
        self._adopted, self._checked = instrumentation, checked

    def __call__(self, inputs: ModelInputs, targets: Any, visit: Visit) -> Tensor:
        """Run one batch.

        Args:
            inputs: a tensor, a sequence (positional) or a mapping (keyword) of tensors with the examples first.
            targets: labels (B,), or whatever the loss takes.
            visit: called as visit(name, terms) once for each parameter that a loss depends on; an example's gradient is
                the sum of its terms.

        Returns:
            (B,) losses.
        """
        refuse_training(self.model)
        size, inputs = size_of(inputs), detached(inputs)
        if not size:
            raise OptionError("the batch is empty: give at least one example.")
        if torch.is_inference_mode_enabled():
            raise OptionError("gradients cannot be computed in torch.inference_mode(): leave it for this call.")
        if isinstance(targets, Tensor) and (not targets.ndim or len(targets) != size):
            raise OptionError(f"targets of shape {tuple(targets.shape)} for {size} examples: give one for each.")
        if first_tensor(targets) is None:
            kind = type(targets).__name__
            raise OptionError(
                f"the targets are {kind}: give one label for each of the {size} examples, as a tensor of integers, or "
                "the tensors that your loss takes."
            )
        first: tuple[Any, ...] | None = None
        if self._checked < min(size, CHECKED):  # a batch of one does not show whether examples are mixed
            refuse_layers(self.model)
            rows = [row % size for row in range(CHECKED)]
            first = take_rows(inputs, rows), take_rows(targets, rows)
            with ordinary_attention():
                wanted = one_at_a_time(self, first[0], first[1], size)
        with (
            ordinary_attention(),
            frozen(self.model),
            taken_apart(self.model, {id(p) for p in self.parameters.values()}, self._apart) as parts,
        ):
            if first is not None:
                self._instrumentation = instrument(self, parts, first[0], first[1], wanted)
                self._checked = min(size, CHECKED)
            elif self._adopted is not None:
                self._instrumentation, self._adopted = self._adopted.bound(self.model, parts), None
            assert self._instrumentation is not None
            return self.run(self._instrumentation, inputs, targets, visit)

    def run(self, instrumentation: Instrumentation, inputs: ModelInputs, targets: Any, visit: Visit) -> Tensor:
        """One pass over an instrumented model that is already frozen."""
        batch, known = size_of(inputs), self.labels or label_range(targets)
        device = next(iter(self.parameters.values())).device
        tape = Tape(visit, instrumentation.calls, batch, autocast_dtype(device))
        bare = copies(self.parameters, instrumentation.bare, batch)
        unused = {name: self.parameters[name].detach().clone().requires_grad_() for name in instrumentation.unused}
        with torch.enable_grad(), watched(instrumentation.leaves, tape.enter, tape.record):
            losses = losses_of(self.loss, forward_pass(self.model, inputs, bare | unused), targets, batch, known)
            tape.backward = True
            roots = [*bare.values(), *unused.values(), *tape.starts]
            with torch.autocast(device.type, enabled=False):  # whatever is done with the gradients
                found = torch.autograd.grad(losses.sum(), roots, allow_unused=True) if losses.requires_grad else ()
                tape.finish()
                self._visit_bare(instrumentation, dict(zip([*bare, *unused], found, strict=False)), batch, visit)
        return losses.detach()

    def _visit_bare(
        self, instrumentation: Instrumentation, found: Mapping[str, Tensor | None], batch: int, visit: Visit
    ) -> None:
        for name, value in found.items():
            if value is not None and name in instrumentation.unused:
                raise OptionError(
                    f"no loss of the first batch depended on {name}, but one of this batch does: shuffle the data."
                )
            if value is not None:
                value = value.movedim(instrumentation.bare[name].axis, 0)
                visit(name, [Explicit(value.reshape(batch, *self.parameters[name].shape))])
