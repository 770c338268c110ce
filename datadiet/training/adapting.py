"""A hook that trains low-rank updates of frozen weights: see `datadiet.sparsity.mask_lora`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch import Tensor

from datadiet.errors import OptionError
from datadiet.randomness import derive
from datadiet.sparsity.mask_lora import MaskLoRA
from datadiet.sparsity.prunable import prunable
from datadiet.training.hooks import Hook

if TYPE_CHECKING:
    from datadiet.training.loop import Trainer

__all__ = ["Adapting"]

_log = logging.getLogger("datadiet")


class Adapting(Hook):
    """Train adapters of all prunable weights that are frozen; call `close` at the end.

    Make it after the hook that prunes: the zeros of the weights are their mask.

    Args:
        trainer: of the network, made while these weights were frozen, so that nothing else trains them.
        rank: of the adapters.

    Attributes:
        adapters: these.

    Raises:
        OptionError: no such weight is frozen.
    """

    def __init__(self, trainer: Trainer, rank: int) -> None:
        frozen = {name: weight for name, weight in prunable(trainer.model).items() if not weight.requires_grad}
        if not frozen:
            raise OptionError("adapters update frozen weights, and all of them train: leave layers out of trainable=.")

        empty = next((name for name, weight in frozen.items() if not weight.any()), None)
        if empty is not None:
            _log.warning(
                "all of %s is zero, and adapters leave zeros alone: name this layer in trainable= (--trainable)", empty
            )

        def mean(gradients: Tensor) -> Tensor:
            if trainer.world > 1:
                dist.all_reduce(gradients)
                gradients /= trainer.world
            return gradients

        self.adapters = MaskLoRA(frozen, rank, seed=derive(trainer.seed, "adapters"), shared=mean)
        factors = self.adapters.parameters()
        trainer.clipped += factors
        trainer.optimizer.add_param_group({"params": factors, "weight_decay": 0.0})
        trainer.optimizer.register_step_post_hook(lambda *_: self.adapters.merge_())

    def close(self) -> None:
        """Remove them; the weights stay as they are."""
        self.adapters.close()

    def state_dict(self) -> dict[str, Any]:
        """That of the adapters."""
        return self.adapters.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state; the weights are those of that state too."""
        self.adapters.load_state_dict(state)
