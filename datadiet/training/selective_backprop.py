"""Selective backprop: compute gradients for the part of each batch with the highest losses, chosen with some chance.

Jiang et al.: Accelerating Deep Learning by Focusing on the Biggest Losers, 2019 (arXiv 1910.00762), in the form of
MosaicML's Composer. A forward pass without gradients gives the losses of a batch. Of its B examples, k = floor(keep B),
at least 1, are drawn without replacement in proportion to q_i^(1 / keep - 1), where q_i is the percentile of the loss
of example i within the batch. These k pass through the network again, with gradients, and the step minimises their mean
loss. It does so between the shares `start` and `end` of the training; every `interrupt`-th batch of an epoch is trained
on whole.

The losses that it returns have the values of the first pass for all examples, so that schedules, recorders and the log
see all of them; the gradient is B / k times that of each chosen example, and none for the others.

Deviations: the draw of an example is a function of the seed, the step and the example. In a process group each process
chooses within its part of the batch, and with accumulation within each part.

Cost: a further forward pass in the steps that choose, and k of B examples in forward and backward. Such a step waits
for the device once, to know the rows that it chose.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from datadiet.errors import OptionError
from datadiet.parameters import check_whole, checked
from datadiet.randomness import mix64, uniform
from datadiet.training.objective_spec import ObjectiveSpec

if TYPE_CHECKING:
    from torch import Tensor

    from datadiet.data.batch import Batch

__all__ = ["SPEC", "SelectiveBackprop"]


class SelectiveBackprop:
    """An objective that drops the examples of a batch with low losses, with some chance.

    Args:
        inner: the objective that gives the losses: (forward, batch) -> (outputs, losses).
        clock: of the training, which tells how much of it is done, and the step.
        keep: the share of a batch that gradients are computed for, above 0 and at most 1.
        start, end: between which shares of the training it chooses, 0 <= start < end <= 1.
        interrupt: every so many batches one is trained on whole; 0 = never.
        seed: a whole number of at least 0.

    Raises:
        OptionError: one of them cannot be used.
    """

    @checked
    def __init__(
        self,
        inner: Callable[..., Any],
        clock: Any,
        *,
        keep: float = 0.5,
        start: float = 0.5,
        end: float = 0.9,
        interrupt: int = 2,
        seed: int = 0,
    ) -> None:
        if not 0 < keep <= 1:
            raise OptionError(f"keep={keep}: give a share of each batch above 0 to 1.")
        if not 0 <= start < end <= 1:
            raise OptionError(f"start={start}, end={end}: give two shares of the training, from 0 to 1 and ascending.")
        self.inner, self.clock, self.keep, self.start, self.end = inner, clock, keep, start, end
        self.interrupt, self.seed = check_whole("interrupt", interrupt, 0), check_whole("seed", seed, 0)

    def __call__(self, forward: Callable[[Batch], Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """The outputs (B, …) and the losses (B,) of all examples, with the gradient of those that are kept."""
        import torch

        k = max(1, math.floor(self.keep * len(batch) + 1e-9))
        if k == len(batch) or not self._chooses():
            outputs, losses = self.inner(forward, batch)
            return outputs, losses
        with torch.no_grad():
            outputs, losses = self.inner(forward, batch)
        kept = self._drawn(losses, batch.rows, k)
        _, again = self.inner(forward, _part(batch, kept))
        scaled = losses[kept] + (again - again.detach()) * (len(batch) / k)
        return outputs, losses.index_copy(0, kept, scaled.to(losses.dtype))

    def _chooses(self) -> bool:
        whole = self.interrupt and (self.clock.batch + 1) % self.interrupt == 0
        return self.start <= self.clock.progress < self.end and not whole

    def _drawn(self, losses: Tensor, rows: Tensor, k: int) -> Tensor:
        """(k,) int64, distinct positions in the batch, on its device.

        The k smallest of E_i / w_i, with independent exponential E_i, are a draw without replacement in proportion to
        w_i (Efraimidis and Spirakis 2006). In logarithms, since w_i may be too small for a float.
        """
        import torch

        draws = uniform(mix64(self.seed, f"selective backprop {self.clock.step}", rows.numpy()))
        waits = torch.from_numpy(np.log(-np.log(draws)).astype(np.float32)).to(losses.device)
        order = losses.float().argsort(stable=True)
        percentile = (torch.arange(len(losses), device=losses.device) + 0.5) / len(losses)
        weight = torch.empty_like(waits).index_copy(0, order, percentile.log() * (1 / self.keep - 1))
        return (waits - weight).topk(k, largest=False).indices


def _part(batch: Batch, kept: Tensor) -> Batch:
    """Some examples of a batch."""
    from datadiet.data.batch import map_inputs

    inputs = map_inputs(lambda value: value[kept], batch.inputs)
    return replace(batch, inputs=inputs, targets=batch.targets[kept], rows=batch.rows[kept.cpu()])


SPEC = ObjectiveSpec(SelectiveBackprop, name="selective_backprop", reference="Jiang et al. 2019")
