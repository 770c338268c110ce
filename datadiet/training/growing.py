"""A hook that prunes and grows: see `datadiet.sparsity.prune_and_grow`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from datadiet.randomness import derive
from datadiet.sparsity.masks import Masks
from datadiet.sparsity.prune_and_grow import Growth
from datadiet.training.sparse import Sparse

if TYPE_CHECKING:
    from datadiet.training.loop import Trainer

__all__ = ["Growing"]


class Growing(Sparse):
    """Exchange weights of a sparse network while it trains, and prune it further first if the method is gradual.

    Args:
        trainer, choose, sparsity: as in `Sparse`.
        pace: of a method that prunes and grows.
    """

    pace: Growth

    def after_step(self, trainer: Trainer) -> None:
        """Choose new masks if it is time. A step whose gradient overflowed, as with fp16 the first, changes none."""
        if self.pace.update(trainer.clock.progress) > self._updates and _finite(trainer.model):
            super().after_step(trainer)

    def _masks_at(self, progress: float) -> Masks:
        masks, gradual = self.masks, self.pace.spec.gradual
        before = super()._masks_at(progress) if masks is None or gradual else masks
        if masks is None and not gradual:
            return before  # those of the start
        named = dict(self._trainer.model.named_parameters())
        weights: dict[str, Any] = {name: named[name] for name in before}
        scores = self.pace.spec.scores(weights, derive(self._trainer.seed, "growth", self._updates))
        after = Masks(self.pace.spec.fn(weights, before, scores, self.pace.exchanged(progress)))
        if masks is not None:  # the optimizer remembers gradients of weights that were pruned until now
            both = Masks({name: mask & masks[name] for name, mask in after.items()})
            both.zero_(self._trainer.optimizer, self._trainer.model)
        return after


def _finite(model: torch.nn.Module) -> bool:
    """Whether all gradients are; the device is waited for once."""
    found = [weight.grad.isfinite().all() for weight in model.parameters() if weight.grad is not None]
    return bool(torch.stack(found).all()) if found else True
