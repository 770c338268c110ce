"""Outputs in evaluation mode: all output signals of the task at a checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
        outputs = call(setup.models[0], batch)
        return setup.task.signals(outputs, batch.targets, setup.features(outputs))

    return measure


PASS = Pass("eval", _measure, batch="evaluation", finite=False)
