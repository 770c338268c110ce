"""Passes without gradients: presentations during training, and what a forward pass of a trained network gives.

Passes that read a forward pass over the same examples share it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datadiet.errors import OptionError
from datadiet.signals.passes.spec import Measure, Pass, Reader, Setup

if TYPE_CHECKING:
    from torch import Tensor

    from datadiet.data.batch import Batch

__all__ = ["DIVERGENCE", "FEATURES", "LOGITS", "OUTPUTS", "PRESENTATIONS", "forward"]


def forward(setup: Setup, readers: Sequence[Reader]) -> Measure:
    """All that some readers read of one forward pass.

    Args:
        setup: of the network.
        readers: functions of a batch, its outputs and the input of the last layer; their columns have different names.
    """
    import torch

    from datadiet.models.running import call_in_run

    @torch.no_grad()
    def measure(batch: Batch) -> dict[str, Tensor]:
        outputs = call_in_run(setup.models[0], batch)
        features = setup.features(outputs)
        return {name: values for read in readers for name, values in read(batch, outputs, features).items()}

    return measure


def _of_forward(name: str, reads: Callable[[Setup], Reader], **more: Any) -> Pass:
    """The record of a pass that reads a forward pass."""
    return Pass(name, lambda setup: forward(setup, [reads(setup)]), reads=reads, batch="evaluation", **more)


def _signals(setup: Setup) -> Reader:
    """All output signals of the task."""
    return lambda batch, outputs, features: setup.task.signals(outputs, batch.targets, features)


def _features(setup: Setup) -> Reader:
    """The input of the last linear layer, a vector per example."""

    def read(batch: Batch, outputs: Tensor, features: Tensor | None) -> dict[str, Tensor]:
        if features is None:
            raise OptionError(
                "the model's output does not come from a linear layer: name the last one with head=NAME (--head NAME)."
            )
        return {"features": features.float()}

    return read


def _logits(setup: Setup) -> Reader:
    """The logits, in float16, or the largest of them in few bytes."""
    from datadiet.runtime.packed_logits import pack

    top = setup.options["top"]
    return lambda batch, outputs, features: {"logits": pack(outputs, top) if top else outputs.half()}


def _divergence(setup: Setup) -> Reader:
    """How far the network is from another one, which sees the same batch."""
    other = setup.against
    assert other is not None, "refused earlier"
    return lambda batch, outputs, features: setup.task.comparison(outputs, other(batch))


def _bytes_of_logits(options: Mapping[str, Any], last_layer: int, outputs: int) -> int:
    from datadiet.runtime.packed_logits import packed_width

    return packed_width(options["top"]) if options["top"] else 2 * outputs


def _check_logits(options: Mapping[str, Any]) -> None:
    for name, least in (("views", 1), ("top", 0)):
        if options.get(name, least) < least:
            raise OptionError(f"{name}={options[name]}: give at least {least}.")


# Recorded by a `Recorder` while the network learns, for free.
PRESENTATIONS = Pass("train", measure=None, finite=False, begins={"shift": 2}, forwards=0)
OUTPUTS = _of_forward("eval", _signals, finite=False)
FEATURES = _of_forward("features", _features, vectors=True)
DIVERGENCE = _of_forward("divergence", _divergence, against=True, forwards=2)
# What a teacher says of each view of each example: `views` augmented ones, or the clean one if nothing is augmented.
LOGITS = _of_forward(
    "logits", _logits, vectors=True, augmented=True, row_bytes=_bytes_of_logits,
    options={"views": 8, "top": 0}, check=_check_logits,
)  # fmt: skip
