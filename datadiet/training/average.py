"""The exponential moving average of a network's weights during training, which often generalises better than the last.

After step t = 1, 2, …, average <- d average + (1 - d) weights with d = min(decay, (1 + t) / (10 + t)): the beginning of
a short training is forgotten soon enough (as in TensorFlow's ExponentialMovingAverage). The buffers in floating point,
such as the running statistics of BatchNorm, are averaged too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    """The average of the weights of a network, on its device.

    Args:
        model: whose weights are averaged.
        decay: d of a long training, in (0, 1); 0 = there is no average, only the weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.step = model, decay, 0
        state = model.state_dict()  # it shares memory with the network, whose weights change in place
        self._weights = {name: value for name, value in state.items() if decay and value.is_floating_point()}
        self._average = {name: value.clone() for name, value in self._weights.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after a step."""
        if not self._weights:
            return
        self.step += 1
        share = 1 - min(self.decay, (1 + self.step) / (10 + self.step))
        torch._foreach_lerp_(list(self._average.values()), list(self._weights.values()), share)

    def prune(self, masks: Mapping[str, Tensor]) -> None:
        """Zero the average of pruned weights: name -> which of a parameter are kept."""
        for name, mask in masks.items():
            if name in self._average:
                self._average[name].mul_(mask.to(self._average[name]))

    def restart(self) -> None:
        """Begin anew with the weights as they are."""
        self.step = 0
        for name, value in self._average.items():
            value.copy_(self._weights[name])

    def weights(self) -> dict[str, Tensor]:
        """The state dict of the network with the averaged weights."""
        return {**self.model.state_dict(), **self._average}

    def take_effect(self) -> None:
        """Replace the weights of the network by the averaged ones."""
        for name, value in self._average.items():
            self._weights[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs."""
        return {"step": self.step, "average": self._average}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        if not self._weights:
            return
        self.step = state["step"]
        for name, value in state["average"].items():
            self._average[name].copy_(value)
