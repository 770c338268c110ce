"""Passes without gradients: presentations during training, and the outputs and features of a trained network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from datadiet.errors import OptionError
from datadiet.signals.passes.spec import Measure, Pass, Setup

if TYPE_CHECKING:
    from torch import Tensor

    from datadiet.data.batch import Batch

__all__ = ["FEATURES", "OUTPUTS", "PRESENTATIONS"]


def _outputs(setup: Setup) -> Measure:
    """All output signals of the task, in evaluation mode."""
    import torch

    from datadiet.models.running import call_in_run

    @torch.no_grad()
    def measure(batch: Batch) -> dict[str, Tensor]:
        outputs = call_in_run(setup.models[0], batch)
        return setup.task.signals(outputs, batch.targets, setup.features(outputs))

    return measure


def _features(setup: Setup) -> Measure:
    """The input of the last linear layer, a vector per example."""
    import torch

    from datadiet.models.running import call_in_run

    @torch.no_grad()
    def measure(batch: Batch) -> dict[str, Tensor]:
        features = setup.features(call_in_run(setup.models[0], batch))
        if features is None:
            raise OptionError(
                "the model's output does not come from a linear layer: name the last one with head=NAME (--head NAME)."
            )
        return {"features": features.float()}

    return measure


# Recorded by a `Recorder` while the network learns, for free.
PRESENTATIONS = Pass("train", measure=None, finite=False, begins={"shift": 2}, forwards=0)
OUTPUTS = Pass("eval", _outputs, batch="evaluation", finite=False)
FEATURES = Pass("features", _features, vectors=True, batch="evaluation")
