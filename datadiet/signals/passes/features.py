"""Features: the input of the last linear layer, a vector per example."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.errors import OptionError
from datadiet.signals.passes.spec import Measure, Pass, Setup

if TYPE_CHECKING:
    from torch import Tensor

    from datadiet.data.batch import Batch

__all__ = ["PASS"]


def _measure(setup: Setup) -> Measure:
    import torch

    from datadiet.models.running import call

    @torch.no_grad()
    def measure(batch: Batch) -> dict[str, Tensor]:
        features = setup.features(call(setup.models[0], batch))
        if features is None:
            raise OptionError("the model's output does not come from a linear layer: name the last one (--head NAME).")
        return {"features": features.float()}

    return measure


PASS = Pass("features", _measure, vectors=True, batch="evaluation")
