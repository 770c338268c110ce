"""Signals: what is measured on a model's outputs, during training and at checkpoints."""

from __future__ import annotations

from datadiet.signals.gradients import grad_norms
from datadiet.signals.outputs import OUTPUT_SIGNALS, output_signals
from datadiet.signals.record import Recorder, measured

__all__ = ["OUTPUT_SIGNALS", "Recorder", "grad_norms", "measured", "output_signals"]
