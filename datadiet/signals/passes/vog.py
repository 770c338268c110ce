"""Variance of input gradients: how much the gradient with respect to an example varies between checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from datadiet.errors import OptionError
from datadiet.signals.passes.spec import Measure, Pass, Setup

if TYPE_CHECKING:
    from torch import Tensor

    from datadiet.data.batch import Batch

__all__ = ["PASS"]


def _measure(setup: Setup) -> Measure:
    from datadiet.signals.input_gradients import input_gradient_spread

    def measure(batch: Batch) -> dict[str, Tensor]:
        if isinstance(batch.inputs, Mapping):
            raise OptionError("vog takes the gradient of one input tensor, but this model takes several: leave it out.")
        return {"input_grad_spread": input_gradient_spread(setup.models, batch.inputs, batch.targets)}

    return measure


PASS = Pass("vog", _measure, together=True, forwards=2)
